package compile

import (
	"slices"
	"strings"

	"meshlite.dev/internal/mesh"
)

// section says where in Envoy a field lives, as a set of bits.
type section uint8

const (
	inRoute section = 1 << iota
	inCluster
	inLimits
	inTimeouts
	inRateLimit
)

// sections has the section of each field of the schema.
var sections = sectionsOf(schema)

func sectionsOf(leaves []leaf) []section {
	out := make([]section, len(leaves))
	for i, l := range leaves {
		out[i] = sectionOf(l.path)
	}
	return out
}

// sectionOf is the table "what attaches where" of the policy documentation:
// request-level fields live in routes, the rest in clusters. A hash is the
// route's input to the cluster's balancer; the number of tcp connect attempts
// lives in a listener alone.
func sectionOf(path string) section {
	switch path {
	case "timeouts.request", "timeouts.streamIdle", "timeouts.maxStreamDuration":
		return inRoute | inTimeouts
	case "loadBalancing.hash", "connection.protocol":
		return inRoute | inCluster
	case "retry.tcpConnectAttempts":
		return 0
	}
	top, _, _ := strings.Cut(path, ".")
	switch {
	case strings.HasPrefix(path, "retry.budget."):
		return inCluster
	case top == "retry":
		return inRoute
	case top == "rateLimit":
		return inRoute | inRateLimit
	case top == "limits":
		return inCluster | inLimits
	case top == "timeouts":
		return inCluster | inTimeouts
	default:
		return inCluster
	}
}

// onRules reports whether a field may be set for a TrafficRoute or a rule: those
// that live in the routes alone. A hash and a protocol belong to the cluster as
// well, which all rules share.
func onRules(leaf int) bool {
	return sections[leaf]&inRoute != 0 && sections[leaf]&inCluster == 0
}

// attribute names the documents that took part: those of which a value is in
// force, and for each section the most specific of them.
func (m *merged) attribute() {
	e := m.effective
	won := map[*layer]section{}
	for i, l := range m.winners {
		if l != nil {
			won[l] |= sections[i] | tookPart
		}
	}
	for _, l := range m.stack.layers {
		in := won[l]
		if l.doc == nil || in == 0 {
			continue
		}
		ref := l.ref()
		e.Documents = slices.DeleteFunc(e.Documents, func(d mesh.DocumentRef) bool { return d == ref })
		e.Documents = append(e.Documents, ref) // once, where it is most specific
		for _, s := range []struct {
			section
			by *mesh.DocumentRef
		}{
			{inRoute, &e.Route}, {inCluster, &e.Cluster},
			{inLimits, &e.LimitsBy}, {inTimeouts, &e.TimeoutsBy}, {inRateLimit, &e.RateLimitBy},
		} {
			if in&s.section != 0 {
				*s.by = ref
			}
		}
		if in&inRoute != 0 {
			e.RouteDocuments = foremost(e.RouteDocuments, ref)
		}
		if in&inCluster != 0 {
			e.ClusterDocuments = foremost(e.ClusterDocuments, ref)
		}
	}
}

// foremost puts ref before the others, once.
func foremost(refs []mesh.DocumentRef, ref mesh.DocumentRef) []mesh.DocumentRef {
	refs = slices.DeleteFunc(refs, func(d mesh.DocumentRef) bool { return d == ref })
	return slices.Insert(refs, 0, ref)
}

// tookPart marks a layer of which any value is in force.
const tookPart section = 1 << 7
