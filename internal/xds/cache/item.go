package cache

import (
	"sync/atomic"
	"time"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"meshlite.dev/internal/xds/resource"
)

// Item is one published resource with what the engine learns of it. Items are
// shared by all streams; content that comes back unchanged keeps its Item.
type Item struct {
	*resource.Resource
	Kind Kind
	// At is when the content was published.
	At time.Time
	// Endpoints is the name of the assignment that a cluster waits for; ""
	// for clusters that find their endpoints otherwise, and other kinds.
	Endpoints string
	// Delta is a field 2 (resources) of a DeltaDiscoveryResponse as it stands
	// on the wire, made once: its beginning, then Body. Nil when withheld.
	Delta []mem.Buffer

	proven, refused atomic.Uint64
	fallback        atomic.Pointer[Item]
}

// NewItem wraps r; ok is false for a type that Meshlite does not serve.
func NewItem(r *resource.Resource, at time.Time) (item *Item, ok bool) {
	k, ok := KindOf(r.Type)
	if !ok {
		return nil, false
	}
	i := &Item{Resource: r, Kind: k, At: at}
	if r.State != resource.Withheld {
		i.Delta = []mem.Buffer{mem.SliceBuffer(frame(r)), mem.SliceBuffer(r.Body)}
	}
	if k == CDS {
		i.Endpoints = assignmentOf(r.Name, r.Body)
	}
	return i, true
}

// Size is about the number of bytes that the item takes in a response.
func (i *Item) Size() int { return len(i.Body) + len(i.Type) + len(i.Name) + 32 }

// Prove records that an Envoy of the build whose bit is given accepted the
// content, and reports whether none had before. A bit of 0 proves nothing.
func (i *Item) Prove(bit uint64) (first bool) {
	if bit == 0 || i.proven.Load()&bit != 0 {
		return false
	}
	i.fallback.Store(nil)
	return i.proven.Or(bit)&bit == 0
}

// Proven reports whether an Envoy of that build accepted the content.
func (i *Item) Proven(bit uint64) bool { return i.proven.Load()&bit != 0 }

// Refuse records that an Envoy of that build refused the content.
func (i *Item) Refuse(bit uint64) { i.refused.Or(bit) }

// Refused reports whether an Envoy of that build refused the content.
func (i *Item) Refused(bit uint64) bool { return i.refused.Load()&bit != 0 }

// Fallback is the newest earlier content of the name that an Envoy accepted:
// what a proxy gets that refuses this one and holds nothing. Nil when there is
// none, and once this content is accepted anywhere.
func (i *Item) Fallback() *Item { return i.fallback.Load() }

// succeed hands on what was learnt of the content that i replaces.
func (i *Item) succeed(old *Item) {
	if old == nil || old.State == resource.Withheld {
		return
	}
	if old.Version == i.Version {
		i.proven.Store(old.proven.Load())
		i.refused.Store(old.refused.Load())
		i.fallback.Store(old.fallback.Load())
		return
	}
	if i.Kind == EDS {
		return // an old address may belong to somebody else by now
	}
	if old.proven.Load() == 0 {
		old = old.Fallback()
	}
	i.fallback.Store(old)
}

// frame writes field 2 (resources) of a DeltaDiscoveryResponse up to and
// including the length of the Any's value: protobuf allows fields in any
// order, so version and name go first and the body last.
func frame(r *resource.Resource) []byte {
	body := len(r.Body)
	anyLen := protowire.SizeTag(1) + protowire.SizeBytes(len(r.Type)) +
		protowire.SizeTag(2) + protowire.SizeBytes(body)
	resLen := protowire.SizeTag(1) + protowire.SizeBytes(len(r.Version)) +
		protowire.SizeTag(3) + protowire.SizeBytes(len(r.Name)) +
		protowire.SizeTag(2) + protowire.SizeBytes(anyLen)
	b := make([]byte, 0, resLen-body+16)
	b = protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.BytesType), uint64(resLen))
	b = protowire.AppendString(protowire.AppendTag(b, 1, protowire.BytesType), r.Version)
	b = protowire.AppendString(protowire.AppendTag(b, 3, protowire.BytesType), r.Name)
	b = protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.BytesType), uint64(anyLen))
	b = protowire.AppendString(protowire.AppendTag(b, 1, protowire.BytesType), r.Type)
	return protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.BytesType), uint64(body))
}

// assignmentOf reads the name under which a cluster asks for its endpoints:
// cluster.v3.Cluster type (2, EDS = 3) and eds_cluster_config.service_name (3.2).
func assignmentOf(name string, cluster []byte) string {
	const typeEDS = 3
	eds, service := false, name
	for b := cluster; len(b) > 0; {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return ""
		}
		b = b[n:]
		switch {
		case num == 2 && typ == protowire.VarintType:
			v, _ := protowire.ConsumeVarint(b)
			eds = v == typeEDS
		case num == 3 && typ == protowire.BytesType:
			if v, n := protowire.ConsumeBytes(b); n >= 0 {
				if s := stringField(v, 2); s != "" {
					service = s
				}
			}
		}
		if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
			return ""
		}
		b = b[n:]
	}
	if !eds {
		return ""
	}
	return service
}

// stringField returns the last value of a string field of a message, "" when
// it is absent.
func stringField(b []byte, field protowire.Number) (s string) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return ""
		}
		b = b[n:]
		if num == field && typ == protowire.BytesType {
			if v, n := protowire.ConsumeBytes(b); n >= 0 {
				s = string(v)
			}
		}
		if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
			return ""
		}
		b = b[n:]
	}
	return s
}
