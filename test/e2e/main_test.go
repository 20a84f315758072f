//go:build e2e

// Package e2e runs the whole: xds-server, meshctl, real Envoys, a real Consul.
package e2e

import (
	"context"
	"fmt"
	"os"
	"testing"

	"meshlite.dev/test/lab"
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "meshlite-e2e-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = lab.Build(context.Background(), dir, lab.Race)
	}
	if err == nil {
		_, err = os.Stat(lab.Binaries.Consul)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return m.Run()
}

// clean fails t where one of the calls did not get its 200.
func clean(t *testing.T, calls lab.Calls) {
	t.Helper()
	if len(calls) == 0 {
		t.Fatal("no calls were made")
	}
	failed := calls.Failed()
	for _, c := range failed[:min(5, len(failed))] {
		t.Logf("%s: %d %s %q %v after %s", c.At.Format("15:04:05.000"), c.Status, c.Reason, c.Body, c.Err, c.Took)
	}
	if len(failed) > 0 {
		t.Errorf("%s", calls)
	}
}

// waitCalls waits until load has n more answers than now.
func waitCalls(t *testing.T, load *lab.Load, n int) {
	t.Helper()
	n += len(load.Calls())
	lab.Until(t, 60*waitUnit, "calls go on", func() error {
		if got := len(load.Calls()); got < n {
			return fmt.Errorf("%d of %d", got, n)
		}
		return nil
	})
}
