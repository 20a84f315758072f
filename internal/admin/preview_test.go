package admin_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"meshlite.dev/internal/admin"
	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/xds/resource"
)

// TestAPreviewWritesNothing, not even an audit line, and needs no folder.
func TestAPreviewWritesNothing(t *testing.T) {
	cfg := config(t)
	log, out := logs()
	cfg.Log = log
	cfg.Subscribed = func(refs []resource.Ref) map[string][]bool {
		gets := make([]bool, len(refs))
		for i := range refs {
			gets[i] = true
		}
		return map[string][]bool{"web-1": gets, "pay-1": gets} // pay-1 is not connected
	}
	h := admin.New(cfg)
	document := strings.NewReplacer(`{"kind":"Mesh"}`, `{"kind":"Service","name":"orders"}`, `"spec":{`, `"spec":{"timeouts":{"request":"9s"},`).Replace(documentOf("orders", 5))
	w := ask(h, http.MethodPost, "/v1/policies/preview", `{"documents": [`+document+`], "delete": ["ResiliencePolicy/default/lost"]}`)
	var p adminapi.Preview
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if p.Revision != "12 (3f9c2a1b)" || p.Proxies != 1 || len(p.Documents) != 2 || p.Documents[0].Result != "configured" || p.Documents[1].Result != "deleted" {
		t.Errorf("beside %s, %d proxies: %+v", p.Revision, p.Proxies, p.Documents)
	}
	if len(p.Changes) == 0 || len(p.Groups) != 1 || len(p.Groups[0].Proxies) != 1 || p.Groups[0].Proxies[0] != "web-1" {
		t.Fatalf("%d changes, groups %+v", len(p.Changes), p.Groups)
	}
	for _, c := range p.Changes {
		if c.Name != "orders" || c.Change != "change" || !json.Valid(c.Before) || !json.Valid(c.After) || string(c.Before) == string(c.After) {
			t.Errorf("%s %s %s: from %s to %s", c.Type, c.Name, c.Change, c.Before, c.After)
		}
	}
	if out.Len() != 0 {
		t.Errorf("logged %s", out)
	}
	w = ask(h, http.MethodPost, "/v1/policies/preview", `{}`)
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"changes": []`) {
		t.Errorf("of nothing: %d %s", w.Code, w.Body)
	}
	for body, want := range map[string]int{
		`{"documents": [` + documentOf("orders", 99) + `]}`: http.StatusUnprocessableEntity,
		`{"document": 1}`: http.StatusBadRequest,
	} {
		if w := ask(h, http.MethodPost, "/v1/policies/preview", body); w.Code != want {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	if w := ask(h, http.MethodGet, "/v1/policies/preview", ""); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", w.Code)
	}
	plain := func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }
	if w := ask(h, http.MethodPost, "/v1/policies/preview", "{}", plain); w.Code != http.StatusUnsupportedMediaType {
		t.Errorf("text: %d", w.Code)
	}
}

// TestAFolderOfThousandsFitsOneRequest.
func TestAFolderOfThousandsFitsOneRequest(t *testing.T) {
	h := admin.New(config(t))
	huge := `{"documents": [` + documentOf("orders", 1) + strings.Repeat(" ", 33<<20) + `]}`
	if w := ask(h, http.MethodPost, "/v1/policies/preview", huge); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("%d %.100s", w.Code, w.Body)
	}
	if w := ask(h, http.MethodPost, "/v1/policies/preview", strings.Replace(huge, strings.Repeat(" ", 30<<20), "", 1)); w.Code != http.StatusOK {
		t.Errorf("%d %.100s", w.Code, w.Body)
	}
}
