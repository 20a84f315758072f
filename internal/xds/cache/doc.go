// Package cache keeps the resources that are in force, in one immutable index
// shared by every stream, and wakes the streams that an edit concerns.
//
// A publish builds the next [Index] from the last one at the cost of what
// changed, swaps the pointer, appends what changed to a bounded log and wakes
// those who watch it. Streams read an index without a lock and find what is
// new since the one they knew by [Index.Since]. The package knows nothing of
// streams, nonces or order: that is xds/server.
package cache

import (
	"cmp"

	"meshlite.dev/internal/xds/resource"
)

// Kind is a resource type as a small number, in the order in which a flush
// sends them.
type Kind uint8

// The kinds, in send order.
const (
	CDS Kind = iota
	EDS
	LDS
	SRDS
	RDS
	Kinds // their number
)

var typeURLs = [Kinds]string{resource.ClusterType, resource.EndpointType,
	resource.ListenerType, resource.ScopedRouteType, resource.RouteType}

// KindOf returns the kind of a type URL.
func KindOf(typeURL string) (Kind, bool) {
	for k, u := range typeURLs {
		if u == typeURL {
			return Kind(k), true
		}
	}
	return 0, false
}

// TypeURL returns the resource type, "type.googleapis.com/…".
func (k Kind) TypeURL() string { return typeURLs[k] }

// String returns the service's short name: CDS, EDS, LDS, SRDS or RDS.
func (k Kind) String() string {
	return [Kinds]string{"CDS", "EDS", "LDS", "SRDS", "RDS"}[k]
}

// Key names a resource without its caller.
type Key struct {
	Kind Kind
	Name string
}

// Compare orders keys by kind and name.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Kind, o.Kind), cmp.Compare(k.Name, o.Name))
}
