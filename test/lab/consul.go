package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Consul is a real agent and the lab's registry.
type Consul struct {
	*Process
	Addr string // HOST:PORT of its HTTP API
	// Token is sent with what the lab itself does; xds-server is given its own.
	Token string
	lab   *Lab
	args  []string
}

// UseConsul starts an agent and makes it the lab's registry. Without flags it
// is a `-dev` agent, which forgets everything when it ends; flags replace that.
func (l *Lab) UseConsul(flags ...string) *Consul {
	l.Helper()
	c := &Consul{lab: l}
	port := func() string { return strconv.Itoa(FreePort(l)) }
	http := port()
	c.Addr = "127.0.0.1:" + http
	if len(flags) == 0 {
		flags = []string{"-dev"}
	}
	c.args = append([]string{Binaries.Consul, "agent", "-bind=127.0.0.1", "-node=lab", "-log-level=warn",
		"-http-port=" + http, "-dns-port=-1", "-grpc-port=-1", "-grpc-tls-port=-1", "-server-port=" + port(), "-serf-lan-port=" + port(), "-serf-wan-port=-1",
		// Without peers there is nothing to gain from waiting.
		"-hcl=performance { raft_multiplier = 1 } leave_on_terminate = false disable_update_check = true"}, flags...)
	l.Registry = c
	c.Start()
	c.WaitReady(60 * time.Second)
	return c
}

// DataFolder are flags of a server that keeps its data.
func (l *Lab) DataFolder() []string {
	return []string{"-server", "-bootstrap-expect=1", "-data-dir=" + l.folder("consul")}
}

// Start starts the agent, first time or again.
func (c *Consul) Start() {
	c.lab.Helper()
	c.Process = c.lab.Start("consul", nil, c.args...)
}

// WaitReady waits until the agent knows a leader and answers for its own node.
func (c *Consul) WaitReady(limit time.Duration) {
	c.lab.Helper()
	Until(c.lab, limit, "Consul answers", func() error {
		if !c.Alive() {
			return Stop(errEnded(c.Process))
		}
		out, err := c.call(http.MethodGet, "/v1/status/leader", nil)
		if err == nil && !bytes.Contains(out, []byte(":")) {
			return errNotYet
		}
		if err != nil {
			return err
		}
		_, err = c.call(http.MethodGet, "/v1/catalog/services?consistent", nil)
		return err
	})
}

// Flags implements Registry.
func (c *Consul) Flags() []string { return []string{"--catalog", "consul", "--consul-addr", c.Addr} }

// Register implements Registry through the agent's API.
func (c *Consul) Register(ins ...Instance) {
	c.lab.Helper()
	for _, in := range ins {
		body := map[string]any{"ID": in.ID, "Name": in.Name, "Address": in.Address, "Port": in.Port, "Tags": in.Tags, "Meta": in.Meta}
		if in.Check != nil {
			body["Check"] = in.Check
		}
		c.Must(http.MethodPut, "/v1/agent/service/register", body)
	}
}

// Deregister implements Registry.
func (c *Consul) Deregister(ins ...Instance) {
	c.lab.Helper()
	for _, in := range ins {
		c.Must(http.MethodPut, "/v1/agent/service/deregister/"+in.ID, nil)
	}
}

// TTL is a check that SetHealth drives.
func TTL(id string) map[string]any {
	return map[string]any{"CheckID": "ttl:" + id, "Name": "ttl", "TTL": "1h", "Status": "passing"}
}

// SetHealth sets the TTL check of an instance: passing, warning or critical.
func (c *Consul) SetHealth(id, status string) {
	c.lab.Helper()
	c.Must(http.MethodPut, "/v1/agent/check/update/ttl:"+id, map[string]any{"Status": status})
}

// Maintenance puts an instance into maintenance, or takes it out.
func (c *Consul) Maintenance(id string, on bool) {
	c.lab.Helper()
	c.Must(http.MethodPut, fmt.Sprintf("/v1/agent/service/maintenance/%s?enable=%t&reason=test", id, on), nil)
}

// Must calls Consul's API.
func (c *Consul) Must(method, path string, body any) []byte {
	c.lab.Helper()
	out, err := c.call(method, path, body)
	if err != nil {
		c.lab.Fatalf("consul: %v", err)
	}
	return out
}

// Try is Must that may fail.
func (c *Consul) Try(method, path string, body any) error {
	_, err := c.call(method, path, body)
	return err
}

func (c *Consul) call(method, path string, body any) ([]byte, error) {
	var in io.Reader = strings.NewReader("")
	switch b := body.(type) {
	case nil:
	case []byte:
		in = bytes.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(raw)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.Addr+path, in)
	if err != nil {
		return nil, err
	}
	if c.Token != "" {
		req.Header.Set("X-Consul-Token", c.Token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, out)
	}
	return out, nil
}
