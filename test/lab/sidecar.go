package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Sidecar is an Envoy beside one client.
type Sidecar struct {
	*Process
	ID, Service     string
	Outbound, Admin int
	Upstreams       map[string]int // service to local port
	Envoy           string         // what Start starts; Binaries.Envoy
	lab             *Lab
	bootstrap       string
	client          *http.Client
}

// Sidecar writes a bootstrap with meshctl and starts an Envoy from it for an
// instance called SERVICE-client. Args are added to `meshctl proxy bootstrap`;
// an upstream given without "=PORT" gets a free port, also as "NAME/tcp".
func (l *Lab) Sidecar(service string, args ...string) *Sidecar {
	l.Helper()
	s := l.NewSidecar(service, service+"-client", args...)
	s.Start()
	s.WaitReady(20 * time.Second)
	return s
}

// OldSidecar is Sidecar, called SERVICE-old, with the oldest supported Envoy.
func (l *Lab) OldSidecar(service string, args ...string) *Sidecar {
	l.Helper()
	s := l.NewSidecar(service, service+"-old", args...)
	s.Envoy = Binaries.OldEnvoy
	s.Start()
	s.WaitReady(20 * time.Second)
	return s
}

// NewSidecar is Sidecar with an id and without the start.
func (l *Lab) NewSidecar(service, id string, args ...string) *Sidecar {
	l.Helper()
	s := &Sidecar{ID: id, Service: service, Outbound: FreePort(l), Admin: FreePort(l), Upstreams: map[string]int{}, Envoy: Binaries.Envoy, lab: l}
	args = append([]string{}, args...)
	for i, a := range args {
		if i == 0 || args[i-1] != "--upstream" {
			continue
		}
		a, tcp := strings.CutSuffix(a, "/tcp")
		name, port, ok := strings.Cut(a, "=")
		if !ok {
			port = strconv.Itoa(FreePort(l))
			args[i] = name + "=" + port
			if tcp {
				args[i] += "/tcp"
			}
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			l.Fatalf("upstream %s: %v", a, err)
		}
		s.Upstreams[name] = n
	}
	out := l.Meshctl(append([]string{"proxy", "bootstrap", "--service", service, "--id", id, "--xds-addr", l.Server.XDS,
		"--outbound-port", strconv.Itoa(s.Outbound), "--admin-port", strconv.Itoa(s.Admin)}, args...)...)
	if out.Code != 0 {
		l.Fatalf("meshctl proxy bootstrap: exit %d\n%s", out.Code, out.Stderr)
	}
	s.bootstrap = filepath.Join(l.folder("envoy"), id+".yaml")
	if err := os.WriteFile(s.bootstrap, []byte(out.Stdout), 0o600); err != nil {
		l.Fatalf("write the bootstrap: %v", err)
	}
	through := &url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", s.Outbound)}
	s.client = &http.Client{Transport: &http.Transport{
		Proxy:               http.ProxyURL(through),
		MaxIdleConnsPerHost: 200,
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
	}, Timeout: 30 * time.Second}
	l.Cleanup(s.client.CloseIdleConnections)
	return s
}

// Start starts the Envoy, first time or again.
func (s *Sidecar) Start() {
	s.lab.Helper()
	s.Process = s.lab.Start("envoy "+s.ID, nil, s.Envoy, "-c", s.bootstrap, "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning", "--drain-time-s", "2")
}

// WaitReady waits until Envoy is live and the server reports it SYNCED.
func (s *Sidecar) WaitReady(limit time.Duration) {
	s.lab.Helper()
	Until(s.lab, limit, s.ID+" is live", func() error {
		if !s.Alive() {
			return Stop(errEnded(s.Process))
		}
		body, err := s.admin("/ready")
		if err != nil {
			return err
		}
		if !strings.HasPrefix(string(body), "LIVE") {
			return errors.New(string(body))
		}
		return nil
	})
}

// Client sends through the outbound listener, as with HTTP_PROXY.
func (s *Sidecar) Client() *http.Client { return s.client }

