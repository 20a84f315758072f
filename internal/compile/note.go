package compile

import (
	"slices"
	"strings"

	"meshlite.dev/internal/mesh"
)

// note is a finding with what only compiling knows of it.
type note struct {
	mesh.Finding
	target string // of the document, as target.String has it; "": all of them
	near   string // a service that is not there: the hint is the name most like it
}

// ahead is what messages about documents in shadow start with.
const ahead = "in shadow, if enforced: "

// inShadow makes a note about what would be.
func (n note) inShadow(severity mesh.Severity) note {
	n.Severity, n.Message = severity, ahead+n.Message
	return n
}

// lines gathers the notes about one service, without repetitions.
type lines struct {
	service string
	route   string // name of the TrafficRoute that is looked at
	said    map[note]bool
	out     []note
}

// add appends a note about the service; what is only about one caller, and
// already said about all, is left out.
func (l *lines) add(n note) {
	n.Service = l.service
	l.put(n)
}

func (l *lines) put(n note) {
	if !l.said[n] {
		l.said[n] = true
		l.out = append(l.out, n)
	}
}

// target is the target by which a layer came to the service.
func (l *lines) target(of *layer) string {
	plain, _ := mesh.SplitServiceKey(l.service)
	switch of.level {
	case levelMesh:
		return "Mesh"
	case levelRoute:
		return "TrafficRoute/" + l.route
	case levelRule:
		return "TrafficRoute/" + l.route + "/" + of.rule
	default:
		return "Service/" + plain
	}
}

// alike returns the candidate that is most like name, "" where none is.
func alike(name string, candidates []string) string {
	best, bestAt := "", max(2, len(name)/3)+1
	for _, other := range candidates {
		if d := distance(name, other, bestAt); d < bestAt {
			best, bestAt = other, d
		}
	}
	return best
}

// listed writes names for people; none is "none".
func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	names = slices.Clone(names)
	slices.Sort(names)
	return strings.Join(names, ", ")
}
