package tlsconf

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// every is how often files are looked at unless told.
const every = 5 * time.Second

// Config names the files. CertFile and KeyFile are required.
type Config struct {
	CertFile, KeyFile string        // PEM; the certificate first, then its chain
	ClientCAFile      string        // PEM; set: clients must show a certificate of it
	Names             []string      // DNS names that the certificate must have
	Every             time.Duration // between looks at the files; default 5s
	Log               *slog.Logger  // nil is silent
}

// Reloader serves TLS with the files' newest content that is good. Make one
// with Load.
type Reloader struct {
	cfg     Config
	current atomic.Pointer[loaded]
	fault   atomic.Pointer[Fault]
}

// loaded is one good content of the files, immutable.
type loaded struct {
	files files
	cert  tls.Certificate
	pool  *x509.CertPool // nil: no client certificates
}

// files is what was read.
type files struct{ cert, key, ca []byte }

// Fault is the newest content of the files that could not be used.
type Fault struct {
	At  time.Time
	Err error
}

// Load reads the files. It fails with a sentence where one is missing or
// broken: at the start there is nothing older to go on with.
func Load(cfg Config) (*Reloader, error) {
	if cfg.Every <= 0 {
		cfg.Every = every
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	r := &Reloader{cfg: cfg}
	l, err := r.load()
	if err != nil {
		return nil, err
	}
	r.current.Store(l)
	return r, nil
}

// TLS returns a server configuration that follows the files; protocols are
// those of ALPN, best first. Connections that are open keep what they have.
func (r *Reloader) TLS(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: protocols,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return r.current.Load().config(protocols), nil
		},
		// Without it a client of Go's TLS would find no certificate to check.
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return &r.current.Load().cert, nil
		},
	}
}

func (l *loaded) config(protocols []string) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: protocols, Certificates: []tls.Certificate{l.cert}}
	if l.pool != nil {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, l.pool
	}
	return c
}

// NotAfter is when the certificate in use ends.
func (r *Reloader) NotAfter() time.Time { return r.current.Load().cert.Leaf.NotAfter }

// Fault returns why the newest files are not in use; nil when they are.
func (r *Reloader) Fault() *Fault { return r.fault.Load() }

// Problem is the error of Fault; nil when the newest files are in use.
func (r *Reloader) Problem() error {
	if f := r.fault.Load(); f != nil {
		return f.Err
	}
	return nil
}

// Run looks at the files until ctx ends. A content that is broken or half
// written is reported once, and the old one stays.
func (r *Reloader) Run(ctx context.Context) error {
	tick := time.NewTicker(r.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			r.reload(ctx)
		}
	}
}

func (r *Reloader) reload(ctx context.Context) {
	next, err := r.load()
	if err != nil {
		if old := r.fault.Load(); old == nil || old.Err.Error() != err.Error() {
			r.cfg.Log.ErrorContext(ctx, "certificate files cannot be used; the last good ones stay", "err", err, "not_after", r.NotAfter())
			r.fault.Store(&Fault{At: time.Now(), Err: err})
		}
		return
	}
	r.fault.Store(nil)
	if old := r.current.Load(); old.files.equal(next.files) {
		return
	}
	r.current.Store(next)
	r.cfg.Log.InfoContext(ctx, "certificates reloaded", "file", r.cfg.CertFile, "not_after", r.NotAfter())
}

func (r *Reloader) load() (*loaded, error) {
	f, err := r.read()
	if err != nil {
		return nil, err
	}
	l := &loaded{files: f}
	if l.cert, err = tls.X509KeyPair(f.cert, f.key); err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", r.cfg.CertFile, r.cfg.KeyFile, err)
	}
	for _, name := range r.cfg.Names {
		if err := l.cert.Leaf.VerifyHostname(name); err != nil {
			return nil, fmt.Errorf("certificate %s must have the DNS name %s: %w", r.cfg.CertFile, name, err)
		}
	}
	if r.cfg.ClientCAFile == "" {
		return l, nil
	}
	l.pool = x509.NewCertPool()
	if !l.pool.AppendCertsFromPEM(f.ca) {
		return nil, fmt.Errorf("client CA %s: %w", r.cfg.ClientCAFile, errNoCertificate)
	}
	return l, nil
}

var errNoCertificate = errors.New("holds no PEM certificate")

func (r *Reloader) read() (f files, err error) {
	for _, one := range []struct {
		name, what string
		into       *[]byte
	}{
		{r.cfg.CertFile, "certificate", &f.cert}, {r.cfg.KeyFile, "key", &f.key}, {r.cfg.ClientCAFile, "client CA", &f.ca},
	} {
		if one.name == "" && one.into == &f.ca {
			continue
		}
		if *one.into, err = os.ReadFile(one.name); err != nil {
			return f, fmt.Errorf("read %s: %w", one.what, err)
		}
	}
	return f, nil
}

func (f files) equal(o files) bool {
	return bytes.Equal(f.cert, o.cert) && bytes.Equal(f.key, o.key) && bytes.Equal(f.ca, o.ca)
}
