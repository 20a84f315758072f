package ctl

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"sigs.k8s.io/yaml"
)

var outputs = []string{"table", "wide", "json", "yaml", "name"}

func (s *session) checkOutput() error {
	if !slices.Contains(outputs, s.output) {
		return usagef("--output is %q; use %s", s.output, strings.Join(outputs, ", "))
	}
	return nil
}

// table is an answer for people. A heading that begins with "+" is shown by
// -o wide alone.
type table struct {
	head  []string
	rows  [][]string
	names []string // for -o name
	empty string   // said on stderr in place of a table without rows
}

func (t *table) add(name string, cells ...string) {
	t.names = append(t.names, name)
	t.rows = append(t.rows, cells)
}

// show prints doc, or its table, as --output says.
func (s *session) show(doc any, t table) error {
	switch s.output {
	case "json":
		return s.showJSON(doc)
	case "yaml":
		raw, err := yaml.Marshal(doc)
		if err != nil {
			return fmt.Errorf("write YAML: %w", err)
		}
		_, err = s.Out.Write(raw)
		return err
	case "name":
		for _, n := range t.names {
			fmt.Fprintln(s.Out, n)
		}
		return nil
	}
	if len(t.rows) == 0 && t.empty != "" {
		fmt.Fprintln(s.Err, t.empty)
		return nil
	}
	return s.showTable(t)
}

func (s *session) showJSON(doc any) error {
	raw, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	_, err = fmt.Fprintf(s.Out, "%s\n", raw)
	return err
}

func (s *session) showTable(t table) error {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	for _, row := range append([][]string{t.head}, t.rows...) {
		var cells []string
		for i, cell := range row {
			if strings.HasPrefix(t.head[i], "+") && s.output != "wide" {
				continue
			}
			cells = append(cells, strings.TrimPrefix(oneLine(cell), "+"))
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(s.Out, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// blank is a cell that shows nothing.
const blank = " "

// oneLine keeps a cell in its row; an empty one shows as "-".
func oneLine(text string) string {
	if text == blank {
		return ""
	}
	if text = strings.Join(strings.Fields(text), " "); text == "" {
		return "-"
	}
	return text
}

// hint writes to people, not into data.
func (s *session) hint(format string, args ...any) { fmt.Fprintf(s.Err, format+"\n", args...) }

// structured reports whether the output is for programs.
func (s *session) structured() bool { return s.output == "json" || s.output == "yaml" }

// ago is the age of a moment: "5s", "3m", "2h", "4d".
func ago(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	d := max(time.Since(at), 0)
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
