package consulimport_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/consulimport"
	"meshlite.dev/internal/policy/v1alpha1"
)

const httpDefaults = `{"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http"}}`

func importOf(t *testing.T, services []string, entries ...string) consulimport.Result {
	t.Helper()
	var all []json.RawMessage
	for _, e := range entries {
		one, err := consulimport.Parse([]byte(e))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, one...)
	}
	return consulimport.Import(all, services)
}

func find[T any](t *testing.T, r consulimport.Result, name string) (doc consulimport.Document, spec T) {
	t.Helper()
	for _, d := range r.Documents {
		if s, ok := d.Spec.(T); ok && d.Name == name {
			return d, s
		}
	}
	t.Fatalf("no %T called %s in %+v; left over %v", spec, name, r.Documents, r.Leftovers)
	return doc, spec
}

func left(r consulimport.Result, words ...string) bool {
	return slices.ContainsFunc(r.Leftovers, func(l consulimport.Leftover) bool {
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(l.String(), w) })
	})
}

func TestFieldsOfANewerConsulAreNotLostSilently(t *testing.T) {
	r := importOf(t, nil, httpDefaults, `{"Kind": "service-router", "Name": "orders", "Hologram": {"On": true}, "Routes": [
		{"Match": {"HTTP": {"PathPrefix": "/a", "Header": [{"Name": "x", "Contains": "y"}]}, "UDP": {"Port": 1}}, "Destination": {"Teleport": 3, "Later": 0}}]}`)
	for _, field := range []string{"Hologram: {\"On\":true}", "Routes[0].Match.UDP", "Routes[0].Destination.Teleport: 3", "Routes[0].Match.HTTP.Header[0].Contains"} {
		if !left(r, "service-router/orders", field) {
			t.Errorf("%s is not in %v", field, r.Leftovers)
		}
	}
	if left(r, "Later") {
		t.Error("a field that says nothing is reported")
	}
	if len(r.Documents) != 0 || !r.Incomplete() {
		t.Errorf("a route of which a match is lost became %+v", r.Documents)
	}
}

func TestSnakeCaseOfFilesIsRead(t *testing.T) {
	r := importOf(t, nil, `{"kind": "service-defaults", "name": "orders", "protocol": "http2"}
		{"kind": "service-resolver", "name": "orders", "connect_timeout": "2s", "load_balancer": {"policy": "least_request", "least_request_config": {"choice_count": 3}}}`)
	_, spec := find[*v1alpha1.ResiliencePolicySpec](t, r, "orders")
	if *spec.Timeouts.Connect != "2s" || *spec.LoadBalancing.ChoiceCount != 3 || *spec.Connection.Protocol != "http2" || len(r.Leftovers) > 0 {
		t.Errorf("%+v; left over %v", spec, r.Leftovers)
	}
}

func TestDurationsAreWrittenInWholeUnits(t *testing.T) {
	for in, want := range map[string]string{
		`"1500ms"`: "1500ms", `"90s"`: "90s", `"2m0s"`: "2m", `"1h0m0s"`: "1h", `"1ns"`: "1us", `3000000000`: "3s", `"250us"`: "250us",
	} {
		r := importOf(t, nil, fmt.Sprintf(`{"Kind": "service-resolver", "Name": "a", "ConnectTimeout": %s}`, in))
		_, spec := find[*v1alpha1.ResiliencePolicySpec](t, r, "a")
		if got := string(*spec.Timeouts.Connect); got != want {
			t.Errorf("%s became %s, want %s", in, got, want)
		}
	}
}

func TestValuesThatConsulWouldNotWriteAreReported(t *testing.T) {
	r := importOf(t, nil, `{"Kind": "service-resolver", "Name": "a", "ConnectTimeout": "soon", "RequestTimeout": true, "Subsets": 3, "Failover": [1], "LoadBalancer": "ring"}`)
	for _, field := range []string{"ConnectTimeout: \"soon\"", "RequestTimeout: true", "Subsets: 3", "Failover: [1]", "LoadBalancer: \"ring\""} {
		if !left(r, field) {
			t.Errorf("%s is not in %v", field, r.Leftovers)
		}
	}
}

