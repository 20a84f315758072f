//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/test/lab"
)

// foresee asks what a document would change.
func foresee(t *testing.T, l *lab.Lab, document string) adminapi.Preview {
	t.Helper()
	out := l.MeshctlIn(document, "policy", "diff", "-f", "-", "--xds", "-o", "json")
	var p adminapi.Preview
	if err := json.Unmarshal([]byte(out.Stdout), &p); err != nil || out.Code != 1 {
		t.Fatalf("meshctl policy diff: exit %d, %v\n%s", out.Code, err, out.Stderr)
	}
	return p
}

// effects are the changes of a preview in a word each: "CDS orders resets".
func effects(p adminapi.Preview) []string {
	var out []string
	for _, c := range p.Changes {
		out = append(out, strings.TrimSpace(c.Type+" "+c.Name+" "+c.Effect))
	}
	return out
}

// happened compares a preview with what a sidecar then acknowledged.
func happened(t *testing.T, l *lab.Lab, p adminapi.Preview, proxy string) {
	t.Helper()
	for _, c := range p.Changes {
		if c.Effect == "restart" {
			continue
		}
		var rs []adminapi.ProxyResource
		if err := json.Unmarshal([]byte(l.MustMeshctl("proxy", "config", c.Type, proxy, "-o", "json")), &rs); err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(rs, func(r adminapi.ProxyResource) bool { return r.Name == c.Name })
		if at < 0 {
			t.Errorf("%s has no %s %s", proxy, c.Type, c.Name)
			continue
		}
		if got, want := compact(t, rs[at].Config), compact(t, c.After); got != want {
			t.Errorf("%s has as %s %s\n%s\nforeseen was\n%s", proxy, c.Type, c.Name, got, want)
		}
	}
}

func compact(t *testing.T, raw json.RawMessage) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestPreviewIsWhatHappens: what `policy diff --xds` says a change does to real
// Envoys is what it then does: the same messages, the same connections closed.
func TestPreviewIsWhatHappens(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 1)
	l.ServiceWith("db", 1, map[string]string{"protocol": "tcp"})
	l.StartServer()
	client, web := l.Sidecar("client"), l.Sidecar("web", "--upstream", "db")
	for _, s := range []*lab.Sidecar{client, web} {
		s.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	}
	apply := func(document string) {
		t.Helper()
		if out := l.MeshctlIn(document, "policy", "apply", "-f", "-", "--wait"); out.Code != 0 {
			t.Fatalf("meshctl policy apply: exit %d %s%s", out.Code, out.Stdout, out.Stderr)
		}
	}
	opened := func() int { return client.Stat("cluster.orders.upstream_cx_total") }

	// A route: no connection is closed.
	document := policyYAML("orders", "\n  timeouts: {request: 7s}")
	p := foresee(t, l, document)
	if got := effects(p); !slices.Equal(got, []string{"RDS orders"}) {
		t.Fatalf("foreseen %v", got)
	}
	if len(p.Groups) != 1 || !slices.Equal(p.Groups[0].Proxies, []string{"client-client", "web-client"}) {
		t.Errorf("groups %+v", p.Groups)
	}
	before := opened()
	apply(document)
	happened(t, l, p, client.ID)
	happened(t, l, p, web.ID)
	client.Get("http://orders/")
	if now := opened(); now != before {
		t.Errorf("%d connections were opened anew", now-before)
	}

	// A cluster, for one caller: its connections are closed, and no other's.
	document = strings.Replace(policyYAML("orders", "\n  from: [{service: client}]\n  limits: {requests: 9}"), "name: orders}", "name: orders-client}", 1)
	p = foresee(t, l, document)
	if got := effects(p); !slices.Contains(got, "CDS orders resets") || len(p.Groups) != 1 || !slices.Equal(p.Groups[0].Proxies, []string{"client-client"}) {
		t.Fatalf("foreseen %v for %+v", got, p.Groups)
	}
	apply(document)
	happened(t, l, p, client.ID)
	lab.Until(t, 10*time.Second, "a connection is opened anew", func() error {
		client.Get("http://orders/")
		if opened() == before {
			return fmt.Errorf("none")
		}
		return nil
	})
	if got := web.Stat("cluster_manager.cluster_modified"); got != 0 {
		t.Errorf("%d clusters of the other sidecar were changed", got)
	}

	// The listener of a tcp service's local port: at the next start.
	document = policyYAML("db", "\n  timeouts: {idle: 9s}")
	p = foresee(t, l, document)
	listener := fmt.Sprintf("LDS upstream/db/%d restart", web.Upstreams["db"])
	if got := effects(p); !slices.Equal(got, []string{"CDS db resets", listener}) {
		t.Errorf("foreseen %v", got)
	}
	apply(document)
	happened(t, l, p, web.ID)
	out := l.Meshctl("proxy", "diff", web.ID)
	if out.Code != 1 || !strings.Contains(out.Stdout, "needs a restart") {
		t.Errorf("meshctl proxy diff: exit %d\n%s", out.Code, out.Stdout)
	}
}
