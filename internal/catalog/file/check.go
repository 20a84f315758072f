package file

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"meshlite.dev/internal/mesh"
)

// addCheck turns a check that Consul's agent would make into one that every
// caller's Envoy makes. A check that Envoy cannot make is named in a finding:
// the instance is then always taken for healthy.
func (d *Definition) addCheck(c fields) {
	c.only(checkKeys)
	check := mesh.HealthCheck{
		Interval: c.duration("interval"), Timeout: c.duration("timeout"),
		UnhealthyAfter: threshold(c, "failuresbeforecritical"), HealthyAfter: threshold(c, "successbeforepassing"),
	}
	if check.Timeout == 0 {
		check.Timeout = 10 * time.Second // Consul's default
	}
	var target, path, why string
	switch {
	case c.has("http"):
		check.Type = mesh.HealthCheckHTTP
		target, path, why = httpTarget(c)
		check.Path = path
	case c.has("grpc"):
		check.Type = mesh.HealthCheckGRPC
		target, _, _ = strings.Cut(c.text("grpc"), "/") // HOST:PORT/SERVICE
		why = tlsOf(c, "grpcusetls")
	case c.has("tcp"):
		check.Type = mesh.HealthCheckTCP
		target, why = c.text("tcp"), tlsOf(c, "tcpusetls")
	default:
		why = "is none of http, tcp and grpc"
	}
	if why == "" {
		why = d.elsewhere(target)
	}
	switch {
	case why != "":
		d.Findings = append(d.Findings, d.finding(mesh.Info, c.path, "has a check that Envoy does not make: it "+why,
			"give it an http, tcp or grpc check of its own address and port, without TLS"))
	case check.Interval == 0:
		c.fault("interval", nil, "is missing; say how often to check, such as \"10s\"")
	case d.Check == nil:
		d.Check = &check
	}
}

func threshold(c fields, key string) uint32 {
	n, ok := c.number(key)
	if ok && (n < 0 || n > 1000) {
		c.fault(c.names[key], n, "use 0 to 1000")
	}
	return uint32(max(n, 1)) // Consul's 0 moves at the first result, and so does 1
}

// httpTarget returns where an http check goes, or why Envoy cannot make it.
func httpTarget(c fields) (target, path, why string) {
	written := c.text("http")
	u, err := url.Parse(written)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		c.fault(c.names["http"], written, "use a URL such as \"http://10.0.0.1:8080/health\"")
		return "", "", ""
	}
	switch method := c.text("method"); {
	case u.Scheme == "https":
		return "", "", "uses https"
	case method != "" && !strings.EqualFold(method, "GET"):
		return "", "", fmt.Sprintf("uses the method %s", method)
	case c.has("header") || c.text("body") != "":
		return "", "", "sends headers or a body of its own"
	}
	target = u.Host
	if u.Port() == "" {
		target = net.JoinHostPort(u.Hostname(), "80")
	}
	if path = u.RequestURI(); path == "" {
		path = "/"
	}
	return target, path, ""
}

func tlsOf(c fields, key string) string {
	if on, _ := c.values[key].(bool); on {
		return "uses TLS"
	}
	return ""
}

// elsewhere says why a check is not of this instance: Envoy checks the
// endpoint itself.
func (d *Definition) elsewhere(target string) string {
	_, port, err := net.SplitHostPort(target)
	if err != nil || port != strconv.Itoa(int(d.Endpoint.Port)) {
		return fmt.Sprintf("asks %s, not port %d", target, d.Endpoint.Port)
	}
	return ""
}
