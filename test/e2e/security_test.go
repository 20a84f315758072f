//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"meshlite.dev/test/lab"
)

// authority issues certificates for a test.
type authority struct {
	t      *testing.T
	dir    string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	serial int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir(), serial: 1}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a.key = key
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA " + rand.Text()}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a.write("ca.pem", "CERTIFICATE", der)
	return a
}

// parsed is the certificate of the authority as clients read it.
func (a *authority) parsed() *x509.Certificate {
	a.t.Helper()
	raw, err := os.ReadFile(a.path("ca.pem"))
	if err != nil {
		a.t.Fatal(err)
	}
	block, _ := pem.Decode(raw)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) write(name, kind string, der []byte) {
	a.t.Helper()
	tmp := a.path("." + name)
	if err := os.WriteFile(tmp, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(tmp, a.path(name)); err != nil {
		a.t.Fatal(err)
	}
}

// issue writes NAME.pem and NAME.key; id is a SPIFFE URI or a DNS name.
func (a *authority) issue(name, id string) int64 {
	a.t.Helper()
	a.serial++
	c := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if u, err := url.Parse(id); err == nil && u.Scheme == "spiffe" {
		c.URIs = []*url.URL{u}
	} else {
		c.DNSNames = []string{id}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name+".key", "PRIVATE KEY", private)
	a.write(name+".pem", "CERTIFICATE", der)
	return a.serial
}

// TestClientCertificates lets in who is called what the certificate says, and
// nobody else.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	ca.issue("server", "xds.example")
	ca.issue("client", "spiffe://example/ns/default/client")
	ca.issue("dns", "dnsclient.example")
	l := lab.New(t)
	l.Service("orders", 1)
	l.StartServer("--xds-tls-cert", ca.path("server.pem"), "--xds-tls-key", ca.path("server.key"), "--xds-client-ca", ca.path("ca.pem"))
	with := func(name string) []string {
		return []string{"--tls-ca", ca.path("ca.pem"), "--tls-cert", ca.path(name + ".pem"), "--tls-key", ca.path(name + ".key")}
	}
	client := l.Sidecar("client", with("client")...)
	client.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)
	byDNS := l.Sidecar("dnsclient", with("dns")...)
	byDNS.WaitStatus("http://orders/", http.StatusOK, 10*time.Second)

	impostor := l.NewSidecar("billing", "billing-1", with("client")...)
	impostor.Start()
	lab.Until(t, 15*time.Second, "the server refuses the impostor", func() error {
		if !strings.Contains(l.Server.Log(), "billing") {
			return fmt.Errorf("no word of it")
		}
		return nil
	})
	proxies, err := l.Server.Proxies()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range proxies {
		if p.Service == "billing" && p.Connected {
			t.Errorf("the impostor is connected: %+v", p)
		}
	}
	if a, err := impostor.Do(http.MethodGet, "http://orders/"); err == nil && a.Status == http.StatusOK {
		t.Errorf("the impostor was configured")
	}

	// A new certificate is used without a restart.
	next := ca.issue("server", "xds.example")
	pool := x509.NewCertPool()
	raw, err := os.ReadFile(ca.path("ca.pem"))
	if err != nil || !pool.AppendCertsFromPEM(raw) {
		t.Fatal("read the CA", err)
	}
	pair, err := tls.LoadX509KeyPair(ca.path("client.pem"), ca.path("client.key"))
	if err != nil {
		t.Fatal(err)
	}
	lab.Until(t, 20*time.Second, "the new certificate is shown", func() error {
		conn, err := tls.Dial("tcp", l.Server.XDS, &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}})
		if err != nil {
			return err
		}
		defer conn.Close()
		if got := conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64(); got != next {
			return fmt.Errorf("serial %d, want %d", got, next)
		}
		return nil
	})
	clean(t, calls(t, client, 20, http.MethodGet, "http://orders/"))
}

// TestAdminToken guards the API, and every write leaves an audit line.
func TestAdminToken(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 1)
	const secret = "open sesame, open sesame"
	token := filepath.Join(l.Dir, "token")
	if err := os.WriteFile(token, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l.StartServer("--admin-token-file", token)
	without := l.Meshctl("service", "accept", "--all")
	if without.Code == 0 || strings.Contains(without.Stdout+without.Stderr, secret) {
		t.Errorf("without the token: exit %d %s", without.Code, without.Stderr)
	}
	l.MustMeshctl("service", "accept", "--all", "--token-file", token)
	if !strings.Contains(l.Server.Log(), "admin write") {
		t.Error("no audit line")
	}
	if strings.Contains(l.Server.Log(), secret) {
		t.Error("the token is in the log")
	}
}
