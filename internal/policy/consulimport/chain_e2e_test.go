//go:build e2e

package consulimport_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"meshlite.dev/internal/catalog/consul/consultest"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/consulimport"
	"meshlite.dev/internal/policy/consulimport/chaintest"
	"meshlite.dev/internal/policy/kv"
	"meshlite.dev/internal/policy/v1alpha1"
)

// TestDocumentsLeadWhereConsulsChainsDo writes the golden entries into a real
// Consul, imports what it then has, and compares for many requests where its
// own compiled chains lead with where the documents do.
func TestDocumentsLeadWhereConsulsChainsDo(t *testing.T) {
	files, err := filepath.Glob("testdata/*/entries.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no entries")
	}
	for _, file := range files {
		name := filepath.Base(filepath.Dir(file))
		t.Run(name, func(t *testing.T) {
			agent := consultest.Start(t, consultest.Options{})
			writeEntries(t, agent, readEntries(t, file))
			got, err := kv.ReadEntries(t.Context(), kv.Config{Addr: agent.Addr}, consulimport.Kinds())
			if err != nil {
				t.Fatal(err)
			}
			r := consulimport.Import(got.Raw, nil)
			for _, d := range r.Documents {
				if d.Shadow && name != "leftovers" {
					t.Errorf("%s %s is in shadow: %v", d.Kind, d.Name, r.Leftovers)
				}
			}
			compared := 0
			for _, service := range servicesOf(t, got.Raw) {
				compared += compareChain(t, agent, service, r)
			}
			t.Logf("%d requests compared", compared)
			if compared == 0 && name != "tcp" {
				t.Error("nothing was compared")
			}
		})
	}
}

// writeEntries writes entries in whatever order Consul takes them.
func writeEntries(t *testing.T, agent *consultest.Agent, entries []json.RawMessage) {
	t.Helper()
	for len(entries) > 0 {
		var refused []json.RawMessage
		var last error
		for _, e := range entries {
			if _, err := agent.API().Raw().Write("/v1/config", e, nil, nil); err != nil {
				refused, last = append(refused, e), err
			}
		}
		if len(refused) == len(entries) {
			t.Fatalf("Consul refuses %d entries: %v", len(refused), last)
		}
		entries = refused
	}
}

