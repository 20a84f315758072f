package envoy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// poll is how often Envoy's admin interface is asked.
const poll = 100 * time.Millisecond

// admin speaks to Envoy's admin interface.
// https://www.envoyproxy.io/docs/envoy/v1.40.0/operations/admin
type admin struct {
	base   string
	client *http.Client
}

func newAdmin(addr string) admin {
	return admin{"http://" + addr, &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
}

// Drain closes the listeners of the Envoy whose admin interface is at addr,
// HOST:PORT, and returns when no call is under way. Envoy itself goes on.
func Drain(ctx context.Context, addr string) error { return newAdmin(addr).drain(ctx) }

// Ready reports nil once the Envoy whose admin interface is at addr, HOST:PORT,
// is LIVE, or the error of ctx.
func Ready(ctx context.Context, addr string) error { return newAdmin(addr).waitReady(ctx) }

// waitReady returns nil once Envoy is LIVE, which it is when the first answer
// of every type it waits for is in force.
func (a admin) waitReady(ctx context.Context) error {
	for {
		if text, err := a.do(ctx, http.MethodGet, "/ready"); err == nil && strings.HasPrefix(text, "LIVE") {
			return nil
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// drain closes Envoy's listeners and returns when no call is under way, or with
// an error when ctx ends first. Connections that are open stay until their call
// has its answer, which tells them to close because health checks fail.
func (a admin) drain(ctx context.Context) error {
	for _, path := range []string{"/healthcheck/fail", "/drain_listeners"} {
		if _, err := a.do(ctx, http.MethodPost, path); err != nil {
			return fmt.Errorf("drain: %w", err)
		}
	}
	for {
		n, err := a.active(ctx)
		if err == nil && n == 0 {
			return nil
		}
		if pause(ctx) != nil {
			return fmt.Errorf("%d calls were still under way", n)
		}
	}
}

// active counts HTTP calls and TCP connections of the mesh's listeners.
func (a admin) active(ctx context.Context) (int, error) {
	text, err := a.do(ctx, http.MethodGet, `/stats?filter=^(http\..*\.downstream_rq_active|tcp\..*\.downstream_cx_active)$`)
	if err != nil {
		return 0, err
	}
	total := 0
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok || strings.HasPrefix(name, "http.admin.") {
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			return 0, fmt.Errorf("stat %s is %q", name, value)
		}
		total += n
	}
	return total, nil
}

func (a admin) do(ctx context.Context, method, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return string(body), err
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(poll):
		return nil
	}
}
