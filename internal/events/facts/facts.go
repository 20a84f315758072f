// Package facts says what the mesh tells: a pure function of what was told last
// of a subject and of what is so now. The state of one subject is a small set
// of named facts; two states give the events between them. States in between
// that nobody saw are not told: the newest says all.
package facts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

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
	Data    json.RawMessage `json:"data"` // of the event
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
)

// Told is one event to be, in the order in which they are told.
type Told struct {
	Type    string
	Version string
	Data    json.RawMessage
}

// Diff returns what to tell when a subject was told as before and is now. A
// version alone is nothing to tell. Within a subject what comes is told from
// the whole to its parts, what goes from the parts to the whole.
func Diff(before, now Subject) []Told {
	var out []Told
	gone := func(name string) bool { _, ok := now[name]; return !ok }
	for _, name := range slices.Backward(order(before)) {
		if f := before[name]; gone(name) {
			if typ := f.Kind.removed(); typ != "" {
				out = append(out, Told{typ, f.Version, f.Data})
			}
		}
	}
	for _, name := range order(now) {
		f := now[name]
		was, had := before[name]
		if had && was.State == f.State && bytes.Equal(was.Data, f.Data) {
			continue
		}
		out = append(out, Told{f.Kind.told(had, f.State), f.Version, f.Data})
	}
	return out
}

// order puts the whole before its parts.
func order(s Subject) []string {
	names := slices.Collect(maps.Keys(s))
	slices.SortFunc(names, func(a, b string) int {
		if a, b := s[a].Kind.rank(), s[b].Kind.rank(); a != b {
			return a - b
		}
		return strings.Compare(a, b)
	})
	return names
}

func (k Kind) rank() int {
	return slices.Index([]Kind{Service, Document, Connection, Acceptance, Sync, Endpoint}, k)
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
