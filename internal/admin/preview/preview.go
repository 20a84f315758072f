// Package preview works out what a change set of policies would change on every
// proxy, and changes nothing: it compiles the documents in force and those that
// would be, makes the messages of both and compares them. Its main function is
// Of; it is plain, and depends on its input alone.
package preview

import (
	"cmp"
	"slices"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
)

// Input is the mesh as it is, and the documents as they would be.
type Input struct {
	Compile  compile.Config
	Messages resource.Config
	Snapshot catalog.Snapshot
	Revision policy.Revision // in force
	Served   mesh.Model      // what it came to
	Changes  []policy.Change
	Proxies  []server.Node // connected, by id
	// Subscribed tells of each ref whether a proxy gets it, by proxy id.
	Subscribed func([]resource.Ref) map[string][]bool
}

// Effect is what a change does to what a proxy is doing.
type Effect string

// The effects.
const (
	None   Effect = ""
	Resets Effect = "resets"  // idle connections to the cluster are closed, those in use at their end; ejections forgotten
	Closes Effect = "closes"  // the same, and the cluster is gone
	Starts Effect = "restart" // nothing until the proxy starts anew
)

// Change is one message that would be another one. It is the same for every
// proxy that gets it.
type Change struct {
	Type, Name string
	Caller     string // whose proxies; "" is all without a message of their own
	Before     *resource.Resource
	After      *resource.Resource
	Effect     Effect
}

// Group is the proxies to which the same happens.
type Group struct {
	Proxies []string // ids, sorted
	Changes []int    // indexes of Outcome.Changes
}

// Outcome is what a change set would do. Changes that reach no connected proxy
// are in no group.
type Outcome struct {
	Changes   []Change // by type in send order, name, caller; listeners last
	Groups    []Group  // the largest first
	Findings  []mesh.Finding
	Documents []compile.DocumentStatus // of the change set
	Faults    []resource.Fault         // messages that would not be sent
}

// Of works out the outcome of in.
func Of(in Input) Outcome {
	next := Next(in.Revision, in.Changes)
	c := compile.New(in.Compile)
	c.Update(in.Snapshot, in.Revision)
	rest := in.Snapshot
	rest.Changed = nil
	result := c.Update(rest, next)
	before := build(in.Messages, in.Served, result.Changed)
	after := build(in.Messages, result.Model, result.Changed)
	all := callersOf(before, after)
	g := grouping{in: in, next: result.Model, changed: result.Changed, callers: all, changes: compare(all, before, after)}
	out := Outcome{Groups: g.run(), Faults: after.faults}
	out.Changes = g.changes
	out.judge(result, in.Changes)
	return out
}

// Next is the revision in force once changes are in it.
func Next(rev policy.Revision, changes []policy.Change) policy.Revision {
	docs := map[policy.Key]*policy.Document{}
	for _, d := range rev.Documents {
		docs[d.Key] = d
	}
	next := policy.Revision{Number: rev.Number + 1}
	for _, c := range changes {
		old := docs[c.Key]
		switch {
		case c.Document == nil:
			delete(docs, c.Key)
		case old == nil:
			docs[c.Key] = generation(c.Document, 1)
		case old.Hash == c.Document.Hash:
			continue
		default:
			docs[c.Key] = generation(c.Document, old.Generation+1)
		}
		next.Changed = append(next.Changed, c.Key)
	}
	for _, d := range docs {
		next.Documents = append(next.Documents, d)
	}
	slices.SortFunc(next.Documents, func(a, b *policy.Document) int { return cmp.Compare(a.Key.String(), b.Key.String()) })
	return next
}

func generation(d *policy.Document, n int64) *policy.Document {
	out := *d
	out.Generation = n
	return &out
}

// judge keeps what the change set's own documents are told.
func (o *Outcome) judge(r compile.Result, changes []policy.Change) {
	labels := map[string]bool{}
	for _, s := range r.Documents() {
		if slices.ContainsFunc(changes, func(c policy.Change) bool { return c.Key == s.Key }) {
			o.Documents = append(o.Documents, s)
			if s.Document != nil {
				labels[s.Document.Ref().String()] = true
			}
		}
	}
	for _, f := range r.Findings() {
		if labels[f.Document] {
			o.Findings = append(o.Findings, f)
		}
	}
}

// built are the messages of some services.
type built struct {
	variants map[resource.Ref]map[string]*resource.Resource // by caller
	faults   []resource.Fault
}

func build(cfg resource.Config, m mesh.Model, services []string) built {
	out := built{variants: map[resource.Ref]map[string]*resource.Resource{}}
	for _, name := range services {
		s, ok := m.Services.Get(name)
		if !ok {
			continue
		}
		set := resource.Build(cfg, s)
		out.faults = append(out.faults, set.Faults...)
		for _, r := range set.Resources {
			ref := resource.Ref{Type: r.Type, Name: r.Name}
			if out.variants[ref] == nil {
				out.variants[ref] = map[string]*resource.Resource{}
			}
			out.variants[ref][r.Caller] = r
		}
	}
	return out
}

// of is what a caller's proxies get; nil is nothing.
func (b built) of(ref resource.Ref, caller string) *resource.Resource {
	if r, ok := b.variants[ref][caller]; ok {
		return r
	}
	return b.variants[ref][""]
}
