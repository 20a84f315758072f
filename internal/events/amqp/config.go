package amqp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"meshlite.dev/internal/events"
)

// Exchange is where events go: a durable topic exchange.
const Exchange = events.Exchange

// Config says how the broker is reached. Files are read anew for each connection.
type Config struct {
	URL             string // amqp:// or amqps://HOST[:PORT][/VHOST], without credentials
	CredentialsFile string // one line USER:PASSWORD; "" is guest:guest
	CAFile          string // whose certificates the broker must show, with amqps; "" is the system's
	CertFile        string // of this client, with KeyFile; "" is none
	KeyFile         string
	Name            string // of the connection, for people who look at the broker
}

// Validate returns every fault of the settings, as flags call them.
func (c Config) Validate() error {
	var faults []error
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		faults = append(faults, errors.New("--amqp-url is no URL; use amqp://HOST:5672/VHOST or amqps://HOST:5671/VHOST")) // it may hold a password
	case u.Scheme != "amqp" && u.Scheme != "amqps" || u.Host == "":
		faults = append(faults, fmt.Errorf("--amqp-url is %q; use amqp://HOST:5672/VHOST or amqps://HOST:5671/VHOST", u.Redacted()))
	case u.User != nil:
		faults = append(faults, fmt.Errorf("--amqp-url is %q; put USER:PASSWORD into --amqp-credentials-file, others can read a flag", u.Redacted()))
	case u.Scheme == "amqp" && (c.CAFile != "" || c.CertFile != ""):
		faults = append(faults, errors.New("--amqp-ca-file and --amqp-cert-file go with amqps://"))
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		faults = append(faults, errors.New("--amqp-cert-file and --amqp-key-file go together; only one is set"))
	}
	return errors.Join(faults...)
}

// credentials reads the file.
func (c Config) credentials() (user, password string, err error) {
	if c.CredentialsFile == "" {
		return "guest", "guest", nil
	}
	raw, err := os.ReadFile(c.CredentialsFile)
	if err != nil {
		return "", "", fmt.Errorf("read --amqp-credentials-file: %w", err)
	}
	user, password, ok := strings.Cut(strings.TrimSpace(string(raw)), ":")
	if !ok || user == "" || strings.ContainsAny(password, "\r\n") {
		return "", "", fmt.Errorf("--amqp-credentials-file %s must hold one line USER:PASSWORD", c.CredentialsFile)
	}
	return user, password, nil
}

// tls reads the files of TLS.
func (c Config) tls(host string) (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if c.CAFile != "" {
		raw, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read --amqp-ca-file: %w", err)
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(raw) {
			return nil, fmt.Errorf("--amqp-ca-file %s holds no PEM certificate", c.CAFile)
		}
	}
	if c.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read --amqp-cert-file: %w", err)
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}
