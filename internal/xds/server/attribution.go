package server

import (
	"slices"
	"strings"

	"meshlite.dev/internal/xds/cache"
)

// constraint is where Envoy's own words begin in a message about a value out
// of bounds; before it stands a random token and a dump of the resource.
const constraint = "Proto constraint validation failed"

// longest is how much of Envoy's words is kept.
const longest = 2048

// clean returns what Envoy says is wrong, without the dump of the resource.
func clean(detail string) string {
	if _, after, ok := strings.Cut(detail, constraint); ok {
		after = strings.Trim(after, " :\n")
		if in, ok := strings.CutPrefix(after, "("); ok {
			after = strings.TrimSuffix(in, ")")
		}
		detail = after
	}
	detail = strings.ToValidUTF8(strings.TrimSpace(detail), "?")
	if len(detail) > longest {
		detail = strings.ToValidUTF8(detail[:longest], "") + "…"
	}
	if detail == "" {
		return "refused without a reason"
	}
	return detail
}

// attribute returns which of the names of a response Envoy names as at fault.
// It does so for clusters and listeners alone:
//
//	Error adding/updating cluster(s) NAME: WORDS, NAME: WORDS
//	Error adding/updating listener(s) NAME: WORDS
//
// Nothing is returned for a message with a dump, in which any name may occur.
func attribute(k cache.Kind, detail string, names []string) (guilty []string) {
	if k != cache.CDS && k != cache.LDS || strings.Contains(detail, constraint) {
		return nil
	}
	_, list, ok := strings.Cut(detail, "(s) ")
	if !ok || !strings.HasPrefix(detail, "Error adding/updating ") {
		return nil
	}
	for _, name := range names {
		if strings.HasPrefix(list, name+": ") || strings.Contains(list, ", "+name+": ") || strings.Contains(list, "\n"+name+": ") {
			guilty = append(guilty, name)
		}
	}
	return guilty
}

func contains(names []string, name string) bool { return slices.Contains(names, name) }
