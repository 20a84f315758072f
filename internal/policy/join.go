package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Error says source, document, field, value and what would be right.
func (f FieldError) Error() string {
	var b strings.Builder
	b.WriteString(f.Source)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d", f.Line)
	}
	if f.Key != (Key{}) {
		fmt.Fprintf(&b, ": %s", f.Key)
	}
	if f.Path != "" {
		fmt.Fprintf(&b, ": %s", f.Path)
	}
	if f.Value != "" {
		fmt.Fprintf(&b, ": %q", f.Value)
	}
	fmt.Fprintf(&b, ": %s", f.Reason)
	return b.String()
}

// Join puts the proposals of several sources together. A document that is
// there twice is refused everywhere, as nobody can say which one is meant;
// its last good version then stays in force.
func Join(parts ...Proposal) Proposal {
	var all Proposal
	at := map[Key][]*Document{}
	for _, p := range parts {
		all.Refused = append(all.Refused, p.Refused...)
		for _, d := range p.Documents {
			at[d.Key] = append(at[d.Key], d)
		}
	}
	for key, docs := range at {
		if len(docs) == 1 {
			all.Documents = append(all.Documents, docs[0])
			continue
		}
		for i, d := range docs {
			other := docs[(i+1)%len(docs)]
			all.Refused = append(all.Refused, Refusal{Key: key, Source: d.Source, Labels: d.Labels, Faults: []FieldError{{
				Source: d.Source, Key: key, Path: "metadata.name", Value: key.Name,
				Reason: fmt.Sprintf("is also in %s; keep one of the two", other.Source),
			}}})
		}
	}
	slices.SortFunc(all.Documents, func(a, b *Document) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	slices.SortStableFunc(all.Refused, func(a, b Refusal) int { return strings.Compare(a.Source, b.Source) })
	return all
}

// Holding returns whether a document in force is held there by one of the
// refusals: it is the last good version of what was refused, or it stood in the
// file that was. A mistyped name or kind is then no deletion.
func Holding(refused []Refusal) func(*Document) bool {
	keys, files := map[Key]bool{}, map[string]bool{}
	for _, r := range refused {
		keys[r.Key], files[fileOf(r.Source)] = true, true
	}
	return func(d *Document) bool { return keys[d.Key] || files[fileOf(d.Source)] }
}

// fileOf cuts the place within a file: "orders.yaml#2" is in "orders.yaml".
func fileOf(source string) string {
	file, _, _ := strings.Cut(source, "#")
	return file
}
