package file_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/catalog/catalogtest"
	"meshlite.dev/internal/catalog/file"
	"meshlite.dev/internal/mesh"
)

const within = 3 * time.Second

func record(t *testing.T, cfg file.Config) *catalogtest.Recorder {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks) })
	return catalogtest.Record(t, newSource(t, cfg))
}

// put writes a file as an editor does: beside it, then over it.
func put(t *testing.T, dir, name, text string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(dir, "."+name), []byte(text), 0o644))
	must(t, os.Rename(filepath.Join(dir, "."+name), filepath.Join(dir, name)))
}

func service(name string, number int) string {
	return fmt.Sprintf(`{"service": {"name": %q, "id": "%s-%d", "address": "10.0.0.%d", "port": 80}}`, name, name, number, number)
}

func problem(r *catalogtest.Recorder, words ...string) func() error {
	return func() error {
		for _, f := range r.Latest().Problems {
			said := fmt.Sprintf("%s %s %s %s", f.Document, f.Path, f.Message, f.Hint)
			if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(said, w) }) {
				return nil
			}
		}
		return fmt.Errorf("problems are %+v", r.Latest().Problems)
	}
}

// A file that is broken keeps what it held last, and says where the mistake
// is; the other files are read on.
func TestABrokenFileKeepsWhatItHeld(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "orders.json", service("orders", 1))
	put(t, dir, "stock.hcl", `service { name = "stock" address = "10.0.0.2" port = 80 }`)
	r := record(t, file.Config{Dir: dir})
	r.UntilAddresses(within, "orders", "10.0.0.1:80=HEALTHY")

	put(t, dir, "orders.json", "{\n"+`"service": {"name": "orders", "address": "10.0.0.9" "port": 80}}`)
	r.Until(within, "the finding", problem(r, "orders.json", "line 2", "stays in force"))
	put(t, dir, "stock.hcl", `service { name = "stock" address = "10.0.0.3" port = 80 }`)
	r.UntilAddresses(within, "stock", "10.0.0.3:80=HEALTHY")
	if got := r.Addresses("orders"); got != "10.0.0.1:80=HEALTHY" {
		t.Errorf("orders is [%s]", got)
	}
	put(t, dir, "orders.json", service("orders", 9))
	r.UntilAddresses(within, "orders", "10.0.0.9:80=HEALTHY")
	r.Until(within, "the finding goes", func() error {
		if ps := r.Latest().Problems; len(ps) > 0 {
			return fmt.Errorf("problems are %+v", ps)
		}
		return nil
	})
}

// Beside a file that was never right nobody knows what is gone: last known
// good stays until the file is right.
func TestP4LastKnownGoodStandsInForAFileThatIsBroken(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "orders.json", `{"service": {`)
	put(t, dir, "stock.json", service("stock", 2))
	good := catalog.LastGood{At: time.Now().Add(-time.Hour), Services: []*catalog.Service{{
		Name: "orders", Protocol: mesh.HTTP1, Synced: true, Endpoints: []mesh.Endpoint{{ID: "orders-1", Address: "10.0.0.1", Port: 80, Weight: 1}},
	}}}
	r := record(t, file.Config{Dir: dir, LastGood: good})
	r.UntilAddresses(within, "orders", "10.0.0.1:80=HEALTHY")
	r.UntilAddresses(within, "stock", "10.0.0.2:80=HEALTHY")
	r.Until(within, "the hold", func() error {
		if h := r.Held("orders"); h == nil || !strings.Contains(h.Reason, "orders.json") {
			return fmt.Errorf("hold is %+v", h)
		}
		return nil
	})
	put(t, dir, "orders.json", service("orders", 7))
	r.UntilAddresses(within, "orders", "10.0.0.7:80=HEALTHY")
}

