package preview

import (
	"cmp"
	"slices"

	"meshlite.dev/internal/xds/resource"
)

// order of the types: that in which they are sent, listeners last.
var order = []string{resource.ClusterType, resource.EndpointType, resource.ScopedRouteType, resource.RouteType, resource.ListenerType}

// callers are those with a message of their own under a name, before or after;
// "" is among them always.
type callers map[resource.Ref]map[string]bool

func callersOf(before, after built) callers {
	out := callers{}
	for _, b := range []built{before, after} {
		for ref, variants := range b.variants {
			if out[ref] == nil {
				out[ref] = map[string]bool{"": true}
			}
			for caller := range variants {
				out[ref][caller] = true
			}
		}
	}
	return out
}

// variant is the caller whose message a proxy of service gets.
func (c callers) variant(ref resource.Ref, service string) string {
	if c[ref][service] {
		return service
	}
	return ""
}

// compare lists the messages that differ, for every caller with one of its own.
func compare(all callers, before, after built) []Change {
	var out []Change
	for ref, names := range all {
		for caller := range names {
			if c, ok := differ(ref, caller, before.of(ref, caller), after.of(ref, caller)); ok {
				out = append(out, c)
			}
		}
	}
	slices.SortFunc(out, func(a, b Change) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.Type), slices.Index(order, b.Type)), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Caller, b.Caller))
	})
	return out
}

// differ reports whether a proxy that has before would be sent something else.
func differ(ref resource.Ref, caller string, before, after *resource.Resource) (Change, bool) {
	c := Change{Type: ref.Type, Name: ref.Name, Caller: caller, Before: before, After: after}
	switch {
	case before == nil && after == nil:
		return c, false
	case before == nil && after.State == resource.Withheld, after == nil && before.State == resource.Withheld:
		return c, false
	case before != nil && after != nil && (before.Version == after.Version || after.State != resource.Normal):
		return c, false // what the proxy has stays
	}
	if ref.Type == resource.ClusterType && before != nil {
		c.Effect = Closes
		if after != nil {
			c.Effect = Resets
		}
	}
	return c, true
}
