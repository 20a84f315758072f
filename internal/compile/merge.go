package compile

import (
	"reflect"
	"slices"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/v1alpha1"
)

// merged is what a stack comes to. It is shared by every destination under
// the stack and immutable but for refs.
type merged struct {
	key       string
	refs      int // destinations and checks that use it
	stack     stack
	protocol  mesh.Protocol // the catalog's, or connection.protocol
	effective *mesh.Effective
	winners   []*layer // per field of schema; nil where no layer sets it
	conflicts []conflict
	faults    []policy.FieldError // rules that the result breaks; then it is not used
	findings  []remark
}

// conflict is a field that two documents of one level set.
type conflict struct {
	leaf          int
	winner, loser *layer
}

// Words of origins.
const (
	whyLessSpecific = "less specific"
	whyConflicted   = "Conflicted: higher name"
)

// candidate is a layer that sets a field.
type candidate struct {
	layer   *layer
	setting *setting
}

// merge computes what s comes to.
func merge(s stack) *merged {
	m := &merged{key: s.key(), stack: s, winners: make([]*layer, len(schema))}
	fields := candidates(s)
	replaceCheck(fields)
	spec := &v1alpha1.ResiliencePolicySpec{}
	into := reflect.ValueOf(spec).Elem()
	origins := make(map[string]mesh.Origin, len(schema))
	for i, cs := range fields {
		if len(cs) == 0 {
			continue
		}
		win := cs[len(cs)-1]
		m.winners[i] = win.layer
		schema[i].set(into, win.setting.value)
		origins[schema[i].path] = originOf(i, cs, s.caller)
		m.conflicts = append(m.conflicts, conflictsOf(i, cs)...)
	}
	m.settleProtocol(into, origins)
	completeSections(into, origins)
	m.faults = policy.CheckMerged(spec)
	m.effective = &mesh.Effective{Resilience: convert(into), Origins: origins}
	m.attribute()
	if len(m.faults) == 0 {
		m.findings = remarks(m)
	}
	return m
}

// candidates lists for each field of the schema the layers that set it, least
// specific first.
func candidates(s stack) [][]candidate {
	fields := make([][]candidate, len(schema))
	for _, l := range s.layers {
		for i := range l.settings {
			at := l.settings[i].leaf
			fields[at] = append(fields[at], candidate{l, &l.settings[i]})
		}
	}
	return fields
}

func originOf(i int, cs []candidate, caller string) mesh.Origin {
	win := cs[len(cs)-1]
	o := mesh.Origin{
		DocumentRef: win.layer.ref(), Path: win.layer.path(i),
		Value: win.setting.text, Why: win.layer.why(caller),
	}
	for _, c := range slices.Backward(cs[:len(cs)-1]) {
		if c.layer.doc != nil && c.layer.doc == win.layer.doc {
			continue // one document that targets both the mesh and the service
		}
		why := whyLessSpecific
		if c.layer.level == win.layer.level {
			why = whyConflicted
		}
		o.Lost = append(o.Lost, mesh.Lost{DocumentRef: c.layer.ref(), Path: c.layer.path(i), Value: c.setting.text, Why: why})
	}
	return o
}

// conflictsOf finds the documents of one level among cs; the last of a level
// is the one that wins there.
func conflictsOf(i int, cs []candidate) []conflict {
	var out []conflict
	for k := len(cs) - 1; k > 0; {
		winner := cs[k].layer
		for k--; k >= 0 && cs[k].layer.level == winner.level; k-- {
			out = append(out, conflict{leaf: i, winner: winner, loser: cs[k].layer})
		}
	}
	return out
}
