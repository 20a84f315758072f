package compile_test

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden compiles each folder of testdata/golden: catalog.yaml and
// policies.yaml beside what comes of them, want.txt.
func TestGolden(t *testing.T) {
	dirs, err := filepath.Glob("testdata/golden/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no golden folders: %v", err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			w := newWorld(t)
			w.readCatalog(filepath.Join(dir, "catalog.yaml"))
			w.readPolicies(filepath.Join(dir, "policies.yaml"))
			got := report(w.full(), filepath.Base(dir) == "defaults")
			want := filepath.Join(dir, "want.txt")
			if *update {
				if err := os.WriteFile(want, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if is, err := os.ReadFile(want); err != nil || string(is) != got {
				t.Errorf("%s differs (%v); run with -update and look at the diff. Got:\n%s", want, err, got)
			}
		})
	}
}

func (w *world) readCatalog(path string) {
	w.tb.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		w.tb.Fatal(err)
	}
	var services []struct {
		Name, Namespace string
		Protocol        mesh.Protocol
		Instances       int
		Waiting         bool // not synced
		Tags            [][]string
		HealthCheck     *mesh.HealthCheck
	}
	if err := yaml.UnmarshalStrict(raw, &services); err != nil {
		w.tb.Fatal(err)
	}
	for _, s := range services {
		w.service(s.Name, s.Instances, func(c *catalog.Service) {
			c.Namespace, c.HealthCheck, c.Synced = s.Namespace, s.HealthCheck, !s.Waiting
			for i, tags := range s.Tags {
				c.Endpoints[i].Tags = tags
			}
			if s.Protocol != "" {
				c.Protocol = s.Protocol
			}
		})
	}
}

func (w *world) readPolicies(path string) {
	w.tb.Helper()
	raw, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		w.tb.Fatal(err)
	}
	for _, part := range bytes.Split(raw, []byte("---\n")) {
		if len(part) == 0 {
			continue
		}
		var doc struct {
			Kind     string
			Metadata metav1
			Spec     any
		}
		if err := yaml.UnmarshalStrict(part, &doc); err != nil {
			w.tb.Fatal(err)
		}
		spec, err := yaml.Marshal(doc.Spec)
		if err != nil {
			w.tb.Fatal(err)
		}
		name := cmp.Or(doc.Metadata.Namespace, "default") + "/" + doc.Metadata.Name
		kind := cmp.Or(doc.Kind, policy.KindResiliencePolicy)
		if kind == policy.KindTrafficRoute {
			w.route(name, string(spec))
		} else {
			w.policy(name, string(spec))
		}
		w.docs[keyOf(kind, name)].Generation = max(doc.Metadata.Generation, 1)
	}
}

type metav1 struct {
	Name, Namespace string
	Generation      int64
}

// report writes down all of a result; the fields that have built-in values
// only where all is asked for.
func report(r compile.Result, all bool) string {
	var b strings.Builder
	for name, s := range r.Model.Services.All() {
		destinations := []*mesh.Destination{s.Default}
		for _, caller := range slices.Sorted(maps.Keys(s.ByCaller)) {
			destinations = append(destinations, s.ByCaller[caller])
		}
		for _, d := range destinations {
			fmt.Fprintf(&b, "service %s, namespace %s, caller %q, %s\n", name, s.Namespace, d.Caller, d.Protocol)
			if len(s.Subsets) > 0 {
				fmt.Fprintf(&b, "  subsets %+v\n", s.Subsets)
			}
			fmt.Fprintf(&b, "  route %s, cluster %s, limits %s, timeouts %s, rate limit %s, all %v\n",
				d.Route, d.Cluster, d.LimitsBy, d.TimeoutsBy, d.RateLimitBy, d.Documents)
			for _, f := range compile.Explain(d) {
				if all || !strings.HasPrefix(f.Origin.Why, "built-in") || f.Value != compile.None && strings.HasPrefix(f.Path, "healthCheck.") {
					b.WriteString("  " + fieldLine(f))
				}
			}
			reportRoutes(&b, d)
		}
	}
	for _, f := range r.Findings() {
		fmt.Fprintf(&b, "%s %s service %q document %s at %s\n  %s\n  hint: %s\n", f.Code, f.Severity, f.Service, f.Document, f.Path, f.Message, f.Hint)
	}
	for _, s := range r.Documents() {
		fmt.Fprintf(&b, "%s: %s %s\n", s.Document.Ref(), s.Accepted, s.Message)
		for _, t := range s.PerTarget {
			fmt.Fprintf(&b, "  %s: %s, generation %d%s\n", t.Name, t.Accepted, t.InForce, map[bool]string{true: ", overridden"}[t.Overridden])
		}
	}
	return b.String()
}

