package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Rabbit is a real RabbitMQ that can be killed and started again on its data.
type Rabbit struct {
	*Process
	Addr string // HOST:PORT
	lab  *Lab
	env  []string
}

// StartRabbit starts a broker of its own, without plugins, and waits until it
// takes connections. Config are lines of its rabbitmq.conf.
func (l *Lab) StartRabbit(config ...string) *Rabbit {
	l.Helper()
	if test, ok := l.T.(interface{ Skip(...any) }); ok && os.Getenv("MESHLITE_WITHOUT_RABBITMQ") != "" {
		test.Skip("RabbitMQ is not here, as MESHLITE_WITHOUT_RABBITMQ says")
	}
	home, port, epmd := l.folder("rabbit"), strconv.Itoa(FreePort(l)), strconv.Itoa(FreePort(l))
	plugins, conf := filepath.Join(home, "plugins"), filepath.Join(home, "rabbitmq.conf")
	for file, text := range map[string]string{plugins: "[].\n", conf: strings.Join(config, "\n") + "\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			l.Fatalf("write RabbitMQ's configuration: %v", err)
		}
	}
	r := &Rabbit{lab: l, Addr: "127.0.0.1:" + port, env: []string{
		"HOME=" + home, "RABBITMQ_NODENAME=lab-" + port + "@localhost", "RABBITMQ_MNESIA_BASE=" + home, "RABBITMQ_LOG_BASE=" + home, "RABBITMQ_LOGS=-",
		"RABBITMQ_PID_FILE=" + filepath.Join(home, "pid"), "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1", "RABBITMQ_NODE_PORT=" + port,
		"RABBITMQ_DIST_PORT=" + strconv.Itoa(FreePort(l)), "RABBITMQ_ENABLED_PLUGINS_FILE=" + plugins,
		"RABBITMQ_CONFIG_FILE=" + conf, "RABBITMQ_CONF_ENV_FILE=/dev/null",
		// Erlang would start a port mapper that outlives the test.
		"ERL_EPMD_ADDRESS=127.0.0.1", "ERL_EPMD_PORT=" + epmd,
	}}
	l.Start("epmd", nil, "epmd", "-address", "127.0.0.1", "-port", epmd)
	r.Start()
	r.WaitReady(90 * time.Second)
	return r
}

// Start starts it, first time or again, and does not wait.
func (r *Rabbit) Start() {
	r.lab.Helper()
	r.Process = r.lab.Start("rabbitmq", r.env, Binaries.RabbitMQ)
}

// WaitReady waits until it takes connections.
func (r *Rabbit) WaitReady(limit time.Duration) {
	r.lab.Helper()
	r.WaitLog("Server startup complete", limit)
}

// URL is that of the broker, with these credentials; "" is none.
func (r *Rabbit) URL(credentials string) string {
	if credentials != "" {
		credentials += "@"
	}
	return "amqp://" + credentials + r.Addr
}

// Ctl runs rabbitmqctl on it, whose script stands beside the server's.
func (r *Rabbit) Ctl(args ...string) {
	r.lab.Helper()
	ctx, cancel := context.WithTimeout(r.lab.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/usr/lib/rabbitmq/bin/rabbitmqctl", args...)
	cmd.Env = append(os.Environ(), r.env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		r.lab.Fatalf("rabbitmqctl %s: %v", strings.Join(args, " "), fmt.Errorf("%w\n%s", err, out))
	}
}
