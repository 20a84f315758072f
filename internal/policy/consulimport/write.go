package consulimport

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/policy"
)

// manifest is the document as users write it.
func (d Document) manifest() any {
	return struct {
		APIVersion string            `json:"apiVersion"`
		Kind       string            `json:"kind"`
		Metadata   map[string]string `json:"metadata"`
		Spec       any               `json:"spec"`
	}{policy.APIVersion, d.Kind, map[string]string{"name": d.Name}, d.Spec}
}

// JSON is the document to apply.
func (d Document) JSON() ([]byte, error) { return json.Marshal(d.manifest()) }

// YAML writes all documents, each behind a comment that says what it comes
// from and, once, what was left over of that; what belongs to none of them
// stands first.
func (r Result) YAML() ([]byte, error) {
	var b strings.Builder
	made := map[string]bool{}
	for _, d := range r.Documents {
		for _, from := range d.From {
			made[from] = true
		}
	}
	comment(&b, r.Leftovers, func(from string) bool { return !made[from] })
	told := map[string]bool{}
	for _, d := range r.Documents {
		raw, err := yaml.Marshal(d.manifest())
		if err != nil {
			return nil, fmt.Errorf("write %s %s: %w", d.Kind, d.Name, err)
		}
		b.WriteString("---\n# from " + strings.Join(d.From, ", ") + "\n")
		if d.Shadow {
			b.WriteString("# in shadow: calls would go elsewhere than in Consul; complete it and remove effect\n")
		}
		comment(&b, r.Leftovers, func(from string) bool { return !told[from] && slices.Contains(d.From, from) })
		for _, from := range d.From {
			told[from] = true
		}
		b.Write(raw)
	}
	return []byte(b.String()), nil
}

// comment writes the leftovers of some entries; text of others cannot end it.
func comment(b *strings.Builder, all []Leftover, of func(entry string) bool) {
	for _, l := range all {
		if !of(l.Entry()) {
			continue
		}
		text := strings.Map(func(r rune) rune {
			if !unicode.IsPrint(r) {
				return ' '
			}
			return r
		}, l.String())
		b.WriteString("# " + text + "\n")
	}
}
