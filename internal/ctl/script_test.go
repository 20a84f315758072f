package ctl_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"meshlite.dev/internal/app"
	"meshlite.dev/internal/ctl"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"meshctl": func() {
		os.Exit(ctl.Run(context.Background(), os.Args[1:], ctl.IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.LookupEnv}))
	}})
}

// TestScripts runs meshctl as users do. $SERVER is a real xds-server on the
// catalog and policies of testdata/server; $WRITABLE has the folder $POLICIES,
// which one script alone writes, and $EDITABLE $EDITABLE_POLICIES for another.
// $EVENTS has told of its services, $SILENT keeps no events, $SUBSCRIPTIONS has a mailbox,
// $DELIVERING delivers to a handler. $ROLLOUTS keeps rollouts that never change by themselves.
func TestScripts(t *testing.T) {
	server := startServer(t, "testdata/server/policies")
	own := t.TempDir() // may be written
	writable := startServer(t, own)
	freezer := startServer(t, t.TempDir()) // for one script alone
	edited := t.TempDir()
	editable := startServer(t, edited)
	off := app.Default()
	off.Events = app.EventsOff
	runScripts(t, "testdata/script", map[string]string{
		"EVENTS": startTelling(t), "SILENT": startConfigured(t, off),
		"SERVER": server, "FREEZER": freezer, "WRITABLE": writable, "POLICIES": own, "EDITABLE": editable, "EDITABLE_POLICIES": edited,
		"CONSUL": startConsul(t), "ROLLOUTS": startRollouts(t), "ROLLING": startServer(t, t.TempDir()), "TRANSACTIONS": startTransactions(t), "SUBSCRIPTIONS": startSubscriptions(t), "DELIVERING": startDelivering(t),
	})
}

// startTelling returns a server of its own that has told of its services.
func startTelling(t *testing.T) string {
	t.Helper()
	url := startServer(t, t.TempDir())
	told := func() bool {
		resp, err := http.Get(url + "/v1/events?type=mesh.service.registered")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		return err == nil && len(raw) > 0
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 2_000 {
		if told() {
			return url
		}
		<-tick.C
	}
	t.Fatal("the services are not told of")
	return ""
}

// runScripts runs every script of a folder with these variables.
func runScripts(t *testing.T, dir string, env map[string]string) {
	t.Helper()
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			for name, value := range env {
				e.Setenv(name, value)
			}
			e.Setenv("NO_COLOR", "1")
			// Under the race detector each of hundreds of processes would wait a second at its end.
			e.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"code": code, "until": until},
	})
}

// startConsul answers as a Consul does whose config entries are those of
// testdata/consul, to clients with the token "reader".
func startConsul(t *testing.T) (url string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/config/{kind}", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join("testdata", "consul", r.PathValue("kind")+".json"))
	})
	mux.HandleFunc("GET /v1/catalog/services", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"consul": [], "orders": [], "orders-next": [], "stock": []}`)
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Consul-Token") != "reader" {
			http.Error(w, "ACL not found", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// code runs `meshctl ARGS` and demands an exit code: `code 65 policy validate`.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N ARGS…")
	}
	err := ts.Exec("meshctl", args[1:]...)
	got := "0"
	if err != nil {
		got = exitCode(err)
	}
	if got != args[0] {
		ts.Fatalf("meshctl %v ended with %s, want %s", args[1:], got, args[0])
	}
}

// until runs `meshctl ARGS` until it ends with an exit code: `until 81 rollout status`.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until N ARGS…")
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	got := ""
	for range 200 {
		got = "0"
		if err := ts.Exec("meshctl", args[1:]...); err != nil {
			got = exitCode(err)
		}
		if got == args[0] {
			return
		}
		<-tick.C
	}
	ts.Fatalf("meshctl %v still ends with %s, want %s", args[1:], got, args[0])
}

func exitCode(err error) string {
	var exit interface{ ExitCode() int }
	if errors.As(err, &exit) {
		return strconv.Itoa(exit.ExitCode())
	}
	return err.Error()
}

// startServer runs xds-server in this process and returns its admin URL.
func startServer(t *testing.T, policies string) string {
	t.Helper()
	cfg := app.Default()
	cfg.PolicyDir = policies
	return startConfigured(t, cfg)
}

func startConfigured(t *testing.T, cfg app.Config) string {
	t.Helper()
	cfg.CatalogDir = "testdata/server/catalog"
	return "http://" + run(t, cfg).Admin
}

// run runs xds-server in this process, on ports of its own.
func run(t *testing.T, cfg app.Config) app.Addrs {
	t.Helper()
	cfg.StateDir = t.TempDir()
	cfg.XDSAddr, cfg.AdminAddr, cfg.PolicyQuiet = "127.0.0.1:0", "127.0.0.1:0", 0
	ctx, stop := context.WithCancel(context.Background())
	addrs, ended := make(chan app.Addrs, 1), make(chan error, 1)
	go func() {
		ended <- app.Run(ctx, cfg, app.WithLogWriter(t.Output()), app.WithStarted(func(a app.Addrs) { addrs <- a }))
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("xds-server: %v", err)
		}
	})
	select {
	case a := <-addrs:
		waitReady(t, "http://"+a.Admin)
		return a
	case err := <-ended:
		ended <- err
		t.Fatalf("xds-server does not start: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("xds-server does not start")
	}
	return app.Addrs{}
}

// waitReady asks until the first state is served.
func waitReady(t *testing.T, url string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 2_000 {
		resp, err := http.Get(url + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		<-tick.C
	}
	t.Fatal("xds-server is not ready")
}
