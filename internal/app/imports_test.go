package app_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "meshlite.dev/"

// rule forbids imports: packages under From (module path left out) may not
// import what stands under Forbid, unless it stands under Except.
type rule struct {
	Why    string
	From   []string
	Except []string // packages under From that may
	Forbid []string
	Allow  []string // under Forbid, and yet allowed
}

var rules = []rule{
	{
		Why:    "the vocabulary stands below everything: every other package imports it",
		From:   []string{"internal/mesh"},
		Forbid: []string{module},
		Allow:  []string{module + "internal/pmap", module + "internal/mesh"},
	},
	{
		Why:    "a catalog knows nothing of policies or Envoy: a new one is written against the port alone",
		From:   []string{"internal/catalog"},
		Forbid: []string{module + "internal/policy", module + "internal/compile", module + "internal/xds", module + "internal/admin", module + "internal/store"},
	},
	{
		Why:    "policies know nothing of the catalog's state or of Envoy: the same document means the same everywhere",
		From:   []string{"internal/policy"},
		Forbid: []string{module + "internal/catalog", module + "internal/compile", module + "internal/xds", module + "internal/admin"},
	},
	{
		Why:    "compile ends at the model: it can be tested, and replaced, without Envoy",
		From:   []string{"internal/compile"},
		Forbid: []string{module + "internal/xds", module + "internal/admin", module + "internal/store"},
	},
	{
		Why:    "a status is worked out from values: what a replica saw and what another one tells are the same to it",
		From:   []string{"internal/status"},
		Except: []string{"internal/status/report"},
		Forbid: []string{module + "internal/xds", module + "internal/admin", module + "internal/store"},
	},
	{
		Why:    "the xDS engine sees the model only: arrows never turn back to catalog, policy or compile",
		From:   []string{"internal/xds"},
		Forbid: []string{module + "internal/catalog", module + "internal/policy", module + "internal/compile", module + "internal/store"},
	},
	{
		Why:    "a transaction knows nothing of what it decides on: fleets of proxies and HTTP services are both its participants",
		From:   []string{"internal/txn"},
		Forbid: []string{module},
		Allow:  []string{module + "internal/txn", module + "internal/store", module + "internal/httpcall"},
	},
	{
		Why:    "an Envoy message outside internal/xds would tie the model to Envoy's versions",
		From:   []string{"internal", "cmd"},
		Except: []string{"internal/xds"},
		Forbid: []string{"google.golang.org/protobuf", "github.com/envoyproxy/go-control-plane"},
	},
	{
		Why:    "a Consul struct outside an adapter would make every other catalog second class",
		From:   []string{"internal", "cmd"},
		Except: []string{"internal/catalog/consul", "internal/policy/kv", "internal/store/kv"},
		Forbid: []string{"github.com/hashicorp/consul"},
	},
	{
		Why:    "a bucket outside an adapter would tie what is kept to one kind of file",
		From:   []string{"internal", "cmd"},
		Except: []string{"internal/txn/journal/bolt", "internal/store/boltfile", "internal/events/outbox"},
		Forbid: []string{"go.etcd.io/bbolt"},
	},
	{
		Why:    "only policy carriers and schemas, and what keeps revisions there, speak Kubernetes",
		From:   []string{"internal", "cmd"},
		Except: []string{"internal/policy", "internal/kube", "internal/store/kube", "internal/ctl/kube"},
		Forbid: []string{"k8s.io/"},
	},
	{
		Why:    "a client of Kubernetes takes megabytes and a connection: schemas and the other carriers do without",
		From:   []string{"internal", "cmd"},
		Except: []string{"internal/policy/crd", "internal/kube", "internal/store/kube", "internal/ctl/kube"},
		Forbid: []string{"k8s.io/client-go"},
	},
	{
		Why:    "a broker's library outside its adapter would make AMQP the only one",
		From:   []string{"internal", "cmd"},
		Except: []string{"internal/events/amqp"},
		Forbid: []string{"github.com/rabbitmq"},
	},
	{
		Why:    "events are derived from the model, and whoever tells them knows neither Envoys nor pages: a fact can be tested, and told elsewhere, without either",
		From:   []string{"internal/events"},
		Forbid: []string{module + "internal/xds", module + "internal/admin", module + "internal/catalog", module + "internal/compile"},
	},
	{
		Why:    "commands are a thing of the rim",
		From:   []string{"internal", "cmd"},
		Except: []string{"internal/ctl", "cmd/meshctl"},
		Forbid: []string{"github.com/spf13/cobra"},
	},
	{
		Why:    "the wiring is a root: what imports it could not be wired any other way",
		From:   []string{"internal", "cmd"},
		Except: []string{"internal/app", "cmd/xds-server"},
		Forbid: []string{module + "internal/app"},
	},
	{
		Why:    "meshctl is not a server: it talks to one, or runs the pure code",
		From:   []string{"internal/ctl", "cmd/meshctl"},
		Forbid: []string{module + "internal/xds/server", module + "internal/xds/cache", module + "internal/xds/status", module + "internal/store"},
	},
}

