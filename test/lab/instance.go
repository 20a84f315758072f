package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Echo is a running echo instance.
type Echo struct {
	*Process
	Instance
	lab *Lab
}

// Counts is what an echo instance has seen.
type Counts struct {
	Total    int            `json:"total"`
	Methods  map[string]int `json:"methods"`
	URLs     map[string]int `json:"urls"` // of HTTP requests, host and path
	InFlight int            `json:"inFlight"`
	Most     int            `json:"most"`
}

// StartEcho starts n instances of service, called SERVICE-1 to SERVICE-n, and
// waits until they listen. Nothing is registered. Meta's protocol decides what
// they speak: grpc, tcp, or else HTTP.
func (l *Lab) StartEcho(service string, n int, meta map[string]string) []*Echo {
	l.Helper()
	out := make([]*Echo, n)
	for i := range out {
		out[i] = l.startEcho(Instance{
			ID: fmt.Sprintf("%s-%d", service, i+1), Name: service, Address: "127.0.0.1", Port: FreePort(l), Meta: meta,
		})
	}
	for _, e := range out {
		e.WaitLog("ready", 10*time.Second)
	}
	return out
}

func (l *Lab) startEcho(in Instance) *Echo {
	l.Helper()
	flag := "--http"
	if p := in.Meta["protocol"]; p == "grpc" || p == "tcp" {
		flag = "--" + p
	}
	p := l.Start(in.ID, nil, Binaries.Echo, "--name", in.ID, flag, fmt.Sprintf("%s:%d", in.Address, in.Port))
	return &Echo{Process: p, Instance: in, lab: l}
}

// Service starts n echo instances and registers them.
func (l *Lab) Service(service string, n int) []*Echo {
	l.Helper()
	return l.ServiceWith(service, n, nil)
}

// ServiceWith is Service with meta on every instance.
func (l *Lab) ServiceWith(service string, n int, meta map[string]string) []*Echo {
	l.Helper()
	es := l.StartEcho(service, n, meta)
	l.Registry.Register(Instances(es)...)
	return es
}

// Instances returns what to register of es.
func Instances(es []*Echo) []Instance {
	out := make([]Instance, len(es))
	for i, e := range es {
		out[i] = e.Instance
	}
	return out
}

// Restart starts a killed instance again on its port.
func (e *Echo) Restart() {
	e.lab.Helper()
	e.Process = e.lab.startEcho(e.Instance).Process
	e.WaitLog("ready", 10*time.Second)
}

// Fail makes the instance answer as query says, "status=503&percent=100"; an
// empty query makes it healthy again.
func (e *Echo) Fail(query string) {
	e.lab.Helper()
	e.call(http.MethodPost, "/fail?"+query)
}

// ResetCounts returns what the instance has seen and starts anew.
func (e *Echo) ResetCounts() Counts { e.lab.Helper(); return e.counts(http.MethodPost) }

// Counts returns what the instance has seen since ResetCounts.
func (e *Echo) Counts() Counts { e.lab.Helper(); return e.counts(http.MethodGet) }

func (e *Echo) counts(method string) (c Counts) {
	e.lab.Helper()
	if err := json.Unmarshal(e.call(method, "/counts"), &c); err != nil {
		e.lab.Fatalf("%s: counts: %v", e.ID, err)
	}
	return c
}

func (e *Echo) call(method, path string) []byte {
	e.lab.Helper()
	ctx, cancel := context.WithTimeout(e.lab.Context(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("http://%s:%d%s", e.Address, e.Port, path), nil)
	if err != nil {
		e.lab.Fatalf("%s: %v", e.ID, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		e.lab.Fatalf("%s: %v", e.ID, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		e.lab.Fatalf("%s: %s %s: %s %v %s", e.ID, method, path, resp.Status, err, body)
	}
	return body
}
