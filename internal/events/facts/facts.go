// Package facts says what the mesh tells: a pure function of what was told last
// of a subject and of what is so now. The state of one subject is a small set
// of named facts; two states give the events between them. States in between
// that nobody saw are not told: the newest says all.
package facts

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"meshlite.dev/internal/events"
)

// Subject is all that was told of one subject: facts by name. Nil is a subject
// of which nothing was told.
type Subject map[string]Fact

// Fact is one part of a subject as it was told.
type Fact struct {
	// Kind says which types tell of it.
	Kind Kind `json:"kind"`
	// State is the last word of the type that told it: "healthy".
	State string `json:"state"`
	// Version is the object's own count of changes, never the same for two that
	// are told; "" where it has none.
	Version string          `json:"version,omitempty"`
	Data    json.RawMessage `json:"data,omitempty"` // of the event; nil in a milestone that was told
	// Once is a milestone: it is told once of each version, whatever is known of
	// it later. The version alone names it, so that its id is the same wherever
	// it is told from.
	Once bool      `json:"once,omitempty"`
	At   time.Time `json:"-"` // when it happened; zero: when it is told
}

// Same reports whether who was told f knows g too. A version alone is nothing to
// tell.
func (f Fact) Same(g Fact) bool {
	if f.Once && g.Once {
		return f.Version == g.Version
	}
	return f.State == g.State && bytes.Equal(f.Data, g.Data)
}

// Kind is a family of facts.
type Kind string

// The kinds.
const (
	Service    Kind = "service"
	Endpoint   Kind = "endpoint"
	Document   Kind = "document"
	Acceptance Kind = "acceptance"
	Connection Kind = "connection"
	Sync       Kind = "sync"
	Rollout    Kind = "rollout"
	Tx         Kind = "transaction"
	Guard      Kind = "guard"
	Note       Kind = "note" // is kept, and told to nobody
)

// Told is one event to be, in the order in which they are told.
type Told struct {
	Type string
	Fact
}

// Diff returns what to tell when a subject was told as before and is now. Within
// a subject what comes is told from the whole to its parts, what goes from the
// parts to the whole, and milestones as they are passed.
func Diff(before, now Subject) []Told {
	var out []Told
	gone := func(name string) bool { _, ok := now[name]; return !ok }
	for _, name := range slices.Backward(order(before)) {
		if f := before[name]; gone(name) {
			if typ := f.Kind.removed(); typ != "" {
				out = append(out, Told{typ, f})
			}
		}
	}
	for _, name := range order(now) {
		f := now[name]
		was, had := before[name]
		if typ := f.Kind.told(had, f.State); typ != "" && !(had && was.Same(f)) {
			out = append(out, Told{typ, f})
		}
	}
	return out
}

// order puts the whole before its parts.
func order(s Subject) []string {
	names := slices.Collect(maps.Keys(s))
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(s[a].rank()-s[b].rank(), strings.Compare(a, b))
	})
	return names
}

func (f Fact) rank() int {
	if f.Once || f.Kind == Tx {
		return slices.Index(milestones[f.Kind], f.State)
	}
	return slices.Index([]Kind{Service, Document, Connection, Acceptance, Sync, Endpoint}, f.Kind)
}

// told is the type that tells of a fact; had reports whether it was told before.
func (k Kind) told(had bool, state string) string {
	switch k {
	case Service:
		return pick(had, events.ServiceChanged, events.ServiceRegistered)
	case Endpoint:
		return pick(had, "mesh.endpoint."+state, events.EndpointAdded)
	case Document:
		return pick(had, events.PolicyUpdated, events.PolicyCreated)
	case Acceptance:
		return "mesh.policy." + state
	case Rollout, Tx, Guard:
		return "mesh." + string(k) + "." + state
	case Note:
		return ""
	default:
		return "mesh.proxy." + state
	}
}

// removed is the type that tells that a fact is none any more; "" where another
// fact's end says so.
func (k Kind) removed() string {
	switch k {
	case Service:
		return events.ServiceDeregistered
	case Endpoint:
		return events.EndpointRemoved
	case Document:
		return events.PolicyDeleted
	case Connection:
		return events.ProxyDisconnected
	case Guard:
		return events.GuardReleased
	default:
		return ""
	}
}

func pick(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}

// fact makes one; its data is plain and always JSON.
func fact(kind Kind, state, version string, data any) Fact {
	raw, err := json.Marshal(data)
	if err != nil {
		raw = fmt.Appendf(nil, "%q", err.Error())
	}
	return Fact{Kind: kind, State: state, Version: version, Data: raw}
}
