package compile

import (
	"reflect"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy/v1alpha1"
)

// setHash converts loadBalancing.hash.
func setHash(r *resilience, v reflect.Value) {
	keys, _ := v.Interface().([]v1alpha1.HashKey)
	for _, k := range keys {
		out := mesh.HashKey{
			Header: string(value(k.Header)), Query: value(k.Query),
			SourceIP: value(k.SourceIP), Terminal: value(k.Terminal),
		}
		if k.Cookie != nil {
			out.Cookie, out.CookiePath = k.Cookie.Name, value(k.Cookie.Path)
			out.CookieTTL = parseDuration(string(value(k.Cookie.TTL)))
		}
		r.LoadBalancing.Hash = append(r.LoadBalancing.Hash, out)
	}
}

func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
