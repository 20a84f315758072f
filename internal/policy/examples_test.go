package policy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"meshlite.dev/internal/policy"
)

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// TestExamplesAreValid, those of manifests/examples and those of the guides.
func TestExamplesAreValid(t *testing.T) {
	texts := map[string]string{}
	files, err := filepath.Glob("../../manifests/examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, f := range files {
		texts[filepath.Base(f)] = read(t, f)
	}
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no guides: %v", err)
	}
	for _, page := range append(pages, "../../README.md") {
		for _, m := range yamlBlock.FindAllStringSubmatch(read(t, page), -1) {
			if strings.Contains(m[1], "apiVersion: "+policy.APIVersion) {
				texts[filepath.Base(page)] += "---\n" + m[1]
			}
		}
	}
	kinds := map[string]bool{}
	for name, text := range texts {
		p := policy.Decode(name, []byte(text))
		for _, r := range p.Refused {
			for _, f := range r.Faults {
				t.Errorf("%v", f)
			}
		}
		if len(p.Documents) == 0 {
			t.Errorf("%s holds no document", name)
		}
		for _, d := range p.Documents {
			kinds[d.Kind] = true
		}
	}
	for _, kind := range policy.Kinds() {
		if !kinds[kind] {
			t.Errorf("no example is of kind %s", kind)
		}
	}
	if len(texts) <= len(files) {
		t.Error("the guides show no policy")
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
