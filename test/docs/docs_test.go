// Package docs checks that the pages of the project hold together.
package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"meshlite.dev/test/lab"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	notSlug = regexp.MustCompile(`[^\p{L}\p{N} -]`)
)

// TestLinks follows every relative link, to its heading where it names one.
func TestLinks(t *testing.T) {
	root, err := lab.Root()
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob(filepath.Join(root, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(filepath.Join(root, "docs"), func(path string, _ os.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") {
			pages = append(pages, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(pages) < 8 {
		t.Fatalf("only %d pages found", len(pages))
	}
	for _, page := range pages {
		for _, m := range link.FindAllStringSubmatch(read(t, page), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			path := page
			if target != "" {
				path = filepath.Join(filepath.Dir(page), target)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Errorf("%s links to %s, which is not there", rel(root, page), m[1])
				continue
			}
			if anchor != "" && !info.IsDir() && !slugs(read(t, path))[anchor] {
				t.Errorf("%s links to %s, which has no such heading", rel(root, page), m[1])
			}
		}
	}
}

// TestMetricNames looks in the code for every metric that a page speaks of.
func TestMetricNames(t *testing.T) {
	root, err := lab.Root()
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`meshlite_[a-z_]+[a-z]`)
	inCode, inPages := map[string]bool{}, map[string]bool{}
	collect := func(dir, suffix string, into map[string]bool) {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() && strings.HasSuffix(path, suffix) && !strings.HasSuffix(path, "_test.go") {
				for _, m := range name.FindAllString(read(t, path), -1) {
					into[m] = true
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	collect("internal/admin/metrics", ".go", inCode)
	collect("docs", ".md", inPages)
	for m := range inPages {
		if !inCode[m] {
			t.Errorf("docs speak of the metric %s, which nothing exports", m)
		}
	}
}

// TestReasonWords finds every word of x-mesh-reason that the code knows on the
// page that explains them.
func TestReasonWords(t *testing.T) {
	root, err := lab.Root()
	if err != nil {
		t.Fatal(err)
	}
	page := read(t, filepath.Join(root, "docs", "troubleshooting.md"))
	words := regexp.MustCompile(`\{"([A-Z]+)", "([a-z-]+)[" ]`).FindAllStringSubmatch(read(t, filepath.Join(root, "internal", "xds", "resource", "localreply.go")), -1)
	if len(words) < 10 {
		t.Fatalf("only %d words found", len(words))
	}
	for _, w := range words {
		if !strings.Contains(page, "| `"+w[2]+"` | "+w[1]+" |") {
			t.Errorf("docs/troubleshooting.md does not explain %s (flag %s)", w[2], w[1])
		}
	}
}

// slugs are the anchors that a page's headings get.
func slugs(text string) map[string]bool {
	out := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		s := strings.ToLower(notSlug.ReplaceAllString(m[1], ""))
		out[strings.ReplaceAll(s, " ", "-")] = true
	}
	return out
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func rel(root, path string) string {
	r, err := filepath.Rel(root, path)
	if err != nil {
		return path
	}
	return r
}
