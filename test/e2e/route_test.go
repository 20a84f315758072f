//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/policy/v1alpha1"
	"meshlite.dev/test/lab"
)

// routeYAML is the TrafficRoute of a service with the given subsets and rules.
func routeYAML(service, spec string) string {
	return fmt.Sprintf("apiVersion: meshlite.dev/v1alpha1\nkind: TrafficRoute\nmetadata: {name: %s}\nspec:\n  service: %s%s\n", service, service, spec)
}

// routed starts a server and a client under the TrafficRoute of orders, whose
// instances and those of others are registered already.
func routed(t *testing.T, l *lab.Lab, spec string, args ...string) *lab.Sidecar {
	t.Helper()
	l.Policies.Write("orders.yaml", routeYAML("orders", spec))
	l.StartServer()
	client := l.Sidecar("client", args...)
	client.WaitStatus("http://orders/plain", http.StatusOK, 10*time.Second)
	inForce(t, l, "tr/default/orders@1")
	return client
}

// seen is the request as it reached an echo instance.
type seen struct {
	Instance, Method, Host, Path, Query string
	Headers                             http.Header
}

func seenBy(t *testing.T, a lab.Answer) (s seen) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.Body), &s); err != nil {
		t.Fatalf("%d %s %q: %v", a.Status, a.Reason, a.Body, err)
	}
	return s
}

