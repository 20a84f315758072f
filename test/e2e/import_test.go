//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"meshlite.dev/internal/policy/consulimport/chaintest"
	"meshlite.dev/test/lab"
)

// entriesToImport are the config entries of TestImportFromConsul.
var entriesToImport = []string{
	`{"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http"}}`,
	`{"Kind": "service-resolver", "Name": "orders", "DefaultSubset": "v1", "Subsets": {
		"v1": {"Filter": "\"v1\" in Service.Tags"}, "v2": {"Filter": "Service.Meta.version == v2 and \"v2\" in Service.Tags"}}}`,
	`{"Kind": "service-splitter", "Name": "orders", "Splits": [
		{"Weight": 60, "ServiceSubset": "v1"}, {"Weight": 30, "ServiceSubset": "v2"}, {"Weight": 10, "Service": "next"}]}`,
	`{"Kind": "service-splitter", "Name": "next", "Splits": [{"Weight": 50}, {"Weight": 50, "Service": "lab"}]}`,
	`{"Kind": "service-router", "Name": "orders", "Routes": [
		{"Match": {"HTTP": {"PathPrefix": "/canary/", "Methods": ["GET", "HEAD"]}}, "Destination": {"ServiceSubset": "v2", "PrefixRewrite": "/"}},
		{"Match": {"HTTP": {"PathExact": "/Help", "CaseInsensitive": true}}, "Destination": {"Service": "next", "PrefixRewrite": "/help.html"}},
		{"Match": {"HTTP": {"Header": [{"Name": "X-Team", "Prefix": "lab-"}, {"Name": "x-off", "Present": true, "Invert": true}]}}, "Destination": {"Service": "lab"}},
		{"Match": {"HTTP": {"QueryParam": [{"Name": "v", "Regex": "2|two"}]}}, "Destination": {"ServiceSubset": "v2"}}]}`,
	`{"Kind": "service-resolver", "Name": "old", "Redirect": {"Service": "orders", "ServiceSubset": "v2"}}`,
	`{"Kind": "service-resolver", "Name": "stock", "Failover": {"*": {"Targets": [{"Service": "nobody"}, {"Service": "backup"}]}}}`,
}

// TestImportFromConsul: a Consul with routers, splitters and resolvers,
// imported, routes the same calls the same way, through a real Envoy.
func TestImportFromConsul(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	consul := l.UseConsul()
	orders := l.StartEcho("orders", 3, nil)
	for i, tag := range []string{"v1", "v2", "v1"} {
		orders[i].Tags, orders[i].Meta = []string{tag}, map[string]string{"version": tag}
	}
	consul.Register(lab.Instances(orders)...)
	for _, name := range []string{"next", "lab", "old", "backup"} {
		l.Service(name, 1)
	}
	stock := l.StartEcho("stock", 1, nil)
	stock[0].Check = lab.TTL("stock-1")
	consul.Register(lab.Instances(stock)...)
	consul.SetHealth("stock-1", "critical")
	for _, e := range entriesToImport {
		consul.Must(http.MethodPut, "/v1/config", []byte(e))
	}

	l.StartServer()
	out := l.Meshctl("policy", "import", "consul", "--consul-addr", consul.Addr)
	if out.Code != 0 {
		t.Fatalf("meshctl policy import consul: exit %d\n%s%s", out.Code, out.Stdout, out.Stderr)
	}
	client := l.Sidecar("client")
	client.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	if out := l.MeshctlIn(out.Stdout, "policy", "apply", "-f", "-", "--wait", "--timeout", "20s"); out.Code != 0 {
		t.Fatalf("meshctl policy apply: exit %d\n%s%s", out.Code, out.Stdout, out.Stderr)
	}

	chains, err := api.NewClient(&api.Config{Address: consul.Addr})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		service string
		req     chaintest.Request
	}{
		{"orders", chaintest.Request{Method: http.MethodGet, Path: "/"}},
		{"orders", chaintest.Request{Method: http.MethodGet, Path: "/canary/x"}},
		{"orders", chaintest.Request{Method: http.MethodPost, Path: "/canary/x"}},
		{"orders", chaintest.Request{Method: http.MethodGet, Path: "/HELP"}},
		{"orders", chaintest.Request{Method: http.MethodGet, Path: "/helpers"}},
		{"orders", chaintest.Request{Method: http.MethodPut, Path: "/a", Headers: map[string]string{"x-team": "lab-7"}}},
		{"orders", chaintest.Request{Method: http.MethodPut, Path: "/a", Headers: map[string]string{"x-team": "lab-7", "x-off": "1"}}},
		{"orders", chaintest.Request{Method: http.MethodGet, Path: "/a", Query: map[string]string{"v": "two"}}},
		{"orders", chaintest.Request{Method: http.MethodGet, Path: "/a", Query: map[string]string{"v": "twofold"}}},
		{"next", chaintest.Request{Method: http.MethodGet, Path: "/"}},
		{"old", chaintest.Request{Method: http.MethodGet, Path: "/"}},
		{"stock", chaintest.Request{Method: http.MethodGet, Path: "/"}},
		{"lab", chaintest.Request{Method: http.MethodGet, Path: "/"}},
	} {
		answer, _, err := chains.DiscoveryChain().Get(c.service, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		sameWay(t, client, c.service, c.req, chaintest.Follow(answer.Chain, c.req))
	}
	if t.Failed() {
		t.Logf("imported:\n%s", out.Stdout)
	}
}