func TestOnlyDefinitionFilesAreRead(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "orders.json", service("orders", 1))
	for _, name := range []string{".hidden.json", "..data.json", "orders.json~", "orders.json.swp", "README.md"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(service("no"+strings.Trim(name, ".~"), 2)), 0o644))
	}
	must(t, os.Mkdir(filepath.Join(dir, "folder.json"), 0o755))
	must(t, syscall.Mkfifo(filepath.Join(dir, "pipe.json"), 0o644))
	must(t, os.Symlink("nowhere", filepath.Join(dir, "dangling.json")))
	r := record(t, file.Config{Dir: dir})
	r.UntilAddresses(within, "orders", "10.0.0.1:80=HEALTHY")
	if got := r.Latest().Services.Len(); got != 1 {
		t.Errorf("%d services", got)
	}
	for _, name := range []string{"pipe.json", "dangling.json"} {
		if err := problem(r, name, "cannot be read")(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Kubernetes mounts a ConfigMap as links through ..data, which it swaps.
func TestAConfigMapIsReadAsOneState(t *testing.T) {
	dir := t.TempDir()
	mount := func(version string, services map[string]string) {
		real := filepath.Join(dir, ".."+version)
		must(t, os.Mkdir(real, 0o755))
		for name, text := range services {
			must(t, os.WriteFile(filepath.Join(real, name), []byte(text), 0o644))
			if _, err := os.Lstat(filepath.Join(dir, name)); errors.Is(err, os.ErrNotExist) {
				must(t, os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)))
			}
		}
		must(t, os.Symlink(".."+version, filepath.Join(dir, "..tmp")))
		must(t, os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))
	}
	mount("v1", map[string]string{"orders.json": service("orders", 1), "stock.json": service("stock", 2)})
	r := record(t, file.Config{Dir: dir})
	r.UntilAddresses(within, "orders", "10.0.0.1:80=HEALTHY")
	before := r.Count()
	mount("v2", map[string]string{"orders.json": service("orders", 3), "stock.json": service("stock", 4)})
	r.UntilAddresses(within, "orders", "10.0.0.3:80=HEALTHY")
	for _, snap := range r.All()[before:] {
		o, _ := snap.Services.Get("orders")
		s, _ := snap.Services.Get("stock")
		o3, s4 := strings.Contains(catalogtest.Addresses(o), "10.0.0.3"), strings.Contains(catalogtest.Addresses(s), "10.0.0.4")
		if o3 != s4 {
			t.Errorf("a snapshot of two states: orders [%s], stock [%s]", catalogtest.Addresses(o), catalogtest.Addresses(s))
		}
	}
}

func TestOfTwoFilesWithOneIDTheFirstCounts(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "a.json", `{"service": {"name": "orders", "id": "o", "address": "10.0.0.1", "port": 80}}`)
	put(t, dir, "b.json", `{"service": {"name": "orders", "id": "o", "address": "10.0.0.2", "port": 80}}`)
	r := record(t, file.Config{Dir: dir})
	r.UntilAddresses(within, "orders", "10.0.0.1:80=HEALTHY")
	if err := problem(r, "b.json", "a.json", "another id")(); err != nil {
		t.Error(err)
	}
}

func TestChecksThatDisagreeAreNamed(t *testing.T) {
	dir := t.TempDir()
	for i, interval := range []string{"1s", "2s"} {
		put(t, dir, fmt.Sprint(i, ".json"), fmt.Sprintf(
			`{"service": {"name": "orders", "id": "o%d", "address": "10.0.0.%d", "port": 80, "check": {"tcp": "10.0.0.%d:80", "interval": %q}}}`, i+1, i+1, i+1, interval))
	}
	r := record(t, file.Config{Dir: dir})
	r.UntilAddresses(within, "orders", "10.0.0.1:80=HEALTHY 10.0.0.2:80=HEALTHY")
	if c := r.Service("orders").HealthCheck; c == nil || c.Interval != time.Second {
		t.Errorf("check is %+v", c)
	}
	if err := problem(r, "1.json", "another check", "o2")(); err != nil {
		t.Error(err)
	}
}

func TestAFolderThatCannotBeReadFailsTheStart(t *testing.T) {
	if _, err := file.New(file.Config{}); err == nil {
		t.Error("no folder is accepted")
	}
	s := newSource(t, file.Config{Dir: filepath.Join(t.TempDir(), "missing")})
	err := s.Run(context.Background(), func(catalog.Snapshot) { t.Error("published") })
	if err == nil || !strings.Contains(err.Error(), "missing does not exist") {
		t.Errorf("Run returned %v", err)
	}
}

