package ctl_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"meshlite.dev/internal/ctl"
)

var mention = regexp.MustCompile("meshctl((?: [a-z][a-z-]+)+)")

// TestDocsNameCommandsThatExist reads every guide for commands of meshctl.
func TestDocsNameCommandsThatExist(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no guides: %v", err)
	}
	root := ctl.New(ctl.IO{})
	groups := map[string]bool{}
	for _, c := range root.Commands() {
		groups[c.Name()] = c.HasSubCommands()
	}
	found := 0
	for _, page := range append(pages, "../../README.md", "../../CONTRIBUTING.md") {
		raw, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range mention.FindAllStringSubmatch(string(raw), -1) {
			words := strings.Fields(m[1])
			if !groups[words[0]] || len(words) < 2 {
				continue // "meshctl shows …" is a sentence
			}
			found++
			if _, rest, err := root.Find(words[:2]); err != nil || len(rest) > 0 {
				t.Errorf("%s: there is no `meshctl %s`", filepath.Base(page), strings.Join(words[:2], " "))
			}
		}
	}
	if found == 0 {
		t.Error("the guides name no command; is the pattern right?")
	}
}
