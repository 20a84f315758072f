package app_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/app"
)

type env map[string]string

func (e env) get(key string) (string, bool) {
	v, ok := e[key]
	return v, ok
}

func parseSettings(file string, env env, args ...string) (app.Config, error) {
	return app.Parse(app.Inputs{Args: args, Getenv: env.get, ReadFile: func(string) ([]byte, error) {
		if file == "" {
			return nil, os.ErrNotExist
		}
		return []byte(file), nil
	}})
}

const head = "apiVersion: config.meshlite.dev/v1alpha1\nkind: ServerConfig\nspec:\n"

func TestAFlagBeatsTheEnvironmentWhichBeatsTheFile(t *testing.T) {
	file := head + "  catalogDir: from-file\n  drainGrace: 10s\n  logLevel: debug\n  services: [orders, billing]\n"
	cfg, err := parseSettings(file, env{"MESHLITE_DRAIN_GRACE": "20s", "MESHLITE_CATALOG_DIR": "from-env"},
		"--config", "server.yaml", "--catalog-dir", "from-flag")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.CatalogDir != "from-flag" || cfg.DrainGrace != 20*time.Second || cfg.LogLevel != "debug" || len(cfg.Services) != 2 {
		t.Errorf("catalog-dir %q, drain-grace %s, log-level %q, services %v", cfg.CatalogDir, cfg.DrainGrace, cfg.LogLevel, cfg.Services)
	}
}

func TestConsulAddressAndStateFolderComeFromTheirUsualVariables(t *testing.T) {
	cfg, err := parseSettings("", env{"CONSUL_HTTP_ADDR": "10.0.0.1:8501", "STATE_DIRECTORY": "/var/lib/meshlite:/other"}, "--catalog", "consul")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Consul.Addr != "10.0.0.1:8501" || cfg.StateDir != "/var/lib/meshlite" {
		t.Errorf("consul-addr %q, state-dir %q", cfg.Consul.Addr, cfg.StateDir)
	}
}

func TestHelpIsNotAFault(t *testing.T) {
	if _, err := parseSettings("", nil, "--help"); !errors.Is(err, app.ErrHelp) {
		t.Errorf("--help gave %v", err)
	}
}

