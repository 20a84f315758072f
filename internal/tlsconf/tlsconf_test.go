package tlsconf_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"meshlite.dev/internal/tlsconf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// authority issues certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key := newKey(t)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert: cert, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue returns the PEM of a certificate and its key.
func (a *authority) issue(t *testing.T, name string, uris ...string) (cert, key []byte) {
	t.Helper()
	k := newKey(t)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, u := range uris {
		tmpl.URIs = append(tmpl.URIs, mustURL(t, u))
	}
	raw, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &k.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// files lays out a pair for localhost and, with ca, the client CA.
func files(t *testing.T, a *authority, withCA bool) tlsconf.Config {
	t.Helper()
	dir := t.TempDir()
	cfg := tlsconf.Config{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key"), Every: 5 * time.Second}
	cert, key := a.issue(t, "localhost")
	write(t, cfg.CertFile, cert)
	write(t, cfg.KeyFile, key)
	if withCA {
		cfg.ClientCAFile = filepath.Join(dir, "ca.crt")
		write(t, cfg.ClientCAFile, a.pem)
	}
	return cfg
}

// handshake connects a client to a server with the reloader's configuration.
func handshake(t *testing.T, r *tlsconf.Reloader, client *tls.Config) (server tls.ConnectionState, clientErr, serverErr error) {
	t.Helper()
	lis, err := tls.Listen("tcp", "127.0.0.1:0", r.TLS("h2"))
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := lis.Accept()
		if err != nil {
			serverErr = err
			return
		}
		defer conn.Close()
		tc := conn.(*tls.Conn)
		if serverErr = tc.Handshake(); serverErr == nil {
			server = tc.ConnectionState()
			_, serverErr = tc.Write([]byte("x"))
		}
	}()
	conn, err := net.Dial("tcp", lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	tc := tls.Client(conn, client)
	if clientErr = tc.Handshake(); clientErr == nil {
		_, clientErr = io.ReadFull(tc, make([]byte, 1))
	}
	tc.Close()
	<-done
	return server, clientErr, serverErr
}

func clientOf(t *testing.T, server *authority, pair ...[]byte) *tls.Config {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(server.cert)
	c := &tls.Config{RootCAs: pool, ServerName: "localhost", NextProtos: []string{"h2"}}
	if len(pair) == 2 {
		cert, err := tls.X509KeyPair(pair[0], pair[1])
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c
}

func TestClientsNeedACertificateOfTheCA(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	r, err := tlsconf.Load(files(t, ca, true))
	if err != nil {
		t.Fatal(err)
	}
	good, goodKey := ca.issue(t, "web.internal")
	bad, badKey := other.issue(t, "web.internal")
	for _, tc := range []struct {
		name   string
		client *tls.Config
		ok     bool
	}{
		{"one of the CA is let in", clientOf(t, ca, good, goodKey), true},
		{"none is not", clientOf(t, ca), false},
		{"one of another CA is not", clientOf(t, ca, bad, badKey), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			state, clientErr, serverErr := handshake(t, r, tc.client)
			if ok := clientErr == nil && serverErr == nil; ok != tc.ok {
				t.Fatalf("client: %v, server: %v; want ok = %v", clientErr, serverErr, tc.ok)
			}
			if tc.ok && state.NegotiatedProtocol != "h2" {
				t.Errorf("protocol %q, want h2", state.NegotiatedProtocol)
			}
			if !tc.ok {
				return
			}
			ctx := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: credentials.TLSInfo{State: state}})
			if err := tlsconf.CheckPeer(ctx, "web"); err != nil {
				t.Errorf("its own service: %v", err)
			}
			if err := tlsconf.CheckPeer(ctx, "billing"); !errors.Is(err, tlsconf.ErrIdentity) {
				t.Errorf("another service: %v, want ErrIdentity", err)
			}
		})
	}
	if err := tlsconf.CheckPeer(t.Context(), "web"); !errors.Is(err, tlsconf.ErrIdentity) {
		t.Errorf("no connection: %v, want ErrIdentity", err)
	}
}

