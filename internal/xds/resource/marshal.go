package resource

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"time"

	"meshlite.dev/internal/mesh"
)

var deterministic = proto.MarshalOptions{Deterministic: true}

// maker collects the resources of one service.
type maker struct {
	cfg Config
	set Set
}

// add validates and marshals m; what validation refuses becomes a fault.
func (b *maker) add(r Resource, m proto.Message) {
	r.Service = b.set.Service
	made, fault := seal(b.cfg, r, m)
	if fault != nil {
		b.set.Faults = append(b.set.Faults, *fault)
		return
	}
	b.set.Resources = append(b.set.Resources, made)
}

// withhold adds a resource that is neither sent nor removed, once.
func (b *maker) withhold(typeURL, name string) {
	if slices.ContainsFunc(b.set.Resources, func(r *Resource) bool { return r.Type == typeURL && r.Name == name && r.Caller == "" }) {
		return
	}
	b.set.Resources = append(b.set.Resources, &Resource{Type: typeURL, Name: name, Service: b.set.Service, State: Withheld})
}

// done returns the set in its order.
func (b *maker) done() Set {
	slices.SortFunc(b.set.Resources, func(x, y *Resource) int {
		if x.Type != y.Type {
			return order[x.Type] - order[y.Type]
		}
		if c := strings.Compare(x.Name, y.Name); c != 0 {
			return c
		}
		return strings.Compare(x.Caller, y.Caller)
	})
	return b.set
}

// order is that of a flush.
var order = map[string]int{ClusterType: 0, EndpointType: 1, ListenerType: 2, ScopedRouteType: 3, RouteType: 4}

// seal makes the immutable resource of a message.
func seal(cfg Config, r Resource, m proto.Message) (*Resource, *Fault) {
	if cfg.Mutate != nil {
		cfg.Mutate(r.Name, m)
	}
	err := validate(m)
	if err == nil {
		r.Body, err = deterministic.Marshal(m)
	}
	if err != nil {
		return nil, &Fault{Service: r.Service, Type: r.Type, Name: r.Name, Caller: r.Caller, Err: err, Policies: r.Policies}
	}
	r.Version = versionOf(r.Type, r.Body)
	return &r, nil
}

func versionOf(typeURL string, body []byte) string {
	h := sha256.New()
	h.Write([]byte(typeURL))
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// pack wraps m; the same message gives the same bytes.
func pack(m proto.Message) *anypb.Any {
	out := new(anypb.Any)
	if err := anypb.MarshalFrom(out, m, deterministic); err != nil {
		panic("resource: " + err.Error()) // only invalid UTF-8 does this, and names are checked
	}
	return out
}

func seconds(d time.Duration) *durationpb.Duration { return durationpb.New(d) }

// optional leaves a duration of 0 to Envoy's own default.
func optional(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

func u32(v uint32) *wrapperspb.UInt32Value { return wrapperspb.UInt32(v) }

// optionalU32 leaves 0 to Envoy's own default.
func optionalU32(v uint32) *wrapperspb.UInt32Value {
	if v == 0 {
		return nil
	}
	return wrapperspb.UInt32(v)
}

func yes() *wrapperspb.BoolValue { return wrapperspb.Bool(true) }

func no() *wrapperspb.BoolValue { return wrapperspb.Bool(false) }

// labels writes documents as the ledger names them, without repetition;
// mesh-default alone gives none.
func labels(refs ...mesh.DocumentRef) []string {
	var out []string
	for _, r := range refs {
		if s := r.String(); !r.IsDefault() && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
