// Package consulimport turns Consul's config entries (service-defaults,
// service-router, service-splitter, service-resolver, proxy-defaults) into
// Meshlite's documents, and lists what has no counterpart. It is pure: what
// reads the entries from a Consul stands in the package entries below it. Its
// main function is Import.
//
// Consul walks a chain for each service: the router's first route that matches,
// then the splitter of the route's destination, then resolvers, which redirect,
// choose a subset and name who takes over. A TrafficRoute has no chain: its
// rules name the instances themselves, so the chain is walked here.
// https://developer.hashicorp.com/consul/docs/manage-traffic/discovery-chain
//
// Fields that nobody reads are left over by construction: an entry of a newer
// Consul loses nothing silently.
package consulimport

import (
	"cmp"
	"slices"
	"strings"
)

// Kinds of the entries that are read.
const (
	ServiceDefaults = "service-defaults"
	ServiceRouter   = "service-router"
	ServiceSplitter = "service-splitter"
	ServiceResolver = "service-resolver"
	ProxyDefaults   = "proxy-defaults"
)

// Kinds lists them in the order in which Consul's documentation does.
func Kinds() []string {
	return []string{ProxyDefaults, ServiceDefaults, ServiceRouter, ServiceSplitter, ServiceResolver}
}

// Result is what became of the entries.
type Result struct {
	Documents []Document // by kind and name
	Leftovers []Leftover // by entry and field
}

// Incomplete reports whether some calls would go elsewhere than in Consul:
// documents are in shadow, or missing, or less than the entries.
func (r Result) Incomplete() bool {
	return slices.ContainsFunc(r.Leftovers, func(l Leftover) bool { return l.Moves })
}

// Document is one document to apply. It passes policy.Decode.
type Document struct {
	Kind, Name string
	Spec       any      // of v1alpha1
	From       []string // entries: "service-router/orders", sorted
	// Shadow: calls would go elsewhere than in Consul, so the document is
	// written with effect: shadow until somebody completes it.
	Shadow bool
}

// Leftover is a field that has no counterpart, or one that means less or more.
type Leftover struct {
	Kind, Name string // of the entry
	Field      string // "Routes[1].Destination.NumRetries"; "" for the whole entry
	Value      string // as JSON, shortened
	Instead    string // what to do instead
	Moves      bool   // calls would go elsewhere than in Consul
}

// Entry is how the entry of a leftover is named: "service-router/orders".
func (l Leftover) Entry() string { return l.Kind + "/" + l.Name }

// String is the leftover as one line.
func (l Leftover) String() string {
	at := "look at " + l.Entry()
	if l.Moves {
		at = "differs: " + l.Entry()
	}
	for _, part := range []string{l.Field, l.Value} {
		if part != "" {
			at += ": " + part
		}
	}
	return at + ": " + l.Instead
}

func sortLeftovers(all []Leftover) []Leftover {
	slices.SortFunc(all, func(a, b Leftover) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name),
			strings.Compare(a.Field, b.Field), strings.Compare(a.Value, b.Value), strings.Compare(a.Instead, b.Instead))
	})
	return slices.Compact(all)
}
