// Package policy turns documents that users write into an immutable revision
// in force. Carriers (a folder; later Consul KV and Kubernetes) only propose;
// Revisions decides, pins every document at its last good generation, and
// keeps the result in the store. Compile reads revisions and nothing else.
package policy

import (
	"context"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy/v1alpha1"
)

// Key names a document. Namespace is never empty ("default" when absent).
type Key struct{ Kind, Namespace, Name string }

// String returns "Kind/namespace/name", the order in which documents sort.
func (k Key) String() string { return k.Kind + "/" + k.Namespace + "/" + k.Name }

// Document is one accepted version of a policy document, immutable.
type Document struct {
	Key
	Generation int64  // counts changes of the canonical spec, from 1
	Hash       string // SHA-256 of Canonical, in hex
	Canonical  []byte // canonical JSON: apiVersion, kind, metadata name and namespace, spec
	Source     string // where it was read: "policies/orders.yaml#2"

	// Labels and Annotations as they were written, nil where there are none. They
	// are the carrier's: no part of Canonical, and of no revision read from the store.
	Labels, Annotations map[string]string

	// The spec of the document's kind; the others are nil.
	Resilience   *v1alpha1.ResiliencePolicySpec
	Route        *v1alpha1.TrafficRouteSpec
	Subscription *v1alpha1.EventSubscriptionSpec
}

// Ref returns the label of this version.
func (d *Document) Ref() mesh.DocumentRef {
	return mesh.DocumentRef{Kind: d.Kind, Namespace: d.Namespace, Name: d.Name, Generation: d.Generation}
}

// Proposal is everything that a carrier holds at one moment.
type Proposal struct {
	Documents []*Document // Generation 0: Revisions counts
	Refused   []Refusal
}

// Refusal is a document, or a whole file, that cannot be accepted. Key is
// zero when the fault hides it; every document last read from Source then
// stays pinned.
type Refusal struct {
	Key
	Source     string
	Faults     []FieldError
	Generation int64             // of the refused version, where its carrier counts; 0: not known
	Labels     map[string]string // as it has them, nil where the fault hides them
}

// FieldError names one fault so that its author can find it.
type FieldError struct {
	Source string // "policies/orders.yaml#2" or the document's name
	Key    Key
	Path   string // "spec.retry.attempts"; "" for the whole document
	Value  string // as written, shortened; "" where there is none
	Reason string // what would be right: "must be at most 10"
	Line   int    // line in the file, 0 when unknown
}

// Source proposes the documents of one carrier. Run calls propose with the
// whole of it whenever it changes, from one goroutine at a time, and at least
// once when it has answered, even when empty. It returns nil once ctx ends and
// an error only for what waiting cannot cure (a folder unreadable at start).
type Source interface {
	Run(ctx context.Context, propose func(Proposal)) error
}

// Revision is the set of documents in force, immutable and addressed by its
// content. The zero value is the built-in mesh-default alone.
type Revision struct {
	Hash      string      // SHA-256 over the pins in order, in hex
	Number    uint64      // counts pointer moves, for people: "12 (3f9c2a1b)"
	Documents []*Document // sorted by Key.String()
	// Changed are the keys that differ from the revision before.
	Changed []Key
	// Refused are the proposals that did not make it; what they replace
	// stays pinned.
	Refused []Refusal
}
