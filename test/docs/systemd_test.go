package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"meshlite.dev/internal/app"
	"meshlite.dev/internal/ctl"
	"meshlite.dev/test/lab"
)

var (
	serverVariable = regexp.MustCompile(`(?m)^#? ?MESHLITE_([A-Z_]+)=`)
	flagOfUnit     = regexp.MustCompile(`--([a-z-]+)`)
)

// TestUnitsNameFlagsThatExist: every variable of xds-server.env is one of its
// flags, every flag of the sidecar's unit one of meshctl proxy run.
func TestUnitsNameFlagsThatExist(t *testing.T) {
	root, err := lab.Root()
	if err != nil {
		t.Fatal(err)
	}
	text := func(name string) string {
		raw, err := os.ReadFile(filepath.Join(root, "manifests", "systemd", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	known := map[string]bool{}
	app.Flags().VisitAll(func(f *pflag.Flag) { known[strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))] = true })
	found := serverVariable.FindAllStringSubmatch(text("xds-server.env"), -1)
	if len(found) == 0 {
		t.Error("xds-server.env sets nothing; is the pattern right?")
	}
	for _, m := range found {
		if !known[m[1]] {
			t.Errorf("xds-server.env: MESHLITE_%s is no flag of xds-server", m[1])
		}
	}
	run, _, err := ctl.New(ctl.IO{}).Find([]string{"proxy", "run"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"meshlite-sidecar@.service", "checkout.env"} {
		for _, m := range flagOfUnit.FindAllStringSubmatch(text(name), -1) {
			if run.Flags().Lookup(m[1]) == nil {
				t.Errorf("%s: --%s is no flag of meshctl proxy run", name, m[1])
			}
		}
	}
	if !strings.Contains(text("meshlite-sidecar@.service"), "KillMode=mixed") {
		t.Error("systemd would end Envoy before it has drained")
	}
}
