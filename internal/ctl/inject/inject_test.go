package inject_test

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"meshlite.dev/internal/ctl/inject"
	"meshlite.dev/internal/xds/bootstrap"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func options() inject.Options {
	o := inject.Options{Proxy: bootstrap.Default(), Image: "meshlite-proxy:test", TLSSecret: "mesh-tls"}
	o.Proxy.XDSAddr = "meshlite-xds.meshlite-system.svc:18000"
	return o
}

func injected(t *testing.T, in string, o inject.Options) (string, inject.Result) {
	t.Helper()
	out, res, err := inject.Inject([]byte(in), o)
	if err != nil {
		t.Fatal(err)
	}
	return string(out), res
}

func TestGolden(t *testing.T) {
	in, err := os.ReadFile("testdata/in.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, res := injected(t, string(in), options())
	if *update {
		if err := os.WriteFile("testdata/want.yaml", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile("testdata/want.yaml"); err != nil || string(want) != got {
		t.Errorf("want.yaml differs (%v); run with -update and look at the diff. Got:\n%s", err, got)
	}
	if want := []string{"Deployment/checkout as checkout", "CronJob/nightly as reports"}; !slices.Equal(res.Injected, want) {
		t.Errorf("injected %q, want %q", res.Injected, want)
	}
	if len(res.Skipped) != 2 || !strings.Contains(res.Skipped[0], "has no pods") || !strings.Contains(res.Skipped[1], "is false") {
		t.Errorf("skipped %q", res.Skipped)
	}
}

func TestInjectingTwiceGivesTheSameBytes(t *testing.T) {
	in, err := os.ReadFile("testdata/in.yaml")
	if err != nil {
		t.Fatal(err)
	}
	once, _ := injected(t, string(in), options())
	twice, _ := injected(t, once, options())
	if once != twice {
		t.Errorf("the second time differs:\n%s", twice)
	}
}

const plain = `apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
  - {name: main, image: web:1}
`

// A later call with other options leaves nothing of the earlier one behind.
func TestOtherOptionsReplaceTheEarlierOnes(t *testing.T) {
	o := options()
	o.HTTPProxy = true
	with, _ := injected(t, plain, o)
	for _, want := range []string{"HTTP_PROXY", "mesh-tls", "meshlite-proxy:test"} {
		if !strings.Contains(with, want) {
			t.Errorf("the first call has no %s:\n%s", want, with)
		}
	}
	o.HTTPProxy, o.TLSSecret, o.Image = false, "", "meshlite-proxy:next"
	without, _ := injected(t, with, o)
	for _, left := range []string{"HTTP_PROXY", "no_proxy", "mesh-tls", "meshlite-proxy:test"} {
		if strings.Contains(without, left) {
			t.Errorf("%s is left of the first call:\n%s", left, without)
		}
	}
}

func TestListsAndJSONAreInjected(t *testing.T) {
	for name, in := range map[string]string{
		"a list": "apiVersion: v1\nkind: List\nitems:\n- " + strings.ReplaceAll(strings.TrimSpace(plain), "\n", "\n  ") + "\n",
		"JSON":   `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": [{"name": "main", "image": "web:1"}]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			out, res := injected(t, in, options())
			if len(res.Injected) != 1 || !strings.Contains(out, "meshlite-proxy") {
				t.Errorf("%v:\n%s", res, out)
			}
			if again, _ := injected(t, out, options()); again != out {
				t.Errorf("the second time differs:\n%s", again)
			}
		})
	}
}

func TestFaultsNameObjectFieldAndCure(t *testing.T) {
	for _, tc := range []struct{ name, in, says string }{
		{"not YAML", "kind: [", "document 1: is not YAML"},
		{"not an object", "- a\n- b\n", "document 1: must be a Kubernetes object"},
		{"a workload without containers", "kind: Deployment\nmetadata: {name: a}\nspec: {template: {}}\n", "Deployment/a: spec.template.spec.containers: is missing"},
		{"a name that is none", strings.Replace(plain, "name: web", "name: Web.1", 1), `"Web.1" is no service name`},
		{"an annotation that is no list of ports", strings.Replace(plain, "{name: web}", "{name: web, annotations: {meshlite.dev/upstreams: orders}}", 1), "use NAME=PORT"},
		{"a port twice", strings.Replace(plain, "{name: web}", "{name: web, annotations: {meshlite.dev/upstreams: 'orders=15001'}}", 1), "port 15001 is that of --outbound-port"},
		{"an annotation that is no boolean", strings.Replace(plain, "{name: web}", "{name: web, annotations: {meshlite.dev/http-proxy: 'maybe'}}", 1), `use "true" or "false"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, _, err := inject.Inject([]byte(tc.in), options())
			if err == nil || !strings.Contains(err.Error(), tc.says) || out != nil {
				t.Errorf("error %v, want %q and no output (%d bytes)", err, tc.says, len(out))
			}
		})
	}
}

func FuzzInject(f *testing.F) {
	in, err := os.ReadFile("testdata/in.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(in)
	f.Add([]byte(plain))
	f.Add([]byte("kind: List\nitems: [{kind: Pod, spec: {containers: [a]}}]\n"))
	f.Add([]byte("a: &a {kind: Pod}\nb: *a\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		out, _, err := inject.Inject(data, options())
		if err != nil {
			return
		}
		again, _, err := inject.Inject(out, options())
		if err != nil || string(again) != string(out) {
			t.Errorf("the second time differs (%v):\n%s\nand\n%s", err, out, again)
		}
	})
}