// pure are the packages whose output depends on their input alone: same
// inputs, same bytes and versions on every replica and after every restart.
var pure = []string{"internal/mesh", "internal/pmap", "internal/policy", "internal/policy/consulimport", "internal/policy/filter", "internal/policy/v1alpha1", "internal/compile", "internal/status", "internal/events", "internal/events/facts", "internal/xds/resource", "internal/txn"}

var (
	impureImports = []string{"net", "net/http", "os", "os/exec", "os/signal", "log", "log/slog", "io/ioutil", "crypto/rand", "math/rand", "math/rand/v2", "testing", "syscall"}
	clock         = []string{"Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep"}
)

// TestImportRules checks each rule of the house against the sources.
func TestImportRules(t *testing.T) {
	files := parseModule(t)
	for _, r := range rules {
		for _, f := range files {
			if f.test || !under(f.pkg, r.From) || under(f.pkg, r.Except) {
				continue
			}
			for _, imp := range f.imports {
				if under(imp, r.Forbid) && !under(imp, r.Allow) {
					t.Errorf("%s imports %s\n\tbut %s", f.path, imp, r.Why)
				}
			}
		}
	}
}

// TestPurePackages checks that the middle of the house reads no clock, opens
// nothing, logs nothing and starts no goroutine.
func TestPurePackages(t *testing.T) {
	for _, f := range parseModule(t) {
		if f.test || !slices.Contains(pure, f.pkg) {
			continue
		}
		for _, imp := range f.imports {
			if slices.Contains(impureImports, imp) {
				t.Errorf("%s imports %s; %s is pure", f.path, imp, f.pkg)
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine; %s is pure", f.fset.Position(n.Pos()), f.pkg)
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clock, n.Sel.Name) {
					t.Errorf("%s reads the clock with time.%s; %s is pure", f.fset.Position(n.Pos()), n.Sel.Name, f.pkg)
				}
			}
			return true
		})
	}
}

// heavy are the parts of client-go that meshctl goes without: every API group
// of Kubernetes, and what follows objects.
var heavy = []string{"k8s.io/client-go/kubernetes", "k8s.io/client-go/informers", "k8s.io/client-go/listers", "k8s.io/client-go/tools/cache"}

// TestMeshctlWithoutKubernetesClientset keeps the large parts of client-go, and
// with them a third of meshctl's size, out of it
// (docs/adr/0006-client-go-in-meshctl.md).
func TestMeshctlWithoutKubernetesClientset(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", module+"cmd/meshctl")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list -deps: %v\n%s", err, stderr.String())
	}
	for _, dep := range strings.Fields(string(out)) {
		if under(dep, heavy) || under(dep, []string{module + "internal/app", module + "internal/policy/crd"}) {
			t.Errorf("cmd/meshctl depends on %s", dep)
		}
	}
}

type source struct {
	path, pkg string
	test      bool
	imports   []string
	ast       *ast.File
	fset      *token.FileSet
}

func parseModule(t *testing.T) []source {
	t.Helper()
	root := filepath.Join("..", "..")
	var files []source
	for _, top := range []string{"internal", "cmd"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && d.Name() == "testdata" {
				return filepath.SkipDir
			}
			if d.IsDir() || !strings.HasSuffix(path, ".go") {
				return nil
			}
			f, err := parse(root, path)
			files = append(files, f)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(files) < 10 {
		t.Fatalf("only %d Go files found; is this the module's root?", len(files))
	}
	return files
}

func parse(root, path string) (source, error) {
	rel, err := filepath.Rel(root, path)
	if err != nil {
		return source{}, err
	}
	f := source{path: rel, pkg: filepath.ToSlash(filepath.Dir(rel)), fset: token.NewFileSet()}
	// Packages of test helpers (storetest, consultest) are tests too.
	f.test = strings.HasSuffix(path, "_test.go") || strings.HasSuffix(f.pkg, "test")
	f.ast, err = parser.ParseFile(f.fset, path, nil, parser.SkipObjectResolution)
	if err != nil {
		return f, fmt.Errorf("parse %s: %w", rel, err)
	}
	for _, spec := range f.ast.Imports {
		imp, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return f, err
		}
		f.imports = append(f.imports, imp)
	}
	return f, nil
}

// under reports whether path is one of prefixes or stands below one.
func under(path string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool {
		return path == p || strings.HasPrefix(path, strings.TrimSuffix(p, "/")+"/")
	})
}
