package resource_test

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/pmap"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/xds/resource"
)

// service is a synced one with n instances.
func service(name string, p mesh.Protocol, n int) *catalog.Service {
	s := &catalog.Service{Name: name, Protocol: p, Synced: true}
	for i := range n {
		s.Endpoints = append(s.Endpoints, mesh.Endpoint{ID: fmt.Sprint(name, "-", i+1), Address: fmt.Sprintf("10.0.0.%d", i+1), Port: 8080, Weight: 1})
	}
	return s
}

// compiled is the model of services under policies, which must be without
// faults.
func compiled(tb testing.TB, policies string, services ...*catalog.Service) mesh.Model {
	tb.Helper()
	p := policy.Decode("test.yaml", []byte(policies))
	for _, r := range p.Refused {
		tb.Fatalf("policy refused: %v", r.Faults)
	}
	return model(p.Documents, services...)
}

func model(docs []*policy.Document, services ...*catalog.Service) mesh.Model {
	return modelAt(1, docs, services...)
}

// modelAt is the model under documents of a generation.
func modelAt(generation int64, docs []*policy.Document, services ...*catalog.Service) mesh.Model {
	all := map[string]*catalog.Service{}
	for _, s := range services {
		all[s.Name] = s
	}
	rev := policy.Revision{Hash: "test", Number: 1}
	for _, d := range docs {
		pinned := *d
		pinned.Generation = generation
		rev.Documents = append(rev.Documents, &pinned)
	}
	return compile.Full(compile.Default(), catalog.Snapshot{Services: pmap.From(all)}, rev).Model
}

// everything is all that the services of a model are turned into.
func everything(cfg resource.Config, m mesh.Model) (rs []*resource.Resource, faults []resource.Fault) {
	for _, s := range m.Services.All() {
		set := resource.Build(cfg, s)
		rs, faults = append(rs, set.Resources...), append(faults, set.Faults...)
	}
	set := resource.Global(cfg)
	return append(rs, set.Resources...), append(faults, set.Faults...)
}

// message reads a resource back.
func message(tb testing.TB, r *resource.Resource) proto.Message {
	tb.Helper()
	m, err := (&anypb.Any{TypeUrl: r.Type, Value: r.Body}).UnmarshalNew()
	if err != nil {
		tb.Fatalf("%s %s: %v", r.Type, r.Name, err)
	}
	return m
}

// find returns one resource; nil when there is none.
func find(rs []*resource.Resource, typeURL, name, caller string) *resource.Resource {
	for _, r := range rs {
		if r.Type == typeURL && r.Name == name && r.Caller == caller {
			return r
		}
	}
	return nil
}

func one(target, spec string) string {
	return "apiVersion: meshlite.dev/v1alpha1\nkind: ResiliencePolicy\nmetadata: {name: p}\nspec:\n  targetRefs: [{kind: Service, name: " + target + "}]\n" + spec
}
