package ctl_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"meshlite.dev/internal/admin"
	"meshlite.dev/internal/app"
	"meshlite.dev/internal/events/dispatch"
	"meshlite.dev/internal/events/pauses"
)

const mailSubscription = `apiVersion: meshlite.dev/v1alpha1
kind: EventSubscription
metadata: {name: mail, namespace: default}
spec:
  bindings: ["order.*"]
  handler: {service: stock, path: /events}
  ordered: true
  delivery: {attempts: 2, backoff: {base: 1ms, max: 1ms}}
`

// startDelivering runs xds-server with a subscription whose handler fails on events
// of type order.bad until one of type order.mended came, and wants none of these.
func startDelivering(t *testing.T) (url string) {
	t.Helper()
	var mended atomic.Bool
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var e struct{ Type string }
		err := json.NewDecoder(r.Body).Decode(&e)
		switch {
		case err != nil || r.URL.Hostname() != "stock" || r.URL.Path != "/events":
			http.Error(w, "unexpected", http.StatusGone)
		case e.Type == "order.bad" && !mended.Load():
			http.Error(w, "no stamps", http.StatusInternalServerError)
		case e.Type == "order.mended":
			mended.Store(true)
			http.Error(w, "thank you", http.StatusGone)
		}
	}))
	t.Cleanup(proxy.Close)
	cfg := app.Default()
	cfg.CatalogDir, cfg.PolicyDir, cfg.Roles = t.TempDir(), t.TempDir(), []string{"xds", "admin", "events"}
	cfg.AppAddr, cfg.AppProxy = "127.0.0.1:0", proxy.URL
	for name, text := range map[string]string{filepath.Join(cfg.CatalogDir, "shop.json"): shopCatalog, filepath.Join(cfg.PolicyDir, "mail.yaml"): mailSubscription} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	url = "http://" + run(t, cfg).Admin
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	waitFor(ctx, t, url+"/v1/policies/EventSubscription/default/mail", "its events are delivered to stock")
	return url
}

// mailbox carries out subscriptions without a mesh: shop/mail has dead letters,
// default/audit does not reach its queue, shop/twin has that of shop/mail.
type mailbox struct {
	mu      sync.Mutex
	letters []dispatch.DeadLetter
	paused  map[string]pauses.Pause
}

// startSubscriptions serves a mailbox.
func startSubscriptions(t *testing.T) (url string) {
	t.Helper()
	m := &mailbox{paused: map[string]pauses.Pause{}}
	at := time.Now().Add(-time.Minute)
	for i := range 5 {
		m.letters = append(m.letters, dispatch.DeadLetter{
			ID: fmt.Sprint("e-", i), Type: "order.created", Source: "/shop", Subject: "eu/7", Attempts: 6, At: at,
			Reason: "attempt 6 of 6: 500 Internal Server Error: no stamps", Event: json.RawMessage(`{"id":"e","data":{"order":7}}`),
		})
	}
	m.letters = append(m.letters, dispatch.DeadLetter{ID: "odd id/?", At: at, Reason: "it is no event: not JSON", Body: []byte("\x1b[2Jwhat")})
	h := httptest.NewServer(admin.New(admin.Config{
		State: func() (admin.State, bool) { return admin.State{}, false }, Hub: admin.NewHub(nil), Subscriptions: m, Fleet: threeProxies{},
	}))
	t.Cleanup(h.Close)
	return h.URL
}

func (m *mailbox) Status(context.Context) []dispatch.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	mail := dispatch.Subscription{
		Namespace: "shop", Name: "mail", Exchange: "domain_events", Bindings: "order.* stock.#", Service: "mail", Path: "/events",
		Mode: dispatch.Structured, Queue: "shop.mail", QueueType: "quorum", DeadLetter: "shop.mail.dlq", Concurrency: 8,
		Timeout: 5 * time.Second, Attempts: 6, Base: 500 * time.Millisecond, Max: time.Minute,
	}
	audit, twin := mail, mail
	audit.Namespace, audit.Name, audit.Ordered, audit.Filter = "default", "audit", true, "event.subject != ''"
	twin.Name = "twin"
	state := dispatch.Delivering
	if _, ok := m.paused["shop/mail"]; ok {
		state = dispatch.Paused
	}
	return []dispatch.Status{
		{Subscription: audit, State: dispatch.Interrupted, Problem: "the broker is away"},
		{
			Subscription: mail, State: state, Counted: true, Depth: dispatch.Depth{Waiting: 12, Dead: uint64(len(m.letters)), Missed: 4},
			InFlight: 8, Delivered: 4711, Retried: 30, Given: 6, Skipped: 9,
			LastFailure: "500 Internal Server Error: no stamps", LastFailureAt: time.Now().Add(-time.Minute),
		},
		{Subscription: twin, State: dispatch.Conflicting, Problem: "its queue shop.mail is that of subscription shop/mail"},
	}
}

func (m *mailbox) Paused() map[string]pauses.Pause {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.paused
}

func (m *mailbox) SetPaused(_ context.Context, key string, paused bool, reason string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.paused = map[string]pauses.Pause{}
	if paused {
		m.paused[key] = pauses.Pause{Reason: reason, Since: time.Now()}
	}
	return nil
}

func (m *mailbox) Letters(key string) (dispatch.DeadLetters, dispatch.Subscription, bool) {
	if key == "default/audit" {
		return silent{}, dispatch.Subscription{Namespace: "default", Name: "audit", DeadLetter: "audit.dlq"}, true
	}
	return m, dispatch.Subscription{Namespace: "shop", Name: "mail", DeadLetter: "shop.mail.dlq"}, true
}

func (m *mailbox) Dead(_ context.Context, _ dispatch.Subscription, most int) ([]dispatch.DeadLetter, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.letters[:min(most, len(m.letters))]), uint64(len(m.letters)), nil
}

func (m *mailbox) Requeue(_ context.Context, _ dispatch.Subscription, ids []string) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := len(m.letters)
	m.letters = slices.DeleteFunc(m.letters, func(l dispatch.DeadLetter) bool { return ids == nil || slices.Contains(ids, l.ID) })
	return before - len(m.letters), nil
}

func (m *mailbox) Purge(ctx context.Context, s dispatch.Subscription, ids []string) (int, error) {
	return m.Requeue(ctx, s, ids)
}

// silent is a queue that is empty.
type silent struct{ dispatch.DeadLetters }

func (silent) Dead(context.Context, dispatch.Subscription, int) ([]dispatch.DeadLetter, uint64, error) {
	return nil, 0, nil
}
