//go:build e2e

package consul_test

import (
	"fmt"
	"strings"
	"testing"

	"meshlite.dev/internal/catalog/consul"
	"meshlite.dev/internal/catalog/consul/consultest"
)

// Over HTTPS watches share connections: more services than plain HTTP allows
// are watched by an agent that grants a client 20 connections.
func TestHTTPSWithATokenSharesConnections(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{ACL: true, TLS: true, Config: "limits { http_max_conns_per_client = 20 }\n"})
	want := map[string]string{}
	for batch := range 4 {
		var some []consultest.Instance
		for i := range 50 {
			name := fmt.Sprintf("s%d-%02d", batch, i)
			some = append(some, consultest.Instance{Service: name, ID: name, Address: fmt.Sprintf("10.6.%d.%d", batch, i+1), Port: 80})
			want[name] = fmt.Sprintf("10.6.%d.%d:80=HEALTHY", batch, i+1)
		}
		agent.Apply(some)
	}
	token := agent.NewToken(consultest.ReadRules)
	t.Setenv("CONSUL_CACERT", agent.CA)
	r := record(t, agent, consul.Config{Addr: "https://" + agent.TLSAddr, Token: token.Secret})
	whole(r, 4*within, want)
	agent.Apply([]consultest.Instance{{Service: "s3-49", ID: "one-more", Address: "10.6.9.1", Port: 80}})
	r.UntilAddresses(within, "s3-49", want["s3-49"]+" 10.6.9.1:80=HEALTHY")
	s := r.Source.Status()
	if len(s.Skipped) > 0 || len(s.Notes) > 0 || !s.Connected {
		t.Errorf("status is connected %v, skipped %+v, notes %+v", s.Connected, s.Skipped, s.Notes)
	}
	for _, w := range s.Watches {
		if w.LastError != "" || w.LastRead.IsZero() {
			t.Errorf("watch of %s: %q, read %s", w.Service, w.LastError, w.LastRead)
		}
	}
}

// A certificate that nobody vouches for is told, and nothing is served.
func TestHTTPSOfAStrangerIsRefused(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{TLS: true})
	agent.Apply([]consultest.Instance{{Service: "orders", ID: "o", Address: "10.0.0.1", Port: 80}})
	r := record(t, agent, consul.Config{Addr: "https://" + agent.TLSAddr})
	r.Until(within, "the alarm", func() error {
		if s := r.Source.Status(); s.Connected || !strings.Contains(s.LastError, "certificate") {
			return fmt.Errorf("connected %v, last error %q", s.Connected, s.LastError)
		}
		return nil
	})
	if r.Count() > 0 {
		t.Errorf("published %+v", r.Latest())
	}
}