// sameWay makes calls and compares where they arrive with Consul's chain.
func sameWay(t *testing.T, client *lab.Sidecar, service string, req chaintest.Request, want chaintest.Outcome) {
	t.Helper()
	calls := 30
	if len(want.Shares) > 1 {
		calls = 2000
	}
	expect := map[string]float64{} // by instance, SERVICE alone where all of it counts
	for pool, share := range want.Shares {
		expect[reached(pool, want.Failover[pool])] += share
	}
	url := "http://" + service + req.Path + "?"
	for name, v := range req.Query {
		url += name + "=" + v + "&"
	}
	var header []string
	for name, v := range req.Headers {
		header = append(header, name, v)
	}
	got := map[string]int{}
	for range calls {
		a, err := client.Do(req.Method, url, header...)
		if err != nil || a.Status != http.StatusOK {
			t.Fatalf("%s %s: %d %s %v", req.Method, url, a.Status, a.Reason, err)
		}
		var body struct{ Path string }
		if err := json.Unmarshal([]byte(a.Body), &body); err != nil || body.Path != want.Path {
			t.Fatalf("%s %s arrived as %q, want %q (%v)", req.Method, url, body.Path, want.Path, err)
		}
		got[placeOf(a.Instance)]++
	}
	for _, place := range slices.Sorted(maps.Keys(got)) {
		if expect[place] == 0 {
			t.Errorf("%s %s %v: %d of %d calls at %s; Consul: %v", req.Method, url, req.Headers, got[place], calls, place, expect)
		}
	}
	for place, share := range expect {
		// Five standard deviations: wrong once in two million.
		n := float64(calls)
		if off := math.Abs(float64(got[place]) - n*share); off > 5*math.Sqrt(n*share*(1-share)) {
			t.Errorf("%s %s %v: %d of %d calls at %s; Consul: %.2f %%", req.Method, url, req.Headers, got[place], calls, place, 100*share)
		}
	}
}

// reached is where calls to a pool arrive in this lab, where stock is ill and
// nobody is not there.
func reached(pool string, failover []string) string {
	for _, p := range append([]string{pool}, failover...) {
		place := strings.TrimSuffix(strings.TrimSuffix(p, "@"), "/")
		if place != "stock" && place != "nobody" {
			return place
		}
	}
	return fmt.Sprint("none of ", pool, failover)
}

// placeOf names the pool of an instance.
func placeOf(instance string) string {
	switch instance {
	case "orders-1", "orders-3":
		return "orders/v1"
	case "orders-2":
		return "orders/v2"
	}
	service, _, _ := strings.Cut(instance, "-")
	return service
}
