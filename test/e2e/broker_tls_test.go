//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"testing"
	"time"

	"meshlite.dev/internal/events"
	"meshlite.dev/test/lab"
)

// TestABrokerBehindTLS is reached once it shows a certificate of the CA that we trust,
// and is shown one of the CA that it trusts. What is wrong is told in words, and heals
// without a restart; sidecars are served all the while.
func TestABrokerBehindTLS(t *testing.T) {
	t.Parallel()
	ca, stranger := newAuthority(t), newAuthority(t)
	ca.issue("broker", "broker.example")
	ca.issue("client", "client.example")
	stranger.issue("client", "client.example")
	l := lab.New(t)
	l.Service("orders", 1)
	addr := fmt.Sprint("127.0.0.1:", lab.FreePort(t))
	r := l.StartRabbit("listeners.ssl.1 = "+addr, "ssl_options.verify = verify_peer", "ssl_options.fail_if_no_peer_cert = true",
		"ssl_options.cacertfile = "+ca.path("ca.pem"), "ssl_options.certfile = "+ca.path("broker.pem"), "ssl_options.keyfile = "+ca.path("broker.key"))
	own := t.TempDir()
	place := func(from *authority, names ...string) {
		for _, name := range names {
			raw, err := os.ReadFile(from.path(name))
			if err == nil {
				err = os.WriteFile(own+"/"+name, raw, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	place(stranger, "ca.pem", "client.pem", "client.key")
	s := l.NewServer("--events", "amqp", "--amqp-url", "amqps://"+addr, "--amqp-ca-file", own+"/ca.pem",
		"--amqp-cert-file", own+"/client.pem", "--amqp-key-file", own+"/client.key")
	s.Start()
	s.WaitReady(20 * time.Second)
	client := l.Sidecar("client")
	client.WaitStatus("http://orders/", 200, 20*time.Second)
	load := client.Load(20, "GET", "http://orders/")
	checked(t, s, "error", "check --amqp-ca-file")
	place(ca, "ca.pem")
	checked(t, s, "error", "check --amqp-cert-file")
	place(ca, "client.pem", "client.key")
	checked(t, s, "ok", "published to the exchange domain_events")
	sub := subscribe(t, r, "all", "#") // without TLS: the tests' own way in
	l.Registry.Register(lab.Instance{ID: "late-1", Name: "late", Address: "127.0.0.1", Port: 9})
	sub.next(t, events.ServiceRegistered)
	clean(t, load.Finish())
}