// Routes that only Consul can follow are no reason to send calls somewhere
// else: the document waits in shadow.
func TestARouteBeyondMeshliteWaitsInShadow(t *testing.T) {
	for what, entries := range map[string][]string{
		"another namespace":    {`{"Kind": "service-router", "Name": "a", "Routes": [{"Match": {"HTTP": {"PathPrefix": "/x"}}, "Destination": {"Service": "b", "Namespace": "team"}}, {"Match": {"HTTP": {"PathPrefix": "/y"}}, "Destination": {"Service": "c"}}]}`},
		"a peer":               {`{"Kind": "service-resolver", "Name": "b", "Redirect": {"Service": "c", "Peer": "east"}}`, `{"Kind": "service-splitter", "Name": "a", "Splits": [{"Weight": 50}, {"Weight": 50, "Service": "b"}]}`},
		"a circle":             {`{"Kind": "service-resolver", "Name": "a", "Redirect": {"Service": "b"}}`, `{"Kind": "service-resolver", "Name": "b", "Redirect": {"Service": "a"}}`, `{"Kind": "service-splitter", "Name": "a", "Splits": [{"Weight": 50}, {"Weight": 50, "Service": "c"}]}`},
		"a circle of splits":   {`{"Kind": "service-splitter", "Name": "a", "Splits": [{"Weight": 50, "Service": "c"}, {"Weight": 50, "Service": "b"}]}`, `{"Kind": "service-splitter", "Name": "b", "Splits": [{"Weight": 50, "Service": "a"}, {"Weight": 50, "Service": "c"}]}`},
		"a subset that is not": {`{"Kind": "service-router", "Name": "a", "Routes": [{"Match": {"HTTP": {"PathPrefix": "/x"}}, "Destination": {"ServiceSubset": "v9"}}]}`},
	} {
		r := importOf(t, nil, append(entries, httpDefaults)...)
		doc, spec := find[*v1alpha1.TrafficRouteSpec](t, r, "a")
		if !doc.Shadow || spec.Effect != v1alpha1.Shadow || !r.Incomplete() {
			t.Errorf("%s: %+v is in force; left over %v", what, spec, r.Leftovers)
		}
	}
}

func TestAnEntryOfAnotherNamespaceOrKindIsLeftOver(t *testing.T) {
	r := importOf(t, nil,
		`{"Kind": "service-defaults", "Name": "a", "Namespace": "team", "Protocol": "http"}`,
		`{"Kind": "service-defaults", "Name": "b", "Namespace": "default", "Partition": "default", "Protocol": "http"}`,
		`{"Kind": "ingress-gateway", "Name": "in"}`,
		`{"Kind": "service-defaults", "Name": "b", "Protocol": "grpc"}`, `[]`, `[3]`)
	if len(r.Documents) != 1 || r.Documents[0].Name != "b" {
		t.Errorf("documents are %+v", r.Documents)
	}
	for _, words := range [][]string{{"service-defaults/a", "namespace"}, {"ingress-gateway/in"}, {"service-defaults/b", "twice"}, {"entry/", "3"}} {
		if !left(r, words...) {
			t.Errorf("%v is not in %v", words, r.Leftovers)
		}
	}
}

// Splitters that lead to splitters multiply: thirty of them, to a billion.
func TestSplittersThatMultiplyEnd(t *testing.T) {
	entries := []string{httpDefaults}
	for i := range 30 {
		entries = append(entries, fmt.Sprintf(`{"Kind": "service-splitter", "Name": "s%d", "Splits": [{"Weight": 50, "Service": "s%d"}, {"Weight": 50, "Service": "s%d"}]}`, i, i+1, i+1))
	}
	if r := importOf(t, nil, entries...); !r.Incomplete() {
		t.Errorf("left over %v", r.Leftovers)
	}
}

// What one caller sets for all of its upstreams is written for those known.
func TestUpstreamDefaultsAreWrittenForAllKnownServices(t *testing.T) {
	var services []string
	for i := range 40 {
		services = append(services, fmt.Sprintf("s%02d", i))
	}
	r := importOf(t, append(services, "consul", "Legacy_Shop"), `{"Kind": "service-defaults", "Name": "web", "UpstreamConfig": {
		"Defaults": {"Limits": {"MaxConnections": 7}}, "Overrides": [{"Name": "s03", "ConnectTimeoutMs": 100}]}}`)
	targets := map[string]int{}
	for _, d := range r.Documents {
		spec := d.Spec.(*v1alpha1.ResiliencePolicySpec)
		if spec.From[0].Service != "web" || *spec.Limits.Connections != 7 {
			t.Errorf("%s: %+v", d.Name, spec)
		}
		for _, ref := range spec.TargetRefs {
			targets[ref.Name]++
		}
	}
	if len(targets) != 40 || targets["s03"] != 1 || targets["web"] != 0 {
		t.Errorf("targets are %v", targets)
	}
	if _, spec := find[*v1alpha1.ResiliencePolicySpec](t, r, "s03-from-web"); *spec.Timeouts.Connect != "100ms" {
		t.Errorf("the override is %+v", spec)
	}
	if !left(r, "UpstreamConfig.Defaults", "known today") {
		t.Errorf("left over %v", r.Leftovers)
	}
}