func fieldLine(f compile.Field) string {
	return fmt.Sprintf("%s = %s (%s, %s%s)%s\n", f.Path, f.Value, f.Origin.DocumentRef, f.Origin.Why, at(f.Origin.Path), lost(f.Origin.Lost))
}

// reportRoutes writes down the rules of d, and of their resilience what is not
// the service's own.
func reportRoutes(b *strings.Builder, d *mesh.Destination) {
	if d.Routes == nil {
		return
	}
	fmt.Fprintf(b, "  rules of %s\n", d.Routes.By)
	for i := range d.Routes.Rules {
		r := &d.Routes.Rules[i]
		fmt.Fprintf(b, "    rule %q%s\n", r.Name, actions(*r))
		if r.Resilience == d.Effective {
			continue
		}
		fmt.Fprintf(b, "      timeouts %s, rate limit %s, all %v\n", r.Resilience.TimeoutsBy, r.Resilience.RateLimitBy, r.Resilience.Documents)
		own := compile.Explain(d)
		for k, f := range compile.Explain(&mesh.Destination{Caller: d.Caller, Protocol: d.Protocol, Effective: r.Resilience}) {
			if line := fieldLine(f); line != fieldLine(own[k]) {
				b.WriteString("      " + line)
			}
		}
	}
}

// actions is a rule without its name and resilience, what is absent left out.
func actions(r mesh.Rule) string {
	var b strings.Builder
	states := map[mesh.PoolState]string{mesh.Missing: " missing", mesh.NotSynced: " not synced"}
	for _, m := range r.Matches {
		path := mesh.ValueMatch{}
		if m.Path != nil {
			path = *m.Path
		}
		fmt.Fprintf(&b, "\n      match path %+v, method %q, headers %+v, query %+v", path, m.Method, m.Headers, m.Query)
	}
	for _, p := range r.Backends {
		fmt.Fprintf(&b, "\n      backend %s weight %d%s", p.Pool, p.Weight, states[p.State])
	}
	for _, p := range r.Failover {
		fmt.Fprintf(&b, "\n      failover %s%s", p, states[p.State])
	}
	for _, p := range r.Mirrors {
		fmt.Fprintf(&b, "\n      mirror %s %d millionths%s", p.Pool, p.Millionths, states[p.State])
	}
	for _, part := range []struct {
		what  string
		value any
		set   bool
	}{
		{"request headers", r.RequestHeaders, !r.RequestHeaders.Empty()}, {"response headers", r.ResponseHeaders, !r.ResponseHeaders.Empty()},
		{"redirect", r.Redirect, r.Redirect != nil}, {"answer", r.Direct, r.Direct != nil},
		{"rewrite", r.Rewrite, r.Rewrite != nil}, {"fault", r.Fault, r.Fault != nil}, {"hash", r.Hash, len(r.Hash) > 0},
	} {
		if part.set {
			fmt.Fprintf(&b, "\n      %s %+v", part.what, part.value)
		}
	}
	return b.String()
}

func at(path string) string {
	if path == "" {
		return ""
	}
	return ", " + path
}

func lost(ls []mesh.Lost) string {
	var out strings.Builder
	for _, l := range ls {
		fmt.Fprintf(&out, "; lost: %s %s (%s)", l.DocumentRef, l.Value, l.Why)
	}
	return out.String()
}
