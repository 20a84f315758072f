package resource_test

import (
	"testing"

	"pgregory.net/rapid"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/xds/resource"
)

func decoded(t *rapid.T, text string) []*policy.Document {
	p := policy.Decode("test.yaml", []byte(text))
	if len(p.Refused) > 0 {
		t.Fatalf("refused: %v", p.Refused[0].Faults)
	}
	return p.Documents
}

// FuzzPolicyToEnvoy: whatever a policy says, it is refused, or every message
// that it leads to passes Envoy's own rules. Nothing panics.
func FuzzPolicyToEnvoy(f *testing.F) {
	for _, s := range specs {
		f.Add([]byte(s))
	}
	f.Add([]byte(one("stock", "  loadBalancing: {type: Maglev, hash: [{cookie: {name: a, ttl: 0s}}]}\n")))
	f.Add([]byte(one("rpc", "  retry: {attempts: 10, backoff: {base: 1ms, max: 1ms}}\n  timeouts: {request: 0s}\n")))
	services := []mesh.Protocol{mesh.HTTP1, mesh.HTTP2, mesh.GRPC, mesh.TCP}
	names := []string{"orders", "stock", "rpc", "db"}
	f.Fuzz(func(t *testing.T, data []byte) {
		docs := policy.Decode("fuzz.yaml", data).Documents
		for i, p := range services {
			m := model(docs, service(names[i], p, 1))
			rs, faults := everything(resource.Config{}, m)
			for _, fault := range faults {
				t.Errorf("a policy that passed is refused as a message: %s %s: %v", fault.Type, fault.Name, fault.Err)
			}
			if len(rs) == 0 {
				t.Error("nothing was made")
			}
		}
	})
}
