package lab

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Cluster is a real kube-apiserver over an etcd of its own, with RBAC in force.
// Nothing else of Kubernetes runs: no pod is scheduled, a namespace gets no
// default ServiceAccount, nothing is collected or aggregated, and a namespace
// that is deleted stays Terminating for good.
type Cluster struct {
	API, Etcd *Process
	Addr      string // HOST:PORT of the API, TLS with a certificate of its own making
	lab       *Lab
	dir       string
	etcd      string // URL
	token     string // of the administrator
}

// StartCluster starts both, waits until the API is ready and keeps it as
// l.Cluster.
func (l *Lab) StartCluster() *Cluster {
	l.Helper()
	for _, path := range []string{Binaries.Etcd, Binaries.KubeAPIServer, Binaries.Kubectl} {
		if _, err := os.Stat(path); err != nil {
			l.Fatalf("a part of Kubernetes is missing; run make tools: %v", err)
		}
	}
	c := &Cluster{lab: l, dir: l.folder("cluster"), token: rand.Text()}
	c.etcd = fmt.Sprintf("http://127.0.0.1:%d", FreePort(l))
	c.Addr = fmt.Sprintf("127.0.0.1:%d", FreePort(l))
	c.write("service-accounts.pem", c.signingKey())
	c.write("tokens.csv", []byte(c.token+",admin,admin,system:masters\n"))
	c.write("admin.kubeconfig", c.kubeconfig("admin", "default", c.token))
	c.startEtcd()
	c.Start()
	c.WaitReady(60 * time.Second)
	l.Cluster = c
	return c
}

// Start starts the apiserver, first time or again, and does not wait.
func (c *Cluster) Start() {
	c.lab.Helper()
	host, port := "127.0.0.1", c.Addr[len("127.0.0.1:"):]
	keys := c.path("service-accounts.pem")
	c.API = c.lab.Start("kube-apiserver", nil, Binaries.KubeAPIServer,
		"--etcd-servers="+c.etcd, "--bind-address="+host, "--secure-port="+port, "--cert-dir="+c.path("certs"),
		"--token-auth-file="+c.path("tokens.csv"), "--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+keys, "--service-account-signing-key-file="+keys,
		// No controller makes the default ServiceAccounts that the plugin asks of every pod.
		"--disable-admission-plugins=ServiceAccount",
		"--service-cluster-ip-range=10.96.0.0/16", "--endpoint-reconciler-type=none")
}

// WaitReady waits for /readyz and the namespace default.
func (c *Cluster) WaitReady(limit time.Duration) {
	c.lab.Helper()
	Until(c.lab, limit, "kube-apiserver is ready", func() error {
		if !c.API.Alive() {
			return Stop(errEnded(c.API))
		}
		return errors.Join(c.get("/readyz"), c.get("/api/v1/namespaces/default"))
	})
}

// Kill ends the apiserver at once (SIGKILL); etcd keeps what it was told.
func (c *Cluster) Kill() { c.API.Kill() }

// Restart kills the apiserver and starts it again on its port.
func (c *Cluster) Restart() {
	c.lab.Helper()
	c.Kill()
	c.Start()
	c.WaitReady(60 * time.Second)
}

// Stop ends the apiserver, then etcd. The clean-up does the same.
func (c *Cluster) Stop() {
	c.API.Stop(5 * time.Second)
	c.Etcd.Stop(5 * time.Second)
}

func (c *Cluster) startEtcd() {
	c.lab.Helper()
	peer := fmt.Sprintf("http://127.0.0.1:%d", FreePort(c.lab))
	c.Etcd = c.lab.Start("etcd", nil, Binaries.Etcd, "--name=lab", "--data-dir="+c.path("etcd"), "--log-level=warn",
		"--listen-client-urls="+c.etcd, "--advertise-client-urls="+c.etcd,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=lab="+peer,
		"--unsafe-no-fsync") // no test cuts the power
	Until(c.lab, 30*time.Second, "etcd is healthy", func() error {
		if !c.Etcd.Alive() {
			return Stop(errEnded(c.Etcd))
		}
		return fetch(c.lab.Context(), &http.Client{}, c.etcd+"/health", "")
	})
}

// signingKey is what the apiserver signs tokens of ServiceAccounts with.
func (c *Cluster) signingKey() []byte {
	c.lab.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.lab.Fatalf("make a key: %v", err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		c.lab.Fatalf("encode a key: %v", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

// get reads a page of the API as the administrator.
func (c *Cluster) get(path string) error {
	raw, err := os.ReadFile(c.path("certs", "apiserver.crt")) // made at the first start
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(raw)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}
	return fetch(c.lab.Context(), &http.Client{Transport: transport}, "https://"+c.Addr+path, c.token)
}

func (c *Cluster) path(parts ...string) string {
	return filepath.Join(append([]string{c.dir}, parts...)...)
}

func (c *Cluster) write(name string, raw []byte) {
	c.lab.Helper()
	if err := os.WriteFile(c.path(name), raw, 0o600); err != nil {
		c.lab.Fatalf("write for the cluster: %v", err)
	}
}

// fetch returns nil where url answers 200.
func fetch(ctx context.Context, client *http.Client, url, token string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %s", url, resp.Status, body)
	}
	return err
}
