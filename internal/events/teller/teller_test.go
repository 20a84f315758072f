package teller_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/facts"
	"meshlite.dev/internal/events/teller"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/pmap"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/store"
	"meshlite.dev/internal/store/mem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// box is an outbox in memory.
type box struct {
	uid string

	mu     sync.Mutex
	log    []events.Event
	cursor map[string][]byte
	fail   error
}

func newBox(uid string) *box { return &box{uid: uid, cursor: map[string][]byte{}} }

func (b *box) UID() string { return b.uid }

func (b *box) Cursor() (map[string][]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.cursor), b.fail
}

func (b *box) Append(make func(uint64) []events.Event, moved map[string][]byte) ([]events.Event, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return nil, b.fail
	}
	kept := make(uint64(len(b.log)) + 1)
	b.log = append(b.log, kept...)
	for subject, value := range moved {
		if value == nil {
			delete(b.cursor, subject)
		} else {
			b.cursor[subject] = value
		}
	}
	return kept, nil
}

func (b *box) failing(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail = err
}

// heard are the events since the last call, as "type subject".
func (b *box) heard(t *testing.T) (out []string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.log {
		if err := e.Check(); err != nil {
			t.Errorf("%s: %v", e.Type, err)
		}
		line := strings.TrimPrefix(e.Type, "mesh.") + " " + e.Subject
		if e.Type == events.Gap {
			var g events.GapData
			if err := json.Unmarshal(e.Data, &g); err != nil {
				t.Error(err)
			}
			line = "gap " + g.Scope + ": " + g.Reason
		}
		out = append(out, line)
	}
	b.log = nil
	return out
}

// world is changed by tests and read by tellers.
type world struct {
	mu sync.Mutex
	teller.World
	status map[policy.Key]policy.Status
	built  bool
}

func (w *world) change(f func(*world)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.built = true
	f(w)
}

func (w *world) read() (teller.World, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.World
	status := maps.Clone(w.status)
	out.Status = func(k policy.Key) (policy.Status, bool) { s, ok := status[k]; return s, ok }
	return out, w.built
}

func (w *world) services(all ...*mesh.Service) {
	w.change(func(w *world) {
		m := map[string]*mesh.Service{}
		for _, s := range all {
			m[s.Name] = s
		}
		w.Services = pmap.From(m)
	})
}

func web(h mesh.Health, index uint64) *mesh.Service {
	return &mesh.Service{
		Name: "web", Namespace: "default", Synced: true, Default: &mesh.Destination{Protocol: mesh.HTTP1},
		Endpoints: []mesh.Endpoint{{ID: "1", Address: "10.0.0.7", Port: 80, Weight: 1, Health: h, Index: index}},
	}
}

// run starts a teller; stop ends it and waits.
func run(t *testing.T, b *box, s *mem.Store, w *world, replica string, edits ...func(*teller.Config)) (x *teller.Teller, stop func()) {
	t.Helper()
	cfg := teller.Config{Outbox: b, Lock: s, Store: s, World: w.read, Replica: replica}
	for _, edit := range edits {
		edit(&cfg)
	}
	x = teller.New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := x.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	return x, sync.OnceFunc(func() { cancel(); <-done })
}

// pass lets time go by until everything waits.
func pass(d time.Duration) {
	<-time.After(d) // the bubble's clock
	synctest.Wait()
}

func expect(t *testing.T, b *box, want ...string) {
	t.Helper()
	if got := b.heard(t); !slices.Equal(got, want) {
		t.Errorf("heard %q\nwant  %q", got, want)
	}
}

const (
	gapProxies = "gap proxies: first start, or its outbox was lost"
	gapFirst   = "gap catalog: first start"
	gapOther   = "gap catalog: another outbox told last"
)

func TestWhatHappensIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s, w := newBox("A"), mem.New(), &world{}
		x, stop := run(t, b, s, w, "r1")
		defer stop()
		pass(5 * time.Second)
		expect(t, b) // nothing is served yet
		w.services(web(mesh.Healthy, 1), &mesh.Service{Name: "late"})
		x.Poke()
		pass(time.Second)
		expect(t, b, gapFirst, gapProxies, "service.registered service/web", "endpoint.added service/web")
		w.services(web(mesh.Unhealthy, 2))
		x.Poke()
		pass(200 * time.Millisecond)
		expect(t, b, "endpoint.unhealthy service/web")
		pass(time.Minute)
		expect(t, b)
		w.services()
		x.Poke()
		pass(time.Second)
		expect(t, b, "endpoint.removed service/web", "service.deregistered service/web")
		if x.Told() != 7 || x.Problem() != "" || !strings.HasPrefix(x.Source(), "/mesh/") {
			t.Errorf("%d told from %s, %s", x.Told(), x.Source(), x.Problem())
		}
	})
}

func TestARestartGoesOnWhereItEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s, w := newBox("A"), mem.New(), &world{}
		w.services(web(mesh.Healthy, 1))
		_, stop := run(t, b, s, w, "r1")
		pass(3 * time.Second)
		stop()
		b.heard(t)
		w.services(web(mesh.Draining, 2)) // meanwhile
		_, stop = run(t, b, s, w, "r1")
		defer stop()
		pass(3 * time.Second)
		expect(t, b, "endpoint.draining service/web")
	})
}

func TestALostOutboxSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := mem.New(), &world{}
		w.services(web(mesh.Healthy, 1))
		_, stop := run(t, newBox("A"), s, w, "r1")
		pass(3 * time.Second)
		stop()
		b := newBox("B")
		_, stop = run(t, b, s, w, "r1")
		defer stop()
		pass(3 * time.Second)
		expect(t, b, gapOther, gapProxies, "service.registered service/web", "endpoint.added service/web")
	})
}

func TestOneReplicaTellsAndAnotherTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, a, b := mem.New(), &world{}, newBox("A"), newBox("B")
		w.services(web(mesh.Healthy, 1))
		x, stopA := run(t, a, s, w, "r1")
		pass(3 * time.Second)
		y, stopB := run(t, b, s, w, "r2")
		pass(3 * time.Second)
		w.change(func(w *world) {
			w.Settled, w.Proxies = true, []facts.Proxy{{ID: "web-1", Replica: "r", ConnectedAt: time.Unix(1, 0), Sync: "synced"}}
		})
		w.services(web(mesh.Unhealthy, 2))
		x.Poke()
		y.Poke()
		pass(3 * time.Second)
		told := a.heard(t)
		if !slices.Contains(told, "endpoint.unhealthy service/web") {
			t.Errorf("the leader told %q", told)
		}
		expect(t, b, gapProxies, "proxy.connected proxy/web-1", "proxy.synced proxy/web-1") // its own alone
		stopA()
		w.services(web(mesh.Healthy, 3))
		pass(5 * time.Second)
		expect(t, b, gapOther, "service.registered service/web", "endpoint.added service/web")
		stopB()
		_, stopA = run(t, a, s, w, "r1")
		defer stopA()
		pass(5 * time.Second)
		expect(t, a, gapOther, "service.registered service/web", "endpoint.added service/web")
	})
}

// TestTheSameFactHasTheSameID on every replica, where the catalog counts.
func TestTheSameFactHasTheSameID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, a, b := mem.New(), &world{}, newBox("A"), newBox("B")
		w.services(web(mesh.Healthy, 7))
		ids := map[string]bool{}
		for _, one := range []*box{a, b} {
			_, stop := run(t, one, s, w, one.uid)
			pass(3 * time.Second)
			stop()
			for _, e := range one.log {
				if e.Type == events.EndpointAdded {
					ids[e.ID+e.Source] = true
				}
			}
		}
		if len(ids) != 1 {
			t.Errorf("ids %v", ids)
		}
	})
}

func TestTheSameStateAgainIsAnotherEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s, w := newBox("A"), mem.New(), &world{}
		x, stop := run(t, b, s, w, "r1")
		defer stop()
		for i := range 6 { // as a folder has it, without a count
			w.services(web(mesh.Health(i%2), 0))
			x.Poke()
			pass(time.Second)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		seen := map[string]bool{}
		for _, e := range b.log {
			if seen[e.ID] {
				t.Errorf("%s has the id of another", e.Type)
			}
			seen[e.ID] = true
		}
		if len(seen) != 2+2+5 {
			t.Errorf("%d events", len(seen))
		}
	})
}

func TestADiskThatFailsOnlyDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s, w := newBox("A"), mem.New(), &world{}
		b.failing(errors.New("no space left on device"))
		x, stop := run(t, b, s, w, "r1")
		defer stop()
		w.services(web(mesh.Healthy, 1))
		pass(3 * time.Second)
		if !strings.Contains(x.Problem(), "no space left") {
			t.Errorf("problem %q", x.Problem())
		}
		b.failing(nil)
		pass(3 * time.Second)
		b.heard(t)
		b.failing(errors.New("no space left on device"))
		w.services(web(mesh.Unhealthy, 2))
		pass(3 * time.Second)
		w.services(web(mesh.Draining, 3))
		pass(3 * time.Second)
		expect(t, b)
		b.failing(nil)
		pass(3 * time.Second)
		expect(t, b, "endpoint.draining service/web")
		if x.Problem() != "" {
			t.Errorf("problem %q", x.Problem())
		}
	})
}

func TestMissingProxiesMayComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s, w := newBox("A"), mem.New(), &world{}
		one := facts.Proxy{ID: "web-1", Replica: "r1", ConnectedAt: time.Unix(1, 0), Sync: "synced"}
		w.change(func(w *world) { w.Proxies = []facts.Proxy{one} })
		_, stop := run(t, b, s, w, "r1")
		pass(3 * time.Second)
		stop()
		b.heard(t)
		w.change(func(w *world) { w.Proxies = nil })
		_, stop = run(t, b, s, w, "r1")
		defer stop()
		pass(3 * time.Second)
		expect(t, b)
		w.change(func(w *world) { w.Settled = true })
		pass(3 * time.Second)
		expect(t, b, "proxy.disconnected proxy/web-1")
	})
}

func TestPoliciesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s, w := newBox("A"), mem.New(), &world{}
		key := policy.Key{Kind: "ResiliencePolicy", Namespace: "default", Name: "web"}
		x, stop := run(t, b, s, w, "r1")
		defer stop()
		accept := func(generation int64) {
			one := policy.Status{Key: key}
			one.Conditions = []policy.Condition{{Type: policy.ConditionAccepted, Status: policy.True, Reason: "Accepted", ObservedGeneration: generation}}
			w.change(func(w *world) { w.Statuses, w.status = []policy.Status{one}, map[policy.Key]policy.Status{key: one} })
		}
		inForce := func(generation int64, number uint64) {
			w.change(func(w *world) {
				w.Revision = policy.Revision{Number: number, Hash: strconv.FormatUint(number, 10), Documents: []*policy.Document{{Key: key, Generation: generation}}}
			})
		}
		inForce(1, 1)
		pass(3 * time.Second)
		expect(t, b, gapFirst, gapProxies, "policy.created policy/ResiliencePolicy/default/web")
		accept(1)
		x.Poke()
		pass(3 * time.Second)
		expect(t, b, "policy.accepted policy/ResiliencePolicy/default/web")
		w.change(func(w *world) { w.Statuses, w.status = nil, nil }) // not known for a while
		pass(3 * time.Second)
		accept(1)
		pass(3 * time.Second)
		expect(t, b)
		inForce(2, 2)
		accept(2)
		pass(3 * time.Second)
		expect(t, b, "policy.updated policy/ResiliencePolicy/default/web", "policy.accepted policy/ResiliencePolicy/default/web")
		w.change(func(w *world) { w.Revision, w.Statuses, w.status = policy.Revision{Number: 3}, nil, nil })
		pass(3 * time.Second)
		expect(t, b, "policy.deleted policy/ResiliencePolicy/default/web")
	})
}

// away is a store that does not answer for a while.
type away struct {
	*mem.Store
	mu   sync.Mutex
	gone bool
}

func (a *away) set(gone bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gone = gone
}

func (a *away) err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gone {
		return errors.New("connection refused")
	}
	return nil
}

func (a *away) Get(ctx context.Context, key string) (store.Entry, error) {
	if err := a.err(); err != nil {
		return store.Entry{}, err
	}
	return a.Store.Get(ctx, key)
}

func (a *away) Commit(ctx context.Context, ops ...store.Op) error {
	if err := a.err(); err != nil {
		return err
	}
	return a.Store.Commit(ctx, ops...)
}

func TestAStoreThatIsAwayOnlyDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s, w := newBox("A"), &away{Store: mem.New(), gone: true}, &world{}
		w.services(web(mesh.Healthy, 1))
		x := teller.New(teller.Config{Outbox: b, Lock: s, Store: s, World: w.read, Replica: "r1"})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- x.Run(ctx) }()
		pass(3 * time.Second)
		if !strings.Contains(x.Problem(), "connection refused") {
			t.Errorf("problem %q", x.Problem())
		}
		expect(t, b)
		s.set(false)
		pass(5 * time.Second)
		expect(t, b, gapFirst, gapProxies, "service.registered service/web", "endpoint.added service/web")
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
