// Package bootstrap makes the configuration with which an Envoy starts as a
// sidecar. It needs no server and reads no file.
package bootstrap

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"meshlite.dev/internal/mesh"
)

// Config says whose sidecar it is and how it reaches xds-server.
type Config struct {
	Service      string // node.cluster: the caller's own name, a DNS label
	ID           string // node.id: unique in the mesh, 1 to 253 characters
	XDSAddr      string // HOST:PORT
	OutboundPort uint16 // calls by Host; 0 opens no listener
	AdminPort    uint16 // Envoy's admin interface; 1 to 65535
	Upstreams    []Upstream
	Region, Zone string // node.locality; empty is unknown
	// Labels are by what a rollout can choose the proxy for its canary.
	Labels map[string]string

	TLSCA   string // CA file; turns TLS on
	TLSCert string // client certificate file; with TLSKey and TLSCA
	TLSKey  string

	NoProxy []string // hosts that Env adds to those that never enter the mesh
}

// Upstream is a local port for one service.
type Upstream struct {
	Service string // a DNS label
	Port    uint16 // 1 to 65535
	// TCP says that the service speaks tcp. Without it the catalog's word counts
	// at the proxy's start, and that of a service not there yet is http1.
	TCP bool
}

// String is u as ParseUpstreams reads it.
func (u Upstream) String() string {
	if u.TCP {
		return fmt.Sprintf("%s=%d%s", u.Service, u.Port, tcpSuffix)
	}
	return fmt.Sprintf("%s=%d", u.Service, u.Port)
}

const tcpSuffix = "/tcp"

// Default is the Config of a sidecar beside an xds-server on the same host.
func Default() Config {
	return Config{XDSAddr: "127.0.0.1:18000", OutboundPort: 15001, AdminPort: 15000}
}

// Validate returns every fault of c, joined, each with its flag.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if !mesh.IsDNSLabel(c.Service) {
		fault("--service is %q; use a DNS label: 1 to 63 of a-z, 0-9 and '-'", c.Service)
	}
	if c.ID == "" || len(c.ID) > 253 || strings.ContainsFunc(c.ID, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' }) {
		fault("--id is %q; use 1 to 253 printable ASCII characters without space and '/'", c.ID)
	}
	if _, _, err := c.server(); err != nil {
		faults = append(faults, err)
	}
	faults = append(faults, c.validatePorts()...)
	for _, err := range mesh.CheckLabels(c.Labels) {
		fault("--label: %w", err)
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		fault("--tls-cert and --tls-key go together; only one is set")
	}
	if c.TLSCert != "" && c.TLSCA == "" {
		fault("--tls-cert needs --tls-ca, which proves the server")
	}
	return errors.Join(faults...)
}

func (c Config) validatePorts() (faults []error) {
	taken := map[uint16]string{}
	use := func(port uint16, by string) {
		if port == 0 {
			return
		}
		if other, ok := taken[port]; ok {
			faults = append(faults, fmt.Errorf("%s: port %d is that of %s; use another", by, port, other))
		}
		taken[port] = by
	}
	if c.AdminPort == 0 {
		faults = append(faults, errors.New("--admin-port is 0; use a port, 1 to 65535"))
	}
	use(c.AdminPort, "--admin-port")
	use(c.OutboundPort, "--outbound-port")
	for _, u := range c.Upstreams {
		by := "--upstream " + u.String()
		if !mesh.IsDNSLabel(u.Service) {
			faults = append(faults, fmt.Errorf("%s: %q is no service name; use a DNS label", by, u.Service))
		}
		if u.Port == 0 {
			faults = append(faults, fmt.Errorf("%s: use a port, 1 to 65535", by))
		}
		use(u.Port, by)
	}
	return faults
}

// server returns the host and port of XDSAddr.
func (c Config) server() (host string, port uint16, err error) {
	host, text, err := net.SplitHostPort(c.XDSAddr)
	if err != nil || host == "" {
		return "", 0, fmt.Errorf("--xds-addr is %q; use HOST:PORT, such as 127.0.0.1:18000", c.XDSAddr)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("--xds-addr is %q; the port must be 1 to 65535", c.XDSAddr)
	}
	return host, uint16(n), nil
}

// Env returns assignments for a POSIX shell that send a process's calls
// through the sidecar. There is no HTTPS_PROXY: what is encrypted end to end
// does not enter the mesh.
func (c Config) Env() string {
	proxy := fmt.Sprintf("http://127.0.0.1:%d", c.OutboundPort)
	none := c.NoProxyList()
	var b strings.Builder
	for _, v := range [][2]string{{"HTTP_PROXY", proxy}, {"http_proxy", proxy}, {"NO_PROXY", none}, {"no_proxy", none}} {
		fmt.Fprintf(&b, "export %s=%s\n", v[0], quote(v[1]))
	}
	return b.String()
}

// NoProxyList names the hosts that never enter the mesh, as NO_PROXY wants
// them: clients would send those too.
func (c Config) NoProxyList() string {
	return strings.Join(append([]string{"localhost", "127.0.0.0/8", "::1", "169.254.169.254"}, c.NoProxy...), ",")
}

// ParseUpstreams reads local ports as flags and annotations give them:
// "orders=9001,broker=5672/tcp".
func ParseUpstreams(text string) ([]Upstream, error) {
	var out []Upstream
	for one := range strings.SplitSeq(text, ",") {
		name, port, ok := strings.Cut(strings.TrimSpace(one), "=")
		port, tcp := strings.CutSuffix(port, tcpSuffix)
		n, err := strconv.ParseUint(port, 10, 16)
		if !ok || err != nil {
			return nil, errors.New("use NAME=PORT, such as orders=9001, or NAME=PORT/tcp for a service that speaks tcp")
		}
		out = append(out, Upstream{Service: name, Port: uint16(n), TCP: tcp})
	}
	return out, nil
}

// quote makes one word for a POSIX shell.
func quote(s string) string {
	special := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.,:/", r)
	}
	if !strings.ContainsFunc(s, special) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