func TestBadSettingsAreNamedWithTheirCure(t *testing.T) {
	for _, tc := range []struct {
		name, file string
		env        env
		args       []string
		want       []string
	}{
		{name: "an unknown flag", args: []string{"--catalog-dirr", "x"}, want: []string{"--catalog-dirr"}},
		{name: "a stray argument", args: []string{"--catalog-dir", "x", "now"}, want: []string{`"now"`, "flags only"}},
		{name: "the file catalog without a folder", want: []string{"--catalog-dir"}},
		{name: "several faults are reported together", args: []string{"--catalog", "etcd", "--egress", "maybe", "--log-level", "loud"},
			want: []string{"--catalog", `"etcd"`, "file or consul", "--egress", `"maybe"`, "--log-level", `"loud"`}},
		{name: "a broker without its URL", args: []string{"--catalog-dir", "x", "--events", "amqp"}, want: []string{"--events amqp needs --amqp-url"}},
		{name: "a URL without a broker", args: []string{"--catalog-dir", "x", "--amqp-url", "amqp://b"}, want: []string{"--events is local"}},
		{name: "a password that others can read", args: []string{"--catalog-dir", "x", "--events", "amqp", "--amqp-url", "amqp://u:p@b"}, want: []string{"--amqp-credentials-file"}},
		{name: "events taken and not kept", args: []string{"--catalog-dir", "x", "--events", "off", "--roles", "xds,events"}, want: []string{"--roles events", "--events off"}},
		{name: "a bad duration in the environment", env: env{"MESHLITE_DRAIN_GRACE": "soon"}, args: []string{"--catalog-dir", "x"},
			want: []string{"MESHLITE_DRAIN_GRACE", "soon"}},
		{name: "an unknown setting in the file", file: head + "  catalogFolder: x\n", args: []string{"--config", "f.yaml"},
			want: []string{"f.yaml", "spec.catalogFolder", "catalogDir"}},
		{name: "a field outside spec in the file", file: "catalog: file\n" + head + "  catalogDir: x\n", args: []string{"--config", "f.yaml"},
			want: []string{"f.yaml", `"catalog"`}},
		{name: "a setting of the wrong type", file: head + "  catalogDir: {a: 1}\n", args: []string{"--config", "f.yaml"},
			want: []string{"spec.catalogDir", "use a string"}},
		{name: "another version of the file", file: "apiVersion: v2\nkind: ServerConfig\n", args: []string{"--config", "f.yaml"},
			want: []string{`"v2"`, "config.meshlite.dev/v1alpha1"}},
		{name: "a file that is not there", args: []string{"--config", "f.yaml"}, want: []string{"--config", "not exist"}},
		{name: "an open xDS address without credentials", args: []string{"--catalog-dir", "x", "--xds-addr", "0.0.0.0:18000"},
			want: []string{"--xds-addr", "0.0.0.0:18000", "--xds-client-ca", "--insecure"}},
		{name: "an open admin address without a token", args: []string{"--catalog-dir", "x", "--admin-addr", ":18001"},
			want: []string{"--admin-addr", "--admin-token-file"}},
		{name: "a certificate without its key", args: []string{"--catalog-dir", "x", "--xds-tls-cert", "c.pem"},
			want: []string{"--xds-tls-cert and --xds-tls-key go together"}},
		{name: "an open address for applications without credentials", args: []string{"--catalog-dir", "x", "--roles", "xds,events", "--app-addr", "10.0.0.7:18002",
			"--app-tls-cert", "c.pem", "--app-tls-key", "k.pem", "--app-ca", "ca.pem"},
			want: []string{"--app-addr", "10.0.0.7:18002", "--app-client-ca", "--insecure"}},
		{name: "a server that no sidecar can know", args: []string{"--catalog-dir", "x", "--app-tls-cert", "c.pem", "--app-tls-key", "k.pem"},
			want: []string{"--app-tls-cert needs --app-ca"}},
		{name: "client certificates without TLS", args: []string{"--catalog-dir", "x", "--app-client-ca", "ca.pem"},
			want: []string{"--app-client-ca needs --app-tls-cert"}},
		{name: "rollouts that cannot be", args: []string{"--catalog-dir", "x", "--rollout", "later", "--rollout-timeout", "0s", "--quorum", "101", "--confirm-timeout", "-1s"},
			want: []string{`--rollout is "later"`, "auto, direct or hold", "--rollout-timeout is 0s", "--quorum is 101", "--confirm-timeout is -1s"}},
		{name: "a canary that is none", args: []string{"--catalog-dir", "x", "--canary", "some"}, want: []string{"--canary", `"some"`, "KEY=VALUE"}},
		{name: "a canary without a vote", args: []string{"--catalog-dir", "x", "--canary", "10%", "--rollout", "direct"}, want: []string{"--canary", "mode direct"}},
		{name: "a share that is none", args: []string{"--catalog-dir", "x", "--max-failed", "many"}, want: []string{"--max-failed", "2,1%"}},
		{name: "an unknown source of policies", args: []string{"--catalog-dir", "x", "--policy-source", "etcd"},
			want: []string{"--policy-source", `"etcd"`, "dir, consul or kube"}},
		{name: "a folder beside Kubernetes", args: []string{"--catalog-dir", "x", "--policy-source", "kube", "--policy-dir", "p"},
			want: []string{"--policy-dir", "--policy-source kube", "one source"}},
		{name: "a kubeconfig for nothing", args: []string{"--catalog-dir", "x", "--kubeconfig", "k"},
			want: []string{"--kubeconfig", `"k"`, "--policy-source kube"}},
		{name: "an address without a port", args: []string{"--catalog-dir", "x", "--xds-addr", "localhost"},
			want: []string{"--xds-addr", "HOST:PORT"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := parseSettings(tc.file, tc.env, tc.args...)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func TestAnAddressForApplicationsWithMutualTLSMayBeOpen(t *testing.T) {
	_, err := parseSettings("", nil, "--catalog-dir", "x", "--roles", "xds,events,transactions", "--app-addr", "10.0.0.7:18002",
		"--app-tls-cert", "c.pem", "--app-tls-key", "k.pem", "--app-ca", "ca.pem", "--app-client-ca", "ca.pem")
	if err != nil {
		t.Fatal(err)
	}
}