func TestChangedFilesAreServedAndBrokenOnesAreNot(t *testing.T) {
	ca := newAuthority(t)
	cfg := files(t, ca, false)
	second, secondKey := ca.issue(t, "localhost")
	synctest.Test(t, func(t *testing.T) {
		r, err := tlsconf.Load(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		tick := func() { <-time.After(cfg.Every + time.Millisecond); synctest.Wait() }
		serving := func() string {
			c, err := r.TLS().GetConfigForClient(&tls.ClientHelloInfo{})
			if err != nil {
				t.Fatal(err)
			}
			return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificates[0].Certificate[0]}))
		}
		first := serving()

		write(t, cfg.CertFile, second) // half of a change: the key is the old one's
		tick()
		if serving() != first || r.Fault() == nil {
			t.Fatal("a pair that does not fit is in use, or is not reported")
		}
		write(t, cfg.KeyFile, secondKey)
		tick()
		if serving() != string(second) || r.Fault() != nil {
			t.Fatalf("the new pair is not in use: %v", r.Fault())
		}
		if err := os.Remove(cfg.CertFile); err != nil {
			t.Fatal(err)
		}
		tick()
		if serving() != string(second) || r.Fault() == nil {
			t.Fatal("a missing file must be reported and change nothing")
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

func TestTheStartFailsOnFilesThatCannotBeUsed(t *testing.T) {
	ca := newAuthority(t)
	for _, tc := range []struct {
		name  string
		spoil func(t *testing.T, cfg *tlsconf.Config)
	}{
		{"a missing certificate", func(t *testing.T, cfg *tlsconf.Config) { os.Remove(cfg.CertFile) }},
		{"a key of another certificate", func(t *testing.T, cfg *tlsconf.Config) {
			_, key := ca.issue(t, "localhost")
			write(t, cfg.KeyFile, key)
		}},
		{"a CA without a certificate", func(t *testing.T, cfg *tlsconf.Config) { write(t, cfg.ClientCAFile, []byte("nothing")) }},
		{"a certificate for another name", func(t *testing.T, cfg *tlsconf.Config) { cfg.Names = []string{"localhost", "events.mesh"} }},
		{"no key named", func(t *testing.T, cfg *tlsconf.Config) { cfg.KeyFile = "" }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := files(t, ca, true)
			tc.spoil(t, &cfg)
			if _, err := tlsconf.Load(cfg); err == nil {
				t.Fatal("loaded")
			}
		})
	}
}

func TestMatches(t *testing.T) {
	for _, tc := range []struct {
		name    string
		cert    *x509.Certificate
		cluster string
		want    bool
	}{
		{"a SPIFFE URI by its last segment", &x509.Certificate{URIs: []*url.URL{mustURL(t, "spiffe://mesh/ns/default/sa/web")}}, "web", true},
		{"not by another segment", &x509.Certificate{URIs: []*url.URL{mustURL(t, "spiffe://mesh/web/sa/billing")}}, "web", false},
		{"not by its trust domain", &x509.Certificate{URIs: []*url.URL{mustURL(t, "spiffe://web")}}, "web", false},
		{"not another scheme", &x509.Certificate{URIs: []*url.URL{mustURL(t, "https://mesh/web")}}, "web", false},
		{"a DNS name by its first label", &x509.Certificate{DNSNames: []string{"web.prod.example"}}, "web", true},
		{"a DNS name of one label", &x509.Certificate{DNSNames: []string{"web"}}, "web", true},
		{"not by a prefix of the label", &x509.Certificate{DNSNames: []string{"web-admin.example"}}, "web", false},
		{"a wildcard names nobody", &x509.Certificate{DNSNames: []string{"*.example"}}, "web", false},
		{"not by the common name", &x509.Certificate{Subject: pkix.Name{CommonName: "web"}}, "web", false},
		{"any of several names", &x509.Certificate{DNSNames: []string{"a.example", "web.example"}}, "web", true},
		{"an empty node.cluster matches nothing", &x509.Certificate{DNSNames: []string{""}}, "", false},
		{"no certificate", nil, "web", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tlsconf.Matches(tc.cert, tc.cluster); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}
