//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"meshlite.dev/test/lab"
)

var shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")

// TestQuickstart types docs/quickstart.md into a shell, every block of it, and
// looks for what the page promises. Ports are exchanged for free ones, and
// what `make build` makes is taken from this test.
func TestQuickstart(t *testing.T) {
	t.Parallel()
	root, err := lab.Root()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "quickstart.md"))
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	script.WriteString("set -u -m\n") // -m: %2 is a job, as in the shell of a person
	for i, m := range shellBlock.FindAllStringSubmatch(string(page), -1) {
		fmt.Fprintf(&script, "printf '\\n### block %d\\n'\n%s", i, m[1])
	}
	l := lab.New(t)
	text := strings.NewReplacer(
		"make build\n", "", "hack/tools.sh envoy\n", "",
		"go build -o bin/echo-server ./test/apps/echo\n", "",
		"export PATH=$PWD/bin:$PWD/.tools/bin:$PATH\n", "export PATH="+quickstartPath(t)+":$PATH\n",
	).Replace(script.String())
	// Everything that meshctl needs to find the server on its other port.
	ports := map[string]string{}
	text = regexp.MustCompile(`127\.0\.0\.1:(\d{4,5})|-port (\d{5})|"port": (\d{4})`).ReplaceAllStringFunc(text, func(s string) string {
		at := strings.LastIndexAny(s, ": ") + 1
		if ports[s[at:]] == "" {
			ports[s[at:]] = fmt.Sprint(lab.FreePort(t))
		}
		return s[:at] + ports[s[at:]]
	})
	text = strings.Replace(text, "xds-server --catalog-dir", fmt.Sprintf("xds-server --xds-addr 127.0.0.1:%s --admin-addr 127.0.0.1:%s --catalog-dir", ports["18000"], ports["18001"]), 1)
	text = fmt.Sprintf("export MESHCTL_SERVER=http://127.0.0.1:%s\n", ports["18001"]) + text
	path := filepath.Join(l.Dir, "quickstart.sh")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	shell := l.Start("quickstart", nil, "bash", path)
	select {
	case <-shell.Done():
	case <-time.After(3 * time.Minute):
		t.Fatalf("the quick start does not end:\n%s", shell.Log())
	}
	out := shell.Log()
	for _, want := range []string{
		`orders\b.*\b3\b`,                                // service list
		`"instance":"orders-2"`,                          // calls spread
		`404`, `x-mesh-reason: unknown-host host=nobody`, // a name that nobody has
		`(?m)^\s+50 200$`, // an instance died
		`outlier_detection.ejections_active: 1`,
		`retry\.attempts\s+3\s.*rp/default/orders@1`, // explain
		`exit code 65`, `attempts`,                   // a mistake
		`(?m)^\s+20 200$`, // the control plane died
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("the quick start does not show %s", want)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}

// quickstartPath is a folder with the programs under the names of the page.
func quickstartPath(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, target := range map[string]string{
		"xds-server": lab.Binaries.XDSServer, "meshctl": lab.Binaries.Meshctl, "echo-server": lab.Binaries.Echo, "envoy": lab.Binaries.Envoy,
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
