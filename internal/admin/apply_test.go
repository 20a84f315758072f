package admin_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"meshlite.dev/internal/admin"
	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/policy/file"
)

func documentOf(name string, attempts any) string {
	return fmt.Sprintf(`{"apiVersion":"meshlite.dev/v1alpha1","kind":"ResiliencePolicy","metadata":{"name":%q},"spec":{"targetRefs":[{"kind":"Mesh"}],"retry":{"attempts":%v}}}`, name, attempts)
}

// TestPoliciesAreWrittenAsOneChangeSet: all of it, or nothing where one part
// has a fault; every write, and every refusal, leaves an audit line.
func TestPoliciesAreWrittenAsOneChangeSet(t *testing.T) {
	dir := t.TempDir()
	cfg := config(t)
	cfg.Carrier, cfg.Writer = "dir", &file.Writer{Dir: dir}
	log, out := logs()
	cfg.Log = log
	h := admin.New(cfg)
	post := func(body string) (int, string) {
		w := ask(h, http.MethodPost, "/v1/policies", body)
		return w.Code, w.Body.String()
	}
	for body, want := range map[string]string{
		`{"documents": [` + documentOf("good", 1) + `, ` + documentOf("bad", 99) + `]}`: "spec.retry.attempts",
		`{"documents": [` + documentOf("a", 1) + `, ` + documentOf("a", 2) + `]}`:       "is also in",
		`{"documents": [` + documentOf("good", 1) + `], "delete": ["orders"]}`:          "use KIND/NAMESPACE/NAME",
		`{"documents": [` + documentOf("mesh-default", 1) + `]}`:                        "reserved",
		`{"document": []}`:                      "unknown field",
		`[]`:                                    "body",
		`{"documents": [{"kind": "Frob"}]}`:     "apiVersion: must be",
		`{"documents": ["text"], "delete": []}`: "documents[0]",
	} {
		if code, text := post(body); code/100 != 4 || !strings.Contains(text, want) {
			t.Errorf("%s: %d %s, want %q", body, code, text, want)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Fatalf("something was written: %v %v", files, err)
	}
	code, text := post(`{"documents": [` + documentOf("good", 1) + `], "delete": ["ResiliencePolicy/default/gone"]}`)
	var got adminapi.ApplyResponse
	if err := json.Unmarshal([]byte(text), &got); err != nil || code != http.StatusOK {
		t.Fatalf("%d %s", code, text)
	}
	want := []adminapi.ApplyResult{{Document: "ResiliencePolicy/default/good", Result: "created"}, {Document: "ResiliencePolicy/default/gone", Result: "absent"}}
	if fmt.Sprint(got.Results) != fmt.Sprint(want) {
		t.Errorf("results %v", got.Results)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "resiliencepolicy.default.good.yaml"))
	if err != nil || !strings.Contains(string(raw), "attempts: 1") {
		t.Errorf("the file: %s %v", raw, err)
	}
	if s := out.String(); !strings.Contains(s, "ResiliencePolicy/default/good created") || !strings.Contains(s, "status=422") {
		t.Errorf("the audit log:\n%s", s)
	}
}

func TestAServerWithoutAFolderWritesNoPolicies(t *testing.T) {
	h := admin.New(config(t))
	w := ask(h, http.MethodPost, "/v1/policies", `{"documents": [`+documentOf("good", 1)+`]}`)
	if f := failureOf(t, w); w.Code != http.StatusConflict || !strings.Contains(f.Hint, "--policy-dir") {
		t.Errorf("%d %+v", w.Code, f)
	}
	if w := ask(h, http.MethodPut, "/v1/policies", "{}"); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("PUT: %d", w.Code)
	}
}

// TestADocumentIsEditedByItsVersion: the held one is shown with a version, and
// a write that expects another one is refused with what to do.
func TestADocumentIsEditedByItsVersion(t *testing.T) {
	dir := t.TempDir()
	cfg := config(t)
	cfg.Carrier, cfg.Writer = "dir", &file.Writer{Dir: dir}
	h := admin.New(cfg)
	const path = "/v1/policies/ResiliencePolicy/default/orders"
	if w := ask(h, http.MethodGet, path+"/held", ""); w.Code != http.StatusNotFound {
		t.Errorf("nothing is held: %d %s", w.Code, w.Body)
	}
	post := func(attempts int, version string) (int, string) {
		w := ask(h, http.MethodPost, "/v1/policies", fmt.Sprintf(`{"documents": [%s], "expect": {"ResiliencePolicy/default/orders": %q}}`, documentOf("orders", attempts), version))
		return w.Code, w.Body.String()
	}
	if code, text := post(1, "absent"); code != http.StatusOK || !strings.Contains(text, "created") {
		t.Fatalf("%d %s", code, text)
	}
	var held adminapi.HeldDocument
	w := ask(h, http.MethodGet, path+"/held", "")
	if err := json.Unmarshal(w.Body.Bytes(), &held); err != nil || !strings.Contains(held.Text, "attempts: 1") || held.Version == "" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if code, text := post(2, held.Version); code != http.StatusOK || !strings.Contains(text, "configured") {
		t.Errorf("%d %s", code, text)
	}
	if code, text := post(3, held.Version); code != http.StatusConflict || !strings.Contains(text, "changed since it was read") || !strings.Contains(text, "read it again") {
		t.Errorf("%d %s", code, text)
	}
	for body, want := range map[string]string{
		`{"documents": [` + documentOf("orders", 1) + `], "expect": {"ResiliencePolicy/default/other": "1"}}`: "the change set does not have it",
		`{"documents": [` + documentOf("orders", 1) + `], "delete": ["ResiliencePolicy/default/orders"]}`:     "twice",
		`{"delete": ["Frob/default/orders"]}`: "the kind must be one of",
	} {
		if w := ask(h, http.MethodPost, "/v1/policies", body); w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	if w := ask(h, http.MethodGet, "/v1/policies/Frob/default/orders/held", ""); w.Code != http.StatusBadRequest {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := ask(admin.New(config(t)), http.MethodGet, path+"/held", ""); w.Code != http.StatusConflict {
		t.Errorf("without a writer: %d %s", w.Code, w.Body)
	}
}