func servicesOf(t *testing.T, entries []json.RawMessage) []string {
	t.Helper()
	names := map[string]bool{}
	for _, raw := range entries {
		var e struct{ Kind, Name string }
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
		if e.Kind != consulimport.ProxyDefaults {
			names[e.Name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// compareChain returns how many requests it compared. Routes in shadow differ,
// and say so.
func compareChain(t *testing.T, agent *consultest.Agent, service string, r consulimport.Result) (n int) {
	t.Helper()
	answer, _, err := agent.API().DiscoveryChain().Get(service, nil, nil)
	if err != nil {
		t.Fatalf("chain of %s: %v", service, err)
	}
	chain := answer.Chain
	spec := &v1alpha1.TrafficRouteSpec{Service: service}
	for _, d := range r.Documents {
		if d.Kind == policy.KindTrafficRoute && d.Name == service {
			if spec = d.Spec.(*v1alpha1.TrafficRouteSpec); d.Shadow {
				return 0
			}
		}
	}
	if chain.Protocol == "tcp" || strings.ToLower(service) != service {
		return 0
	}
	for _, req := range requests() {
		want, got := chaintest.Follow(chain, req), byDocument(t, spec, req)
		// A grpc service has no timeout here, which is reported, and Consul's
		// client does not tell those of resolvers.
		if chain.Protocol == "grpc" || chain.Nodes[chain.StartNode].Type == api.DiscoveryGraphNodeTypeResolver {
			want.Timeout, got.Timeout = "", ""
		}
		if reported(r, service, chain) {
			want.Failover, got.Failover = nil, nil
		}
		if w, g := fmt.Sprintf("%+v", want), fmt.Sprintf("%+v", got); w != g {
			t.Fatalf("%s %+v\n  Consul: %s\ndocument: %s", service, req, w, g)
		}
		n++
	}
	return n
}

// reported reports whether the failover of any of the chain's services was
// left over.
func reported(r consulimport.Result, service string, chain *api.CompiledDiscoveryChain) bool {
	for _, l := range r.Leftovers {
		if !strings.HasPrefix(l.Field, "Failover") {
			continue
		}
		for _, target := range chain.Targets {
			if l.Name == target.Service || l.Name == service {
				return true
			}
		}
	}
	return false
}

// requests are all combinations of what the golden entries tell apart.
func requests() (all []chaintest.Request) {
	headers := []map[string]string{
		{},
		{"x-debug": "1", "x-user": "a", "x-team": "red", "x-host": "a.test", "x-version": "v1"},
		{"x-debug": "1", "x-user": "a", "x-team": "blue-1", "x-host": "a.test", "x-version": "v1"},
		{"x-debug": "1", "x-user": "b", "x-team": "red", "x-host": "a.test", "x-version": "v1x"},
	}
	queries := []map[string]string{{}, {"q": "", "page": "1", "sort": "asc"}, {"q": "1", "page": "2", "sort": "asc"}, {"page": "1", "sort": "ascending"}}
	for path := range strings.FieldsSeq("/ /health /healthy /api/ /api/x /API/x /Admin /admin/a /login /LOGIN /logins /v1/x /v3/x /v2/ /v2 /all /next/1 /two /odd /stock/1 /ledger.Book/Get /x") {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost} {
			for _, h := range headers {
				for _, q := range queries {
					all = append(all, chaintest.Request{Method: method, Path: path, Headers: h, Query: q})
				}
			}
		}
	}
	return all
}

// byDocument follows a TrafficRoute.
func byDocument(t *testing.T, spec *v1alpha1.TrafficRouteSpec, req chaintest.Request) chaintest.Outcome {
	t.Helper()
	out := chaintest.Outcome{Shares: map[string]float64{}, Failover: map[string][]string{}, Path: req.Path, Attempts: -1}
	rule := v1alpha1.RouteRule{}
	for _, r := range spec.Rules {
		if len(r.Matches) == 0 || slices.ContainsFunc(r.Matches, func(m v1alpha1.RouteMatch) bool { return documentMatches(m, req) }) {
			rule = r
			break
		}
	}
	if rule.Timeouts != nil && rule.Timeouts.Request != nil {
		d, err := rule.Timeouts.Request.Parse()
		if err != nil {
			t.Fatal(err)
		}
		out.Timeout = d.String()
	}
	if rule.Retry != nil {
		out.Attempts = int(*rule.Retry.Attempts)
	}
	out.Path = rewritten(rule, req)
	backends := rule.Backends
	if len(backends) == 0 {
		backends = []v1alpha1.Backend{{}}
	}
	sum := 0
	weight := func(b v1alpha1.Backend) int {
		if b.Weight == nil {
			return 1
		}
		return int(*b.Weight)
	}
	for _, b := range backends {
		sum += weight(b)
	}
	name := func(d v1alpha1.Destination) string {
		return cmp.Or(d.Service, spec.Service) + "/" + d.Subset + "@" + d.Datacenter
	}
	for _, b := range backends {
		pool := name(b.Destination)
		out.Shares[pool] += float64(weight(b)) / float64(sum)
		for _, f := range rule.Failover {
			out.Take(pool, name(f.Destination))
		}
	}
	return out.Rounded()
}

func documentMatches(m v1alpha1.RouteMatch, req chaintest.Request) bool {
	if m.Method != nil && string(*m.Method) != req.Method {
		return false
	}
	if p := m.Path; p != nil && !compareAs(p.Type, p.Value, req.Path, true) {
		return false
	}
	for _, h := range m.Headers {
		v, there := req.Headers[string(h.Name)]
		if compareAs(h.Type, value(h.Value), v, there) == (h.Invert != nil && *h.Invert) {
			return false
		}
	}
	for _, q := range m.QueryParams {
		if v, there := req.Query[q.Name]; !compareAs(q.Type, value(q.Value), v, there) {
			return false
		}
	}
	return true
}

func value(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

func compareAs(kind, want, v string, there bool) bool {
	switch kind {
	case v1alpha1.MatchExact:
		return there && v == want
	case v1alpha1.MatchPrefix:
		return there && strings.HasPrefix(v, want)
	case v1alpha1.MatchSuffix:
		return there && strings.HasSuffix(v, want)
	case v1alpha1.MatchRegex:
		return there && chaintest.Full(want, v)
	}
	return there
}

func rewritten(rule v1alpha1.RouteRule, req chaintest.Request) string {
	if rule.Filters == nil || rule.Filters.Rewrite == nil {
		return req.Path
	}
	switch w := rule.Filters.Rewrite; {
	case w.Path != nil:
		return *w.Path
	case w.Prefix != nil:
		for _, m := range rule.Matches {
			if strings.HasPrefix(req.Path, m.Path.Value) {
				return *w.Prefix + req.Path[len(m.Path.Value):]
			}
		}
	case w.Regex != nil:
		return regexp.MustCompile(w.Regex.Pattern).ReplaceAllLiteralString(req.Path, w.Regex.Substitution)
	}
	return req.Path
}

// A token that hides entries is told of; one that Consul does not know is an
// error.
func TestEntriesThatATokenHides(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{ACL: true})
	agent.Protocol("orders", "http")
	agent.Protocol("stock", "grpc")
	agent.Apply([]consultest.Instance{{Service: "orders", ID: "o1", Address: "10.0.0.1", Port: 80}, {Service: "stock", ID: "s1", Address: "10.0.0.2", Port: 80}})
	read := func(token string) (kv.Entries, error) {
		return kv.ReadEntries(t.Context(), kv.Config{Addr: agent.Addr, Token: token}, consulimport.Kinds())
	}
	all, err := read(agent.NewToken(consultest.ReadRules).Secret)
	if err != nil || all.Hidden || len(all.Raw) != 2 || !slices.Equal(all.Services, []string{"orders", "stock"}) {
		t.Errorf("with all rights: %+v, %v", all, err)
	}
	some, err := read(agent.NewToken(`service "orders" { policy = "read" } node_prefix "" { policy = "read" }`).Secret)
	if err != nil || !some.Hidden || len(some.Raw) != 1 || !slices.Equal(some.Services, []string{"orders"}) {
		t.Errorf("with the rights of one service: %+v, %v", some, err)
	}
	if _, err := read("00000000-0000-0000-0000-00000000beef"); err == nil || !strings.Contains(err.Error(), kv.ErrToken.Error()) {
		t.Errorf("an unknown token: %v", err)
	}
	agent.Kill()
	began := time.Now()
	if _, err := read(consultest.RootToken); err == nil || time.Since(began) > 10*time.Second {
		t.Errorf("without a Consul: %v after %s", err, time.Since(began))
	}
}
