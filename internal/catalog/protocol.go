package catalog

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"meshlite.dev/internal/mesh"
)

// Keys of service meta that Meshlite reads.
const (
	MetaProtocol     = "protocol"
	MetaNamespace    = "namespace"
	MetaRegion       = "region"
	MetaZone         = "zone"
	MetaDatacenter   = "datacenter" // file catalog only: a Consul knows
	MetaTransactions = "mesh-transactions"
)

// Says is what one instance states about its whole service.
type Says struct {
	Instance     string        // id, for findings
	Protocol     mesh.Protocol // "" where it says nothing
	Namespace    string
	Transactions string
}

// ParseProtocol reads a protocol as a catalog writes it: "http" is http1. The
// second result is false for words that Meshlite does not know.
func ParseProtocol(word string) (mesh.Protocol, bool) {
	switch strings.ToLower(word) {
	case "http", "http1", "http1.1":
		return mesh.HTTP1, true
	case "http2", "h2", "h2c":
		return mesh.HTTP2, true
	case "grpc":
		return mesh.GRPC, true
	case "tcp":
		return mesh.TCP, true
	}
	return "", false
}

// Read takes an instance's statements from its meta, and its protocol from a
// tag of that name where meta has none. Its fault, "" when there is none,
// names a protocol that nobody knows.
func Read(instance string, tags []string, meta map[string]string) (says Says, fault string) {
	says = Says{Instance: instance, Namespace: meta[MetaNamespace], Transactions: meta[MetaTransactions]}
	if word := meta[MetaProtocol]; word != "" {
		p, ok := ParseProtocol(word)
		if !ok {
			fault = fmt.Sprintf("has the protocol %q in its meta; use http1, http2, grpc or tcp", shorten(word))
		}
		says.Protocol = p
	}
	if says.Protocol != "" {
		return says, fault
	}
	for _, tag := range tags {
		switch tag {
		case "http", "http1", "http2", "grpc", "tcp":
			says.Protocol, _ = ParseProtocol(tag)
			return says, fault
		}
	}
	return says, fault
}

// Settle makes one service of what its instances say; before is the service
// as it was published last, or nil. Where they disagree about the protocol the
// one in force stays, else the commonest counts, and a finding names them.
// fallback ("" is http1) stands in for those that say none. A service without
// instances stays what it was.
func Settle(s, before *Service, says []Says, fallback mesh.Protocol) []mesh.Finding {
	fallback = cmp.Or(fallback, mesh.HTTP1)
	var inForce mesh.Protocol
	if before != nil {
		inForce = before.Protocol
		if len(says) == 0 {
			s.Protocol, s.Namespace, s.Meta = before.Protocol, before.Namespace, before.Meta
			return nil
		}
	}
	votes := map[string][]string{}
	namespaces, transactions := map[string][]string{}, map[string][]string{}
	for _, v := range says {
		p := cmp.Or(v.Protocol, fallback)
		votes[string(p)] = append(votes[string(p)], v.Instance)
		namespaces[v.Namespace] = append(namespaces[v.Namespace], v.Instance)
		transactions[v.Transactions] = append(transactions[v.Transactions], v.Instance)
	}
	switch {
	case len(votes) == 0:
		s.Protocol = fallback
	case len(votes[string(inForce)]) > 0:
		s.Protocol = inForce
	default:
		s.Protocol = mesh.Protocol(commonest(votes))
	}
	s.Namespace = commonest(namespaces)
	if t := commonest(transactions); t != "" {
		s.Meta = map[string]string{MetaTransactions: t}
	}
	if len(votes) < 2 {
		return nil
	}
	return []mesh.Finding{{
		Code: mesh.CodeProtocolDisagreed, Severity: mesh.Warning, Service: s.Name,
		Message: fmt.Sprintf("instances disagree about the protocol (%s); %s is used", tally(votes), s.Protocol),
		Hint:    "give every instance the same meta protocol; those that speak another one fail",
	}}
}

// commonest returns the key with the most instances, the first by name among
// equals.
func commonest(votes map[string][]string) string {
	best := ""
	for i, key := range slices.Sorted(maps.Keys(votes)) {
		if i == 0 || len(votes[key]) > len(votes[best]) {
			best = key
		}
	}
	return best
}

func tally(votes map[string][]string) string {
	const named = 3 // enough to find them, short enough to read
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(votes)) {
		ids := slices.Sorted(slices.Values(votes[key]))
		more := ""
		if len(ids) > named {
			ids, more = ids[:named], ", …"
		}
		parts = append(parts, fmt.Sprintf("%s: %s%s", key, strings.Join(ids, ", "), more))
	}
	return strings.Join(parts, "; ")
}
