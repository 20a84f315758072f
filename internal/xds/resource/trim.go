package resource

import (
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"

	"meshlite.dev/internal/mesh"
)

// Trimmer takes from messages the fields that an Envoy of one build is too old
// to know. A nil Trimmer takes none.
type Trimmer struct {
	fields map[protoreflect.FullName]bool
}

// NewTrimmer returns the trimmer of a build; nil where it knows all of table.
func NewTrimmer(build string, table []mesh.Capability) *Trimmer {
	var t *Trimmer
	for _, c := range table {
		if c.Message == "" || !c.Lacks(build) {
			continue
		}
		if t == nil {
			t = &Trimmer{map[protoreflect.FullName]bool{}}
		}
		t.fields[protoreflect.FullName(c.Message+"."+c.Field)] = true
	}
	return t
}

// Uncertified is the trimmer of a proxy without a certificate of its own: one that
// names a secret which the bootstrap lacks would be refused whole.
func Uncertified() *Trimmer {
	common := (&tlsv3.CommonTlsContext{}).ProtoReflect().Descriptor().FullName()
	return &Trimmer{map[protoreflect.FullName]bool{common.Append("tls_certificate_sds_secret_configs"): true}}
}

// Body returns the body of a message of a type without these fields, and body
// itself where it has none of them or is no such message.
func (t *Trimmer) Body(typeURL string, body []byte) []byte {
	if t == nil {
		return body
	}
	typ, err := protoregistry.GlobalTypes.FindMessageByURL(typeURL)
	if err != nil {
		return body
	}
	m := typ.New()
	if proto.Unmarshal(body, m.Interface()) != nil || !t.message(m) {
		return body
	}
	out, err := deterministic.Marshal(m.Interface())
	if err != nil {
		return body
	}
	return out
}

// message trims m and all in it; trimmed is whether anything was there.
func (t *Trimmer) message(m protoreflect.Message) (trimmed bool) {
	if packed, ok := m.Interface().(*anypb.Any); ok {
		body := t.Body(packed.GetTypeUrl(), packed.GetValue())
		trimmed = len(body) != len(packed.GetValue())
		packed.Value = body
		return trimmed
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case t.fields[f.FullName()]:
			m.Clear(f)
			trimmed = true
		case f.IsMap() && f.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				trimmed = t.message(v.Message()) || trimmed
				return true
			})
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				trimmed = t.message(v.List().Get(i).Message()) || trimmed
			}
		case !f.IsMap() && f.Message() != nil:
			trimmed = t.message(v.Message()) || trimmed
		}
		return true
	})
	return trimmed
}
