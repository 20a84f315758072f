package server

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"meshlite.dev/internal/xds/cache"
	"meshlite.dev/internal/xds/resource"
)

// codec sends responses whose resources were marshalled when they were
// published: a message is a list of shared byte strings and a few bytes of the
// stream's own. Everything else is protobuf as usual.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(proto.Name)} }

// Codec returns the codec of Options, for transports that are not grpc's.
func Codec() encoding.CodecV2 { return newCodec() }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if r, ok := v.(*response); ok {
		return r.buffers(), nil
	}
	out, err := c.CodecV2.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("xds codec: %w", err)
	}
	return out, nil
}

// response is one message to a proxy, of either protocol.
type response struct {
	kind    cache.Kind
	sotw    bool
	nonce   string
	version string // state of the world only
	items   []*cache.Item
	removed []string // delta only

	fit fit // of the proxy
}

// fit is what is taken from messages so that one proxy can use them. The zero value
// takes nothing away.
type fit struct {
	build *resource.Trimmer // the fields that it is too old for
	bare  *resource.Trimmer // its own certificate, of which it has none
}

// size is about the number of bytes on the wire.
func (r *response) size() (n int) {
	for _, i := range r.items {
		n += i.Size()
	}
	return n
}

// buffers returns the message as it stands on the wire. Protobuf allows the
// fields of a message in any order and its repeated ones apart.
func (r *response) buffers() mem.BufferSlice {
	out := make(mem.BufferSlice, 0, 2*len(r.items)+1)
	for _, i := range r.items {
		i = r.fit.trimmed(i)
		if r.sotw {
			out = append(out, mem.SliceBuffer(anyFrame(i)), mem.SliceBuffer(i.Body))
		} else {
			out = append(out, i.Delta...)
		}
	}
	tail := make([]byte, 0, 96)
	tail = protowire.AppendString(protowire.AppendTag(tail, 4, protowire.BytesType), r.kind.TypeURL())
	tail = protowire.AppendString(protowire.AppendTag(tail, 5, protowire.BytesType), r.nonce)
	if r.version != "" {
		tail = protowire.AppendString(protowire.AppendTag(tail, 1, protowire.BytesType), r.version)
	}
	for _, name := range r.removed {
		tail = protowire.AppendString(protowire.AppendTag(tail, 6, protowire.BytesType), name)
	}
	return append(out, mem.SliceBuffer(tail))
}

// trimmed is i as the proxy can use it, under the same version.
func (f fit) trimmed(i *cache.Item) *cache.Item {
	if i.Resource == nil {
		return i
	}
	less := *i.Resource
	less.Body = f.build.Body(i.Type, i.Body)
	if i.Certified {
		less.Body = f.bare.Body(i.Type, less.Body)
	}
	if len(less.Body) == len(i.Body) {
		return i
	}
	out, ok := cache.NewItem(&less, i.At)
	if !ok {
		return i
	}
	return out
}

// anyFrame writes field 2 (resources) of a DiscoveryResponse up to and
// including the length of the Any's value.
func anyFrame(i *cache.Item) []byte {
	inner := protowire.SizeTag(1) + protowire.SizeBytes(len(i.Type)) +
		protowire.SizeTag(2) + protowire.SizeBytes(len(i.Body))
	b := make([]byte, 0, inner-len(i.Body)+8)
	b = protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.BytesType), uint64(inner))
	b = protowire.AppendString(protowire.AppendTag(b, 1, protowire.BytesType), i.Type)
	return protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.BytesType), uint64(len(i.Body)))
}