// asked is one call without following redirects.
func asked(t *testing.T, s *lab.Sidecar, method, url string, header ...string) lab.Answer {
	t.Helper()
	c := *s.Client()
	if strings.HasPrefix(url, "http://127.0.0.1:") { // a local port, in front of which stands no proxy
		c.Transport = http.DefaultTransport
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	a, err := lab.Do(t.Context(), &c, method, url, header...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// matchRules answer with their own names, so that it shows which of them
// matched.
const matchRules = `
  rules:
  - {name: exact, matches: [{path: {type: Exact, value: /exact}}], filters: {directResponse: {status: 200, body: exact}}}
  - {name: suffix, matches: [{path: {type: Suffix, value: ".(php)"}}], filters: {directResponse: {status: 200, body: suffix}}}
  - {name: regex, matches: [{path: {type: Regex, value: '/item/[0-9]{2,3}'}}], filters: {directResponse: {status: 200, body: regex}}}
  - name: header
    matches:
    - {path: {type: Prefix, value: /h}, headers: [{name: x-exact, type: Exact, value: a.b}]}
    - {path: {type: Prefix, value: /h}, headers: [{name: x-prefix, type: Prefix, value: pre}]}
    - {path: {type: Prefix, value: /h}, headers: [{name: x-suffix, type: Suffix, value: end}]}
    - {path: {type: Prefix, value: /h}, headers: [{name: x-regex, type: Regex, value: "[a-f]+"}]}
    - {path: {type: Prefix, value: /h}, headers: [{name: x-present, type: Present}]}
    filters: {directResponse: {status: 200, body: header}}
  - name: not
    matches:
    - {path: {type: Prefix, value: /not/exact}, headers: [{name: x-a, type: Exact, value: a, invert: true}]}
    - {path: {type: Prefix, value: /not/present}, headers: [{name: x-a, type: Present, invert: true}]}
    - {path: {type: Prefix, value: /not/regex}, headers: [{name: x-a, type: Regex, value: "a+", invert: true}]}
    filters: {directResponse: {status: 200, body: not}}
  - name: query
    matches:
    - {path: {type: Prefix, value: /q}, queryParams: [{name: exact, type: Exact, value: a.b}]}
    - {path: {type: Prefix, value: /q}, queryParams: [{name: prefix, type: Prefix, value: pre}]}
    - {path: {type: Prefix, value: /q}, queryParams: [{name: suffix, type: Suffix, value: end}]}
    - {path: {type: Prefix, value: /q}, queryParams: [{name: regex, type: Regex, value: "[0-9]+"}]}
    - {path: {type: Prefix, value: /q}, queryParams: [{name: present, type: Present}]}
    filters: {directResponse: {status: 200, body: query}}
  - {name: method, matches: [{method: DELETE}], filters: {directResponse: {status: 200, body: method}}}
  - name: all-parts
    matches: [{path: {type: Prefix, value: /all}, method: PUT, headers: [{name: x-a, type: Present}, {name: x-b, type: Exact, value: b}], queryParams: [{name: q, type: Present}]}]
    filters: {directResponse: {status: 200, body: all-parts}}
  - {name: first, matches: [{path: {type: Prefix, value: /both}}], filters: {directResponse: {status: 200, body: first}}}
  - {name: second, matches: [{path: {type: Prefix, value: /both/too}}], filters: {directResponse: {status: 200, body: second}}}`

// matchCalls are requests and the rule that answers them; "" is the service.
var matchCalls = []struct{ method, path, headers, want string }{
	{"GET", "/exact", "", "exact"}, {"POST", "/exact?q=1", "", "exact"}, {"GET", "/exact/", "", ""}, {"GET", "/exactly", "", ""},
	{"GET", "/a/b.(php)", "", "suffix"}, {"GET", "/x.(php)?a=b", "", "suffix"}, {"GET", "/a/b.php", "", ""}, {"GET", "/a.(php)/b", "", ""},
	{"GET", "/item/42", "", "regex"}, {"GET", "/item/123?x", "", "regex"}, {"GET", "/item/1", "", ""}, {"GET", "/item/1234", "", ""}, {"GET", "/an/item/42", "", ""},
	{"GET", "/h", "x-exact: a.b", "header"}, {"GET", "/hello", "x-exact: a.b", "header"}, {"GET", "/h", "x-exact: aXb", ""}, {"GET", "/x", "x-exact: a.b", ""},
	{"GET", "/h", "x-prefix: prefix", "header"}, {"GET", "/h", "x-prefix: a-pre", ""},
	{"GET", "/h", "x-suffix: the end", "header"}, {"GET", "/h", "x-suffix: ending", ""},
	{"GET", "/h", "x-regex: cafe", "header"}, {"GET", "/h", "x-regex: coffee", ""},
	{"GET", "/h", "x-present: 0", "header"}, {"GET", "/h", "", ""},
	{"GET", "/not/exact", "x-a: b", "not"}, {"GET", "/not/exact", "", "not"}, {"GET", "/not/exact", "x-a: a", ""},
	{"GET", "/not/present", "", "not"}, {"GET", "/not/present", "x-a: a", ""},
	{"GET", "/not/regex", "", "not"}, {"GET", "/not/regex", "x-a: ab", "not"}, {"GET", "/not/regex", "x-a: aa", ""},
	{"GET", "/q?exact=a.b", "", "query"}, {"GET", "/q?x=1&exact=a.b", "", "query"}, {"GET", "/q?exact=aXb", "", ""}, {"GET", "/q", "", ""},
	{"GET", "/q?prefix=prefix", "", "query"}, {"GET", "/q?prefix=a", "", ""},
	{"GET", "/q?suffix=the+end", "", "query"}, {"GET", "/q?suffix=ending", "", ""},
	{"GET", "/q?regex=007", "", "query"}, {"GET", "/q?regex=7b", "", ""},
	{"GET", "/q?present", "", "query"}, {"GET", "/q?present=", "", "query"}, {"GET", "/q?presents=1", "", ""},
	{"DELETE", "/any", "", "method"}, {"DELETE", "/exact", "", "exact"},
	{"PUT", "/all?q=1", "x-a: 1,x-b: b", "all-parts"}, {"PUT", "/all", "x-a: 1,x-b: b", ""}, {"PUT", "/all?q=1", "x-b: b", ""},
	{"PUT", "/all?q=1", "x-a: 1,x-b: c", ""}, {"GET", "/all?q=1", "x-a: 1,x-b: b", ""},
	{"GET", "/both", "", "first"}, {"GET", "/both/too", "", "first"},
	{"GET", "/", "", ""}, {"POST", "/other", "", ""},
}

func pairs(headers string) (out []string) {
	for _, h := range strings.Split(headers, ",") {
		if k, v, ok := strings.Cut(h, ": "); ok {
			out = append(out, k, v)
		}
	}
	return out
}

// TestRouteMatches: every kind of match, through the outbound listener and
// through a local port; the first rule that matches wins, and what none matches
// goes where it went without rules. The oldest Envoy does as the newest.
func TestRouteMatches(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 1)
	client := routed(t, l, matchRules, "--upstream", "orders")
	matchesHold(t, client)
	matchesHold(t, l.OldSidecar("client", "--upstream", "orders"))
}

func matchesHold(t *testing.T, client *lab.Sidecar) {
	t.Helper()
	for _, base := range []string{"http://orders", client.Local("orders")} {
		for _, c := range matchCalls {
			a := asked(t, client, c.method, base+c.path, pairs(c.headers)...)
			got, want := a.Body, c.want
			if want == "" {
				got, want = a.Instance, "orders-1"
			} else if a.Reason != "direct-response policy=tr/default/orders@1" {
				t.Errorf("%s %s: x-mesh-reason is %q", c.method, c.path, a.Reason)
			}
			if a.Status != http.StatusOK || got != want {
				t.Errorf("%s: %s %s%s [%s]: %d, answered by %q, want %q", client.ID, c.method, base, c.path, c.headers, a.Status, got, want)
			}
		}
	}
	line := accessLog(t, client, "/item/42")
	for key, want := range map[string]string{"rule": "regex", "route": "tr/default/orders@1", "policy": "tr/default/orders", "generation": "1", "service": "orders"} {
		if fmt.Sprint(line[key]) != want {
			t.Errorf("access log: %s is %v, want %s", key, line[key], want)
		}
	}
}

const filterRules = `
  rules:
  - name: headers
    matches: [{path: {type: Prefix, value: /headers}}]
    filters:
      requestHeaders: {set: {x-set: "100% %REQ(:path)%", x-empty: ""}, add: {x-add: "2"}, remove: [x-remove, x-both]}
      responseHeaders: {set: {x-instance: mesh}, add: {content-type: second}, remove: [x-gone]}
  - {name: prefix, matches: [{path: {type: Prefix, value: /api}}], filters: {rewrite: {prefix: /v2, host: "orders.internal:81"}}}
  - {name: root, matches: [{path: {type: Prefix, value: /root}}], filters: {rewrite: {prefix: /}}}
  - {name: path, matches: [{path: {type: Prefix, value: /path}}], filters: {rewrite: {path: '/lit\1eral'}}}
  - {name: regex, matches: [{path: {type: Prefix, value: /regex}}], filters: {rewrite: {regex: {pattern: '^/regex/(\w+)/(\d+)$', substitution: '/\2/\1'}}}}
  - {name: moved, matches: [{path: {type: Prefix, value: /moved}}], filters: {redirect: {scheme: https, host: new.example, port: 8443, path: "/100%25/there", status: 308}}}
  - {name: https, matches: [{path: {type: Prefix, value: /https}}], filters: {redirect: {scheme: https}, responseHeaders: {set: {cache-control: no-store}}}}
  - {name: "r302", matches: [{path: {type: Exact, value: /302}}], filters: {redirect: {path: /x, status: 302}}}
  - {name: "r303", matches: [{path: {type: Exact, value: /303}}], filters: {redirect: {path: /x, status: 303}}}
  - {name: "r307", matches: [{path: {type: Exact, value: /307}}], filters: {redirect: {host: h, status: 307}}}
  - {name: closed, matches: [{path: {type: Prefix, value: /closed}}], filters: {directResponse: {status: 503, body: "closed, 100%"}}}
  - {name: silent, matches: [{path: {type: Prefix, value: /silent}}], filters: {directResponse: {status: 204}}}`

// TestRouteFilters: header edits both ways, rewrites, redirects and answers, by
// the newest Envoy and by the oldest.
func TestRouteFilters(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 1)
	client := routed(t, l, filterRules)
	t.Run("newest", func(t *testing.T) { filtersHold(t, client) })
	t.Run("oldest", func(t *testing.T) { filtersHold(t, l.OldSidecar("client")) })
}

func filtersHold(t *testing.T, client *lab.Sidecar) {
	t.Helper()
	t.Run("headers", func(t *testing.T) {
		a := asked(t, client, http.MethodGet, "http://orders/headers?header=x-gone:1&header=x-stays:1", "x-set", "0", "x-add", "1", "x-remove", "1", "x-both", "1", "x-other", "1")
		s := seenBy(t, a)
		for name, want := range map[string]string{
			"X-Set": "[100% %REQ(:path)%]", "X-Empty": "[]", "X-Add": "[1 2]", "X-Remove": "[]", "X-Both": "[]", "X-Other": "[1]",
		} {
			if got := fmt.Sprint(s.Headers[name]); got != want {
				t.Errorf("the instance saw %s: %s, want %s", name, got, want)
			}
		}
		if _, empty := s.Headers["X-Empty"]; !empty {
			t.Error("a header set to nothing does not arrive")
		}
		if a.Instance != "mesh" || a.Header.Get("x-gone") != "" || a.Header.Get("x-stays") != "1" || fmt.Sprint(a.Header["Content-Type"]) != "[application/json,second]" {
			t.Errorf("the caller saw %v", a.Header)
		}
	})
	for _, tc := range []struct{ url, path, query, host string }{
		{"http://orders/api/x?q=1&r=2", "/v2/x", "q=1&r=2", "orders.internal:81"},
		{"http://orders/api", "/v2", "", "orders.internal:81"},
		{"http://orders/apis?q", "/v2s", "q", "orders.internal:81"},
		{"http://orders/root/x?q=1", "/x", "q=1", "orders"},
		{"http://orders/root", "/", "", "orders"},
		{"http://orders/path/a/b?q=1", `/lit\1eral`, "q=1", "orders"},
		{"http://orders/regex/item/42?q=%20", "/42/item", "q=%20", "orders"},
		{"http://orders/regex/item/x?q", "/regex/item/x", "q", "orders"},
		{"http://orders/plain/api?q=1", "/plain/api", "q=1", "orders"},
	} {
		if s := seenBy(t, asked(t, client, http.MethodGet, tc.url)); s.Path != tc.path || s.Query != tc.query || s.Host != tc.host {
			t.Errorf("%s arrives as %q %q at %q, want %q %q at %q", tc.url, s.Path, s.Query, s.Host, tc.path, tc.query, tc.host)
		}
	}
	for _, tc := range []struct {
		url      string
		status   int
		location string
	}{
		{"http://orders/moved/x?q=1", 308, "https://new.example:8443/100%25/there?q=1"},
		{"http://orders/https/a?q=1", 301, "https://orders/https/a?q=1"},
		{"http://orders.mesh:81/302", 302, "http://orders.mesh:81/x"},
		{"http://orders/303?q", 303, "http://orders/x?q"},
		{"http://orders/307?q", 307, "http://h/307?q"},
	} {
		a := asked(t, client, http.MethodGet, tc.url)
		if got := a.Header.Get("location"); a.Status != tc.status || got != tc.location || a.Reason != "redirect policy=tr/default/orders@1" {
			t.Errorf("%s: %d to %q (%s), want %d to %q", tc.url, a.Status, got, a.Reason, tc.status, tc.location)
		}
	}
	if a := asked(t, client, http.MethodGet, "http://orders/https/a"); a.Header.Get("cache-control") != "no-store" {
		t.Errorf("a redirect has headers %v", a.Header)
	}
	for path, want := range map[string]string{"/closed": "503 closed, 100%", "/silent": "204 "} {
		a := asked(t, client, http.MethodPost, "http://orders"+path)
		if got := fmt.Sprint(a.Status, " ", a.Body); got != want || a.Reason != "direct-response policy=tr/default/orders@1" {
			t.Errorf("%s: %q (%s), want %q", path, got, a.Reason, want)
		}
	}
}

// TestEveryRouteFieldIsTested finds each field of TrafficRoute in the
// documents of these tests, each of which asserts what its fields do.
func TestEveryRouteFieldIsTested(t *testing.T) {
	used := map[string]bool{}
	var walk func(v any, path string)
	walk = func(v any, path string) {
		used[path] = true
		switch x := v.(type) {
		case map[string]any:
			for k, e := range x {
				walk(e, strings.TrimPrefix(path+"."+k, "."))
			}
		case []any:
			for _, e := range x {
				walk(e, path)
			}
		}
	}
	for _, spec := range []string{
		matchRules, filterRules, shareRules, mirrorRules, faultRules, failoverRules, behaviourRules, remoteRules, shadowRules,
	} {
		var doc struct{ Spec map[string]any }
		if err := yaml.Unmarshal([]byte(routeYAML("orders", spec)), &doc); err != nil {
			t.Fatalf("%v in\n%s", err, spec)
		}
		walk(doc.Spec, "")
	}
	// What lives in clusters is refused on a rule, with the reason.
	refused := []string{"rules.timeouts.connect", "rules.timeouts.idle", "rules.retry.budget", "rules.retry.tcpConnectAttempts"}
	for _, path := range leaves(t, v1alpha1.TrafficRouteSpec{}, refused...) {
		if !used[path] {
			t.Errorf("field %s is in no test", path)
		}
	}
}
