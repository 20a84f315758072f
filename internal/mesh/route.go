package mesh

import (
	"regexp"
	"strings"
	"time"
)

// Routes are the rules of a TrafficRoute as one caller meets them, immutable.
// The last rule always takes what none before it matched: it has no matches,
// an empty Name, and the service itself as its backend.
type Routes struct {
	By    DocumentRef // the TrafficRoute
	Rules []Rule
}

// Rule says what happens to the requests that it matches. Exactly one of
// Backends, Redirect and Direct is set.
type Rule struct {
	Name    string  // unique within Routes
	Matches []Match // any of them; empty: every request

	Backends []Backend // weights sum to over 0
	Failover []Pool    // in order, for each backend that has no healthy instance
	Redirect *Redirect
	Direct   *DirectResponse

	RequestHeaders, ResponseHeaders HeaderEdits
	Rewrite                         *Rewrite
	Mirrors                         []Mirror
	Fault                           *Fault

	// Resilience holds what the rule's requests get: its request-level fields
	// (timeouts.request, retry, rateLimit and their like) are in force; those
	// that live in clusters are the service's own and show where they apply.
	// Never nil.
	Resilience *Effective
	// Hash is what the balancers of the backends hash, in order.
	Hash []HashKey
}

// PoolState says whether a pool can be sent requests.
type PoolState uint8

// The states of a pool.
const (
	Known     PoolState = iota
	Missing             // neither the catalog nor a TrafficRoute has it: its share is answered 503
	NotSynced           // the catalog has not answered for it yet
)

// Pool names the instances behind one cluster: a service or a subset of it,
// here or in another datacenter.
type Pool struct {
	Service    string
	Datacenter string // "" is the own
	Subset     string // "" is all instances
	State      PoolState
}

// Cluster returns the name of the pool's cluster and of its endpoints.
func (p Pool) Cluster() string { return ClusterName(ServiceKey(p.Service, p.Datacenter), p.Subset) }

// String is the pool as people write it: "orders", "orders/v2", "orders@dc2".
func (p Pool) String() string { return p.Cluster() }

// Backend is a pool with its share.
type Backend struct {
	Pool
	Weight uint32 // 0 takes nothing
}

// Mirror is a pool that gets copies of a share of the requests.
type Mirror struct {
	Pool
	Millionths uint32 // 1,000,000 is all of them
}

// MatchType says how a value is compared.
type MatchType string

// The comparisons.
const (
	MatchExact   MatchType = "Exact"
	MatchPrefix  MatchType = "Prefix"
	MatchSuffix  MatchType = "Suffix"
	MatchRegex   MatchType = "Regex" // RE2, the whole value
	MatchPresent MatchType = "Present"
)

// Match is met by a request that meets all of its parts.
type Match struct {
	Path    *ValueMatch // Name is empty; nil: every path
	Method  string      // "" is all
	Headers []ValueMatch
	Query   []ValueMatch
}

// ValueMatch compares one value.
type ValueMatch struct {
	Name   string
	Type   MatchType
	Value  string // "" with MatchPresent
	Invert bool   // headers only
}

// Meets reports whether a value is there and compares as m asks; Invert is not
// looked at. A regex that is none meets nothing.
func (m ValueMatch) Meets(value string) bool {
	switch m.Type {
	case MatchExact:
		return value == m.Value
	case MatchPrefix:
		return strings.HasPrefix(value, m.Value)
	case MatchSuffix:
		return strings.HasSuffix(value, m.Value)
	case MatchRegex:
		whole, err := regexp.Compile("^(?:" + m.Value + ")$")
		return err == nil && whole.MatchString(value)
	default:
		return true
	}
}

// HeaderEdits are applied in the order remove, set, add. Set and Add are
// sorted by name.
type HeaderEdits struct {
	Set, Add []Header
	Remove   []string
}

// Header is a name in lower case and a literal value.
type Header struct{ Name, Value string }

// Empty reports whether nothing is edited.
func (e HeaderEdits) Empty() bool { return len(e.Set)+len(e.Add)+len(e.Remove) == 0 }

// Rewrite changes a request on its way; of Path, Prefix and Regex at most one
// is set.
type Rewrite struct {
	Path, Prefix, Host  string
	Regex, Substitution string // RE2; \1 is the first group
}

// Redirect answers with another place; what is empty stays as requested.
type Redirect struct {
	Scheme, Host, Path string
	Port               uint32
	Status             uint32 // 301, 302, 303, 307 or 308
}

// DirectResponse answers in place of a backend.
type DirectResponse struct {
	Status uint32 // 200..599
	Body   string // 4096 bytes at most
}

// Fault is injected on purpose. Envoy: fault.v3.HTTPFault.
type Fault struct {
	Delay           time.Duration
	DelayMillionths uint32 // 0: no delay
	AbortStatus     uint32 // HTTP; 0 where GRPC is set
	AbortGRPC       uint32
	AbortMillionths uint32 // 0: no abort
}

// Subset is the instances of a service that have all of its tags and meta.
type Subset struct {
	Name string
	Tags []string          // sorted
	Meta map[string]string // never changed after publishing
}

// Has reports whether an endpoint belongs to the subset.
func (s Subset) Has(e Endpoint) bool {
	for _, want := range s.Tags {
		found := false
		for _, tag := range e.Tags {
			found = found || tag == want
		}
		if !found {
			return false
		}
	}
	for key, want := range s.Meta {
		if got, ok := e.Meta[key]; !ok || got != want {
			return false
		}
	}
	return true
}

// ServiceKey names a service of another datacenter among those of the model:
// "orders@dc2". Without a datacenter it is the service's own name.
func ServiceKey(service, datacenter string) string {
	if datacenter == "" {
		return service
	}
	return service + "@" + datacenter
}

// IsServiceKey reports whether s may be ServiceKey of a service: a DNS label,
// or one and the name of a datacenter, which may hold '_' too.
func IsServiceKey(s string) bool {
	service, datacenter, named := strings.Cut(s, "@")
	return IsDNSLabel(service) && (!named || IsDNSLabel(strings.ReplaceAll(datacenter, "_", "-")))
}

// SplitServiceKey is the inverse of ServiceKey.
func SplitServiceKey(key string) (service, datacenter string) {
	service, datacenter, _ = strings.Cut(key, "@")
	return service, datacenter
}