// A folder that was away for a while (an unmounted volume) and comes back
// empty has lost nothing until somebody says so.
func TestP3GuardHoldsAFolderThatCameBackEmpty(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "services")
	must(t, os.Mkdir(dir, 0o755))
	put(t, dir, "orders.json", service("orders", 1))
	r := record(t, file.Config{Dir: dir, Rescan: 50 * time.Millisecond})
	r.UntilAddresses(within, "orders", "10.0.0.1:80=HEALTHY")
	must(t, os.Rename(dir, dir+".away"))
	r.Until(within, "the fault shows", func() error {
		if s := r.Source.Status(); s.Connected {
			return fmt.Errorf("status is %+v", s)
		}
		return nil
	})
	must(t, os.Mkdir(dir, 0o755))
	r.Until(within, "the hold", func() error {
		if h := r.Held("orders"); h == nil || !strings.Contains(h.Reason, "vanished") {
			return fmt.Errorf("hold is %+v", h)
		}
		return nil
	})
	r.Always(time.Second, "nothing is lost", func() error {
		if got := r.Addresses("orders"); got != "10.0.0.1:80=HEALTHY" {
			return fmt.Errorf("orders is [%s]", got)
		}
		return nil
	})
	if got := r.Source.Accept(nil, true); !slices.Equal(got, []string{"orders"}) {
		t.Errorf("accepted %q", got)
	}
	r.UntilAddresses(within, "orders", "none")
}

func TestAFaultInJSONNamesItsLine(t *testing.T) {
	for text, want := range map[string]string{
		"{\n\"service\": {\n\"port\" 80}}":               "line 3",
		"{\n\"service\": {\n":                            "line 2",
		service("orders", 1) + "\n\n{}":                  "line 3",
		"[\n]":                                           "is not an object",
		"{\"service\":\n\"orders\"}":                     "use an object",
		"{\"service\": {\"name\": \"orders\"}}":          "address is missing",
		"\n{\"service\": {\"name\": \"\\ud800\", \"x\"}": "line 2",
	} {
		defs, faults := file.Decode("orders.json", []byte(text))
		if len(defs) > 0 || !slices.ContainsFunc(faults, func(f file.Fault) bool { return strings.Contains(f.Error(), want) }) {
			t.Errorf("%q: %d definitions, faults %v; want %q", text, len(defs), faults, want)
		}
	}
}

// The own datacenter has no name here: whatever says one is another's.
func TestMetaMovesAnInstanceToAnotherDatacenter(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "orders.json", `{"services": [
		{"name": "orders", "id": "o", "address": "10.0.0.1", "port": 80},
		{"name": "orders", "id": "o", "address": "10.2.0.1", "port": 80, "meta": {"datacenter": "dc2"}},
		{"name": "stock", "address": "10.2.0.2", "port": 80, "meta": {"datacenter": "dc_3"}},
		{"name": "billing", "address": "10.0.0.3", "port": 80}]}`)
	put(t, dir, "bad.json", `{"service": {"name": "orders", "id": "p", "address": "10.0.0.4", "port": 80, "meta": {"datacenter": "DC2"}}}`)
	r := record(t, file.Config{Dir: dir, Services: []string{"orders"}})
	r.UntilAddresses(within, "orders", "10.0.0.1:80=HEALTHY")
	for key, want := range map[string]string{"orders@dc2": "10.2.0.1:80=HEALTHY", "stock@dc_3": "10.2.0.2:80=HEALTHY", "billing": "none", "stock": "none"} {
		if got := r.Addresses(key); got != want {
			t.Errorf("%s is [%s], want [%s]", key, got, want)
		}
	}
	if err := problem(r, "bad.json", "service.meta.datacenter", `"DC2"`, "a-z")(); err != nil {
		t.Error(err)
	}
}

// TestAFolderIsReadOnce for those who want no more than its present state.
func TestAFolderIsReadOnce(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.json": `{"service": {"name": "orders", "id": "orders-1", "address": "127.0.0.1", "port": 9101}}`,
		"b.json": `{"service": {"name": "stock", "port": "many"}}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	snap, err := file.Read(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := snap.Services.Get("orders"); !ok || len(s.Endpoints) != 1 || !s.Synced || snap.Services.Len() != 1 {
		t.Errorf("services: %+v of %d", s, snap.Services.Len())
	}
	if len(snap.Problems) == 0 || snap.Problems[0].Document != "b.json" {
		t.Errorf("problems %+v", snap.Problems)
	}
	if _, err := file.Read(t.Context(), filepath.Join(dir, "nope")); err == nil {
		t.Error("a folder that is not there was read")
	}
}