// Consul routes names that nobody registered; Meshlite does not.
func TestRoutesOfANameWithoutInstancesAreReported(t *testing.T) {
	redirect := `{"Kind": "service-resolver", "Name": "old", "Redirect": {"Service": "new"}}`
	if r := importOf(t, []string{"new"}, httpDefaults, redirect); !left(r, "service-resolver/old", "nothing is registered") {
		t.Errorf("left over %v", r.Leftovers)
	}
	for _, services := range [][]string{{"new", "old"}, nil} {
		if r := importOf(t, services, httpDefaults, redirect); len(r.Leftovers) > 0 {
			t.Errorf("with services %v left over %v", services, r.Leftovers)
		}
	}
}

func TestMoreThanADocumentMayHoldIsLeftOver(t *testing.T) {
	var routes []string
	for i := range 70 {
		routes = append(routes, fmt.Sprintf(`{"Match": {"HTTP": {"PathPrefix": "/%d"}}, "Destination": {"Service": "b"}}`, i))
	}
	r := importOf(t, nil, httpDefaults, `{"Kind": "service-router", "Name": "a", "Routes": [`+strings.Join(routes, ",")+`]}`)
	if len(r.Documents) != 0 || !left(r, "service-router/a", "its TrafficRoute was left out", "64") || !r.Incomplete() {
		t.Errorf("%d documents; left over %v", len(r.Documents), r.Leftovers)
	}
}

func TestLongNamesStayApart(t *testing.T) {
	long := strings.Repeat("a", 60)
	r := importOf(t, nil, `{"Kind": "service-defaults", "Name": "`+long+`", "UpstreamConfig": {"Overrides": [
		{"Name": "`+long+`b", "ConnectTimeoutMs": 1}, {"Name": "`+long+`c", "ConnectTimeoutMs": 2}]}}`,
		`{"Kind": "service-defaults", "Name": "x", "UpstreamConfig": {"Overrides": [{"Name": "y", "ConnectTimeoutMs": 1}]}}`,
		`{"Kind": "service-resolver", "Name": "y-from-x", "ConnectTimeout": "3s"}`)
	names := map[string]bool{}
	for _, d := range r.Documents {
		names[d.Name] = true
	}
	if len(names) != 4 || len(r.Documents) != 4 {
		t.Errorf("names are %v; left over %v", names, r.Leftovers)
	}
}

// The same entries give the same bytes in any order.
func TestTheOrderOfEntriesDoesNotMatter(t *testing.T) {
	files, err := filepath.Glob("testdata/*/entries.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no entries")
	}
	for _, file := range files {
		entries := readEntries(t, file)
		want := written(t, consulimport.Import(entries, nil))
		rapid.Check(t, func(rt *rapid.T) {
			if got := written(t, consulimport.Import(rapid.Permutation(entries).Draw(rt, "order"), nil)); got != want {
				rt.Fatalf("%s: other bytes in another order:\n%s", file, got)
			}
		})
	}
}

func written(t *testing.T, r consulimport.Result) string {
	t.Helper()
	raw, err := r.YAML()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(string(raw), r.Leftovers)
}

// Whatever entries hold, nothing panics, and every document is valid.
func FuzzImport(f *testing.F) {
	files, err := filepath.Glob("testdata/*/entries.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		for _, e := range readEntries(f, file) {
			f.Add([]byte(e))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		entries, err := consulimport.Parse(append([]byte(httpDefaults), raw...))
		if err != nil {
			return
		}
		r := consulimport.Import(entries, []string{"orders"})
		docs, err := r.YAML()
		if err != nil {
			t.Fatal(err)
		}
		p := policy.Decode("fuzz", docs)
		if len(p.Refused) > 0 || len(p.Documents) != len(r.Documents) {
			t.Fatalf("refused %+v of\n%s", p.Refused, docs)
		}
		again, err := consulimport.Import(entries, []string{"orders"}).YAML()
		if err != nil || !bytes.Equal(docs, again) {
			t.Fatalf("other bytes the second time:\n%s\n%s", docs, again)
		}
	})
}
