package ctl_test

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"meshlite.dev/internal/ctl"
)

// TestEveryCommandHasAnExample that names the command and flags which exist.
func TestEveryCommandHasAnExample(t *testing.T) {
	root := ctl.New(ctl.IO{})
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	walk(root, func(c *cobra.Command) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") || c.Short[0] < 'A' || c.Short[0] > 'Z' {
			t.Errorf("%s: the short help %q is no sentence without a full stop", c.CommandPath(), c.Short)
		}
		if c.HasSubCommands() {
			return
		}
		if c.Example == "" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		if !strings.Contains(c.Example, c.CommandPath()) {
			t.Errorf("%s: the example does not show it:\n%s", c.CommandPath(), c.Example)
		}
		for line := range strings.Lines(c.Example) {
			example(t, root, c, line)
		}
	})
}

// walk visits the commands of the house, not those of cobra.
func walk(c *cobra.Command, visit func(*cobra.Command)) {
	for _, sub := range c.Commands() {
		if !sub.Hidden && sub.Name() != "help" && sub.Name() != "completion" {
			visit(sub)
			walk(sub, visit)
		}
	}
}

// example finds the command of one line, and its flags.
func example(t *testing.T, root, of *cobra.Command, line string) {
	t.Helper()
	_, args, ok := strings.Cut(line, "meshctl ")
	if !ok {
		return
	}
	words := strings.Fields(args)
	c, _, err := root.Find(words)
	if err != nil {
		t.Errorf("%s: the example %q: %v", of.CommandPath(), strings.TrimSpace(line), err)
		return
	}
	for _, w := range words {
		if w == "|" || w == ">" || w == "--" {
			break
		}
		name, _, _ := strings.Cut(strings.TrimLeft(w, "-"), "=")
		var known bool
		switch {
		case !strings.HasPrefix(w, "-") || name == "":
			continue
		case strings.HasPrefix(w, "--"):
			known = c.Flag(name) != nil
		default:
			known = c.Flags().ShorthandLookup(name) != nil || c.InheritedFlags().ShorthandLookup(name) != nil
		}
		if !known {
			t.Errorf("%s: the example %q: there is no flag %s", of.CommandPath(), strings.TrimSpace(line), w)
		}
	}
}
