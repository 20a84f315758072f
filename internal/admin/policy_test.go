package admin_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"meshlite.dev/internal/admin"
	"meshlite.dev/internal/admin/adminapi"
)

// TestOnePolicyWithAllThatIsKnownOfIt: the values that it decides, for whom,
// what is to be looked at, and what an Envoy refused.
func TestOnePolicyWithAllThatIsKnownOfIt(t *testing.T) {
	h := admin.New(config(t))
	get := func(name string) (d adminapi.PolicyDetail) {
		t.Helper()
		w := ask(h, http.MethodGet, "/v1/policies/ResiliencePolicy/default/"+name, "")
		if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", name, w.Code, w.Body)
		}
		return d
	}
	decides := func(d adminapi.PolicyDetail) string {
		var out []string
		for _, x := range d.Decides {
			for _, f := range x.Fields {
				out = append(out, fmt.Sprintf("%s=%s for %v from %q", f.Field, f.Value, x.Services, x.Caller))
			}
		}
		return strings.Join(out, "; ")
	}
	d := get("orders")
	if got, want := decides(d), `retry.attempts=4 for [orders] from ""`; got != want {
		t.Errorf("orders decides %s, want %s", got, want)
	}
	if len(d.Refused) != 1 || d.Refused[0].Proxy != "web-1" || d.Refused[0].Message != "value must be less than or equal to 100" || d.Generation != 3 {
		t.Errorf("orders: %+v", d)
	}
	if got, want := decides(get("orders-web")), `retry.attempts=1 for [orders] from "web"`; got != want {
		t.Errorf("orders-web decides %s, want %s", got, want)
	}
	d = get("lost")
	if len(d.Decides) != 0 || len(d.Findings) != 1 || d.Findings[0].Code != "MESH0008" || d.Accepted != "TargetNotFound" {
		t.Errorf("lost: %+v", d)
	}
	for path, want := range map[string]int{
		"/v1/policies/ResiliencePolicy/default/nobody":   http.StatusNotFound,
		"/v1/policies/Frob/default/orders":               http.StatusNotFound,
		"/v1/policies/rp/default/orders":                 http.StatusOK,
		"/v1/policies/ResiliencePolicy/default/orders?x": http.StatusBadRequest,
	} {
		if w := ask(h, http.MethodGet, path, ""); w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
}
