package mesh

import (
	"fmt"
	"strings"
)

// DefaultPolicyName is the reserved name of the built-in policy. It is not a
// document: nothing may be called so.
const DefaultPolicyName = "mesh-default"

// DocumentRef names one version of a policy document. The zero value is the
// built-in mesh-default.
type DocumentRef struct {
	Kind       string // "ResiliencePolicy"
	Namespace  string
	Name       string
	Generation int64 // 1 or more
}

// IsDefault reports whether r is the built-in mesh-default.
func (r DocumentRef) IsDefault() bool { return r == DocumentRef{} }

// String returns the label used in logs, headers and statistics:
// "rp/NAMESPACE/NAME@GENERATION", or "mesh-default".
func (r DocumentRef) String() string {
	if r.IsDefault() {
		return DefaultPolicyName
	}
	return fmt.Sprintf("%s/%s/%s@%d", ShortKind(r.Kind), r.Namespace, r.Name, r.Generation)
}

// ShortKind returns the short name that kubectl knows a kind by.
func ShortKind(kind string) string {
	switch kind {
	case "ResiliencePolicy":
		return "rp"
	case "TrafficRoute":
		return "tr"
	case "EventSubscription":
		return "es"
	default:
		return strings.ToLower(kind)
	}
}

// Origin says where an effective value came from.
type Origin struct {
	DocumentRef
	Path  string // field path within the document, "spec.retry.attempts"; "" for the catalog's and built-in values
	Value string // as its author wrote it: "60s", "[GET, HEAD]"
	Why   string // why it won: "built-in", "catalog", "Mesh", "Service", "Service, from checkout"
	Lost  []Lost // who else set the field, most specific first
}

// Lost is a value that another one overrode.
type Lost struct {
	DocumentRef
	Path  string
	Value string // as `policy explain` prints it
	Why   string // why it lost: "less specific", "Conflicted: higher name"
}