// Answer is an HTTP answer read to its end.
type Answer struct {
	Status   int
	Header   http.Header
	Body     string
	Instance string // of the echo service
	Reason   string // x-mesh-reason
	Took     time.Duration
}

// Do sends a request through the sidecar; the error is the transport's.
func (s *Sidecar) Do(method, url string, header ...string) (Answer, error) {
	return Do(s.lab.Context(), s.client, method, url, header...)
}

// Get is Do with GET, and a transport error fails the test.
func (s *Sidecar) Get(url string, header ...string) Answer {
	s.lab.Helper()
	a, err := s.Do(http.MethodGet, url, header...)
	if err != nil {
		s.lab.Fatalf("GET %s through %s: %v", url, s.ID, err)
	}
	return a
}

// Do sends a request with c; header holds names and values in turn, Host
// among them.
func Do(ctx context.Context, c *http.Client, method, url string, header ...string) (Answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return Answer{}, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		if strings.EqualFold(header[i], "host") {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	begin := time.Now()
	resp, err := c.Do(req)
	if err != nil {
		return Answer{Took: time.Since(begin)}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return Answer{
		Status: resp.StatusCode, Header: resp.Header, Body: string(body), Took: time.Since(begin),
		Instance: resp.Header.Get("x-instance"), Reason: resp.Header.Get("x-mesh-reason"),
	}, err
}

// Local returns the URL of an upstream's local port.
func (s *Sidecar) Local(service string) string {
	return fmt.Sprintf("http://127.0.0.1:%d", s.Upstreams[service])
}

// WaitStatus waits until a GET of url through the sidecar gives status.
func (s *Sidecar) WaitStatus(url string, status int, limit time.Duration) Answer {
	s.lab.Helper()
	var last Answer
	Until(s.lab, limit, fmt.Sprintf("GET %s through %s gives %d", url, s.ID, status), func() error {
		a, err := s.Do(http.MethodGet, url)
		if err != nil {
			return err
		}
		last = a
		if a.Status != status {
			return fmt.Errorf("%d %s %s", a.Status, a.Reason, a.Body)
		}
		return nil
	})
	return last
}

// admin asks Envoy's admin interface, patiently: on a busy machine it waits for
// its turn.
func (s *Sidecar) admin(path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", s.Admin, path), nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// Stat returns one of Envoy's counters or gauges; 0 when it does not exist.
func (s *Sidecar) Stat(name string) int {
	s.lab.Helper()
	body, err := s.admin("/stats?format=json&filter=^" + url.QueryEscape(name) + "$")
	if err != nil {
		s.lab.Fatalf("stats of %s: %v", s.ID, err)
	}
	var doc struct {
		Stats []struct {
			Name  string          `json:"name"`
			Value json.RawMessage `json:"value"`
		} `json:"stats"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		s.lab.Fatalf("stats of %s: %v in %s", s.ID, err, body)
	}
	for _, st := range doc.Stats {
		if st.Name == name {
			n, err := strconv.Atoi(string(st.Value))
			if err != nil {
				s.lab.Fatalf("stat %s of %s is %s", name, s.ID, st.Value)
			}
			return n
		}
	}
	return 0
}

// Memory returns how many bytes Envoy uses (allocated, of its /memory), and how many
// the system gave it (VmRSS).
func (s *Sidecar) Memory() (allocated, resident int) {
	s.lab.Helper()
	body, err := s.admin("/memory")
	if err != nil {
		s.lab.Fatalf("memory of %s: %v", s.ID, err)
	}
	var doc struct {
		Allocated int `json:"allocated,string"`
	}
	if err := json.Unmarshal(body, &doc); err != nil || doc.Allocated == 0 {
		s.lab.Fatalf("memory of %s: %v in %s", s.ID, err, body)
	}
	return doc.Allocated, s.Resident()
}

// Host is an endpoint as Envoy sees it.
type Host struct {
	Address string
	Health  map[string]any // of /clusters, such as eds_health_status and failed_outlier_check
	Weight  int
}

// Hosts returns the endpoints of a cluster, by HOST:PORT.
func (s *Sidecar) Hosts(cluster string) map[string]Host {
	s.lab.Helper()
	body, err := s.admin("/clusters?format=json")
	if err != nil {
		s.lab.Fatalf("clusters of %s: %v", s.ID, err)
	}
	var doc struct {
		Clusters []struct {
			Name  string `json:"name"`
			Hosts []struct {
				Address struct {
					Socket struct {
						Address string `json:"address"`
						Port    int    `json:"port_value"`
					} `json:"socket_address"`
				} `json:"address"`
				Health map[string]any `json:"health_status"`
				Weight int            `json:"weight"`
			} `json:"host_statuses"`
		} `json:"cluster_statuses"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		s.lab.Fatalf("clusters of %s: %v", s.ID, err)
	}
	hosts := map[string]Host{}
	for _, c := range doc.Clusters {
		if c.Name != cluster {
			continue
		}
		for _, h := range c.Hosts {
			addr := fmt.Sprintf("%s:%d", h.Address.Socket.Address, h.Address.Socket.Port)
			hosts[addr] = Host{addr, h.Health, h.Weight}
		}
	}
	return hosts
}

// Ejected returns how many endpoints of a cluster are ejected now.
func (s *Sidecar) Ejected(cluster string) int {
	s.lab.Helper()
	return s.Stat("cluster." + cluster + ".outlier_detection.ejections_active")
}

// ConfigDump returns Envoy's configuration, endpoints included.
func (s *Sidecar) ConfigDump() []byte {
	s.lab.Helper()
	body, err := s.admin("/config_dump?include_eds")
	if err != nil {
		s.lab.Fatalf("config dump of %s: %v", s.ID, err)
	}
	return body
}

// Sidecars starts an Envoy for each of n instances, SERVICE-1 to SERVICE-n.
func (l *Lab) Sidecars(service string, n int) []*Sidecar {
	l.Helper()
	out := make([]*Sidecar, n)
	for i := range out {
		out[i] = l.NewSidecar(service, fmt.Sprintf("%s-%d", service, i+1))
		out[i].Start()
	}
	for _, s := range out {
		s.WaitReady(20 * time.Second)
	}
	return out
}

// EditBootstrap changes the bootstrap file of a sidecar not started yet.
func (s *Sidecar) EditBootstrap(edit func(string) string) {
	s.lab.Helper()
	raw, err := os.ReadFile(s.bootstrap)
	if err != nil {
		s.lab.Fatalf("read the bootstrap: %v", err)
	}
	text := edit(string(raw))
	if text == string(raw) {
		s.lab.Fatalf("nothing to change in the bootstrap:\n%s", text)
	}
	if err := os.WriteFile(s.bootstrap, []byte(text), 0o600); err != nil {
		s.lab.Fatalf("write the bootstrap: %v", err)
	}
}

// Run starts the sidecar with `meshctl proxy run` in place of a bare Envoy.
func (s *Sidecar) Run(args ...string) {
	s.lab.Helper()
	s.Process = s.lab.Start("meshctl proxy run "+s.ID, []string{"PATH=" + filepath.Dir(Binaries.Envoy) + ":" + os.Getenv("PATH")},
		append([]string{Binaries.Meshctl, "proxy", "run", "--service", s.Service, "--id", s.ID, "--xds-addr", s.lab.Server.XDS,
			"--outbound-port", strconv.Itoa(s.Outbound), "--admin-port", strconv.Itoa(s.Admin)}, args...)...)
}

// Stats returns Envoy's statistics, a line each, those too that are zero.
func (s *Sidecar) Stats() []string {
	s.lab.Helper()
	body, err := s.admin("/stats")
	if err != nil {
		s.lab.Fatalf("stats of %s: %v", s.ID, err)
	}
	return strings.Split(strings.TrimSpace(string(body)), "\n")
}
