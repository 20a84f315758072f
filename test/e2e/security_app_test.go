//go:build e2e

package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/test/lab"
)

// untilPublished waits until what a sidecar posts to events.mesh gets an answer.
func untilPublished(t *testing.T, c *lab.Sidecar, want int) {
	t.Helper()
	lab.Until(t, 30*time.Second, fmt.Sprintf("%s is answered %d", c.ID, want), func() error {
		status, answer, err := publish(c, `{"type":"order.created"}`)
		if err == nil && status != want {
			err = fmt.Errorf("%d %s", status, answer)
		}
		return err
	})
}

// joined copies files, one after the other, into NAME of the authority.
func (a *authority) joined(name string, files ...string) {
	a.t.Helper()
	var all bytes.Buffer
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			a.t.Fatal(err)
		}
		all.Write(raw)
	}
	if err := os.WriteFile(a.path("."+name), all.Bytes(), 0o600); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(a.path("."+name), a.path(name)); err != nil {
		a.t.Fatal(err)
	}
}

// publishing starts a server that takes events, with the flags, and says where.
func publishing(l *lab.Lab, flags ...string) (s *lab.Server, app string) {
	app = fmt.Sprint("127.0.0.1:", lab.FreePort(l))
	return l.StartServer(append([]string{"--roles", "xds,admin,events", "--app-addr", app}, flags...)...), app
}

// mutual makes certificates for a server, and returns its flags.
func mutual(ca *authority) []string {
	ca.issue("xds", "xds.example")
	ca.issue("events", mesh.EventsHost)
	ca.joined("known.pem", ca.path("ca.pem"))
	return []string{
		"--xds-tls-cert", ca.path("xds.pem"), "--xds-tls-key", ca.path("xds.key"),
		"--app-tls-cert", ca.path("events.pem"), "--app-tls-key", ca.path("events.key"),
		"--app-ca", ca.path("known.pem"), "--app-client-ca", ca.path("ca.pem"),
	}
}

// untilShown waits until app shows a certificate of an authority and a serial number
// to a client that has one of ca.
func untilShown(t *testing.T, app string, ca, of *authority, serial int64) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(ca.path("client.pem"), ca.path("client.key"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(of.parsed())
	lab.Until(t, 20*time.Second, "the certificate is shown", func() error {
		conn, err := tls.Dial("tcp", app, &tls.Config{RootCAs: pool, ServerName: mesh.EventsHost, Certificates: []tls.Certificate{pair}})
		if err != nil {
			return err
		}
		defer conn.Close()
		if got := conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64(); got != serial {
			return fmt.Errorf("serial %d, want %d", got, serial)
		}
		return nil
	})
}

// TestApplicationsOverMutualTLS: the address for applications takes the sidecars of
// the mesh and nobody else, and its certificates change while it runs.
func TestApplicationsOverMutualTLS(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	ca.issue("client", "spiffe://example/ns/default/client")
	other.issue("stranger", "spiffe://example/ns/default/stranger")
	l := lab.New(t)
	l.Service("orders", 1)
	s, app := publishing(l, mutual(ca)...)
	with := func(a *authority, name string) []string {
		return []string{"--tls-ca", ca.path("ca.pem"), "--tls-cert", a.path(name + ".pem"), "--tls-key", a.path(name + ".key")}
	}
	client, old := l.Sidecar("client", with(ca, "client")...), l.OldSidecar("client", with(ca, "client")...)
	untilPublished(t, client, http.StatusAccepted)
	untilPublished(t, old, http.StatusAccepted)
	// One with another authority's certificate, and one without any.
	untilPublished(t, l.Sidecar("stranger", with(other, "stranger")...), http.StatusServiceUnavailable)
	untilPublished(t, l.Sidecar("bare", "--tls-ca", ca.path("ca.pem")), http.StatusServiceUnavailable)
	if resp, err := http.Post("http://"+app+"/v1/events", "application/json", strings.NewReader(`{"type":"order.created"}`)); err == nil {
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("clear text is answered %d", resp.StatusCode)
		}
	}
	// The refusals are the server's: each Envoy took its configuration.
	lab.Until(t, 10*time.Second, "all is acknowledged", func() error { return allSynced(l) })

	next := ca.issue("events", mesh.EventsHost)
	untilShown(t, app, ca, ca, next)
	untilPublished(t, client, http.StatusAccepted)

	// A certificate of another host is not taken in use.
	ca.issue("events", "orders.mesh")
	lab.Until(t, 20*time.Second, "the wrong certificate is reported", func() error {
		if !strings.Contains(s.Log(), "must have the DNS name "+mesh.EventsHost) {
			return fmt.Errorf("it is not")
		}
		return nil
	})
	untilShown(t, app, ca, ca, next)

	// Another authority: the sidecars know both before the server changes over.
	next = other.issue("events", mesh.EventsHost)
	ca.joined("known.pem", ca.path("ca.pem"), other.path("ca.pem"))
	lab.Until(t, 20*time.Second, "the authorities are sent", func() error {
		if !strings.Contains(s.Log(), "CA reloaded") {
			return fmt.Errorf("not yet")
		}
		return allSynced(l)
	})
	ca.joined("events.key", other.path("events.key"))
	ca.joined("events.pem", other.path("events.pem"))
	untilShown(t, app, ca, other, next)
	untilPublished(t, client, http.StatusAccepted)
	untilPublished(t, old, http.StatusAccepted)
}

// TestAServerTakesToTLS at the address where it was reached in clear text: sidecars
// follow without a restart, and back.
func TestAServerTakesToTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	ca.issue("client", "spiffe://example/ns/default/client")
	flags := mutual(ca)
	xds, app := flags[:4], flags[4:]
	l := lab.New(t)
	l.Service("orders", 1)
	s, _ := publishing(l, xds...)
	client := l.Sidecar("client", "--tls-ca", ca.path("ca.pem"), "--tls-cert", ca.path("client.pem"), "--tls-key", ca.path("client.key"))
	untilPublished(t, client, http.StatusAccepted)
	s.Stop(10 * time.Second)
	s.Add(app...)
	s.Start()
	s.WaitReady(20 * time.Second)
	untilPublished(t, client, http.StatusAccepted)
	s.Stop(10 * time.Second)
	s.Add("--app-tls-cert", "", "--app-tls-key", "", "--app-ca", "", "--app-client-ca", "")
	s.Start()
	s.WaitReady(20 * time.Second)
	untilPublished(t, client, http.StatusAccepted)
}
