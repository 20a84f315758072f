package report_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/pmap"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/revision"
	"meshlite.dev/internal/status"
	"meshlite.dev/internal/status/report"
	"meshlite.dev/internal/store/mem"
	"meshlite.dev/internal/xds/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// replica is a reporter with a fleet that the test moves by hand.
type replica struct {
	*report.Reporter
	t    *testing.T
	stop context.CancelFunc
	done chan struct{}

	mu      sync.Mutex
	rev     policy.Revision
	result  compile.Result
	ready   bool
	fleet   server.Uptake            // of every document
	own     map[string]server.Uptake // of some, by label
	settle  int
	surveys int
	changes []string
	carries status.Deliveries
}

// deliveries implements report.Config.Deliveries.
func (r *replica) deliveries() status.Deliveries {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.carries
}

// deliver sets what it says of the subscription s.
func (r *replica) deliver(reason, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.carries = status.Deliveries{subscription: {Reason: reason, Message: message}}
}

// Survey implements report.Fleet.
func (r *replica) Survey(q *server.Inquiry) server.Survey {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.surveys++
	out := server.Survey{Connected: r.fleet.Proxies, Settling: r.settle}
	for _, l := range q.Labels() {
		u := r.fleet
		if o, ok := r.own[l.Policy]; ok {
			u = o
		}
		u.Labelled = true
		out.Uptakes = append(out.Uptakes, u)
	}
	return out
}

func (r *replica) view() (compile.Result, policy.Revision, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.result, r.rev, r.ready
}

// start runs a replica on a store that others may share.
func start(t *testing.T, shared *mem.Store, sink policy.StatusSink) *replica {
	r := &replica{t: t, done: make(chan struct{}), fleet: server.Uptake{Proxies: 2, Running: 2}}
	cfg := report.Config{View: r.view, Fleet: r, Sink: sink, Deliveries: r.deliveries, Changed: func(before, now policy.Status) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.changes = append(r.changes, now.Name)
	}}
	if shared != nil {
		cfg.Lock, cfg.Board = shared, shared
	}
	r.Reporter = report.New(cfg)
	ctx, stop := context.WithCancel(t.Context())
	r.stop = stop
	go func() {
		defer close(r.done)
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	return r
}

func (r *replica) end() {
	r.stop()
	<-r.done
}

// serve puts policies in force, one a service.
func (r *replica) serve(number uint64, attempts map[string]int) {
	var docs []string
	services := map[string]*catalog.Service{}
	for name, n := range attempts {
		docs = append(docs, fmt.Sprintf("apiVersion: meshlite.dev/v1alpha1\nkind: ResiliencePolicy\nmetadata: {name: %s}\nspec: {targetRefs: [{kind: Service, name: %s}], retry: {attempts: %d}}\n", name, name, n))
		services[name] = &catalog.Service{Name: name, Protocol: mesh.HTTP1, Synced: true}
	}
	r.mu.Lock()
	r.rev = revision.Decide(r.rev, policy.Decode("test.yaml", []byte(strings.Join(docs, "---\n"))))
	r.rev.Number = number
	r.result = compile.Full(compile.Default(), catalog.Snapshot{Services: pmap.From(services), Changed: slices.Sorted(maps.Keys(services))}, r.rev)
	r.ready = true
	r.mu.Unlock()
	r.Documents()
}

func (r *replica) proxies(u server.Uptake) {
	r.mu.Lock()
	r.fleet = u
	r.mu.Unlock()
	r.Proxies()
}

func (r *replica) asked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.surveys
}

// tells is Enforced of a document as it is told.
func (r *replica) tells(name string) string {
	s, ok := r.Statuses().Of(policy.Key{Kind: policy.KindResiliencePolicy, Namespace: "default", Name: name})
	if !ok {
		return "nothing"
	}
	return enforcedOf(s)
}

func enforcedOf(s policy.Status) string {
	for _, c := range s.Conditions {
		if c.Type == policy.ConditionEnforced {
			return fmt.Sprintf("%s/%s@%d: %s", c.Status, c.Reason, c.ObservedGeneration, c.Message)
		}
	}
	return "no condition"
}

func (r *replica) expect(name, want string) {
	r.t.Helper()
	if got := r.tells(name); got != want {
		r.t.Errorf("%s: told %q, want %q", name, got, want)
	}
}

// sink keeps statuses in memory.
type sink struct {
	mu     sync.Mutex
	has    map[policy.Key]policy.Status
	writes int // of single statuses
	calls  int
	reads  int
	fail   error
}

func newSink() *sink { return &sink{has: map[policy.Key]policy.Status{}} }

func (s *sink) WriteStatus(_ context.Context, all []policy.Status) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.fail != nil {
		return s.fail
	}
	for _, one := range all {
		s.has[one.Key] = one
		s.writes++
	}
	return nil
}

func (s *sink) ReadStatus(context.Context) ([]policy.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	return slices.Collect(maps.Values(s.has)), s.fail
}

func (s *sink) RemoveStatus(_ context.Context, keys []policy.Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range keys {
		delete(s.has, k)
	}
	return s.fail
}

func (s *sink) expect(t *testing.T, writes int, name, want string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	got := "nothing"
	if one, ok := s.has[policy.Key{Kind: policy.KindResiliencePolicy, Namespace: "default", Name: name}]; ok {
		got = enforcedOf(one)
	}
	if got != want || s.writes != writes {
		t.Errorf("%s: written %q, %d writes; want %q, %d", name, got, s.writes, want, writes)
	}
}

func pass(d time.Duration) {
	<-time.After(d) // the bubble's clock
	synctest.Wait()
}

const running = "True/Enforced@1: 2/2 proxies acknowledged revision 1"

func TestTransitionsAreWrittenAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := newSink()
		r := start(t, mem.New(), out)
		defer r.end()
		pass(5 * time.Second)
		if r.Statuses() != nil {
			t.Error("statuses before anything is served")
		}
		r.serve(1, map[string]int{"a": 1, "b": 1})
		pass(3 * time.Second)
		r.expect("a", running)
		out.expect(t, 2, "a", running)

		for i := range 50 { // the fleet grows: told, not written
			r.proxies(server.Uptake{Proxies: 3 + i, Running: 3 + i})
			pass(500 * time.Millisecond)
		}
		r.expect("a", "True/Enforced@1: 52/52 proxies acknowledged revision 1")
		out.expect(t, 2, "a", running)

		r.proxies(server.Uptake{Proxies: 2, Running: 1, Refusing: 1, Refusals: []server.Refusal{{Proxy: "web-3", Message: "bad"}}})
		pass(3 * time.Second)
		out.expect(t, 4, "b", "False/RejectedByProxies@1: 1/2 proxies acknowledged revision 1; web-3: bad")
		r.proxies(server.Uptake{Proxies: 2, Running: 1, Refusing: 1, Refusals: []server.Refusal{{Proxy: "web-4", Message: "worse"}}})
		pass(3 * time.Second)
		out.expect(t, 4, "b", "False/RejectedByProxies@1: 1/2 proxies acknowledged revision 1; web-3: bad")
		pass(15 * time.Second) // other words that stand are written, once
		out.expect(t, 6, "b", "False/RejectedByProxies@1: 1/2 proxies acknowledged revision 1; web-4: worse")

		r.proxies(server.Uptake{Proxies: 2, Running: 2})
		pass(3 * time.Second)
		out.expect(t, 8, "b", running)
		r.serve(2, map[string]int{"a": 1})
		pass(3 * time.Second)
		out.expect(t, 8, "b", "nothing")
		r.serve(3, map[string]int{"a": 2})
		pass(3 * time.Second)
		out.expect(t, 9, "a", "True/Enforced@2: 2/2 proxies acknowledged revision 3")
		if got := fmt.Sprint(r.changes); got != "[a b a b a]" {
			t.Errorf("watchers heard of %s", got)
		}
	})
}

// A proxy that starts, and all of them reconnecting, are no news.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := newSink()
		r := start(t, mem.New(), out)
		defer r.end()
		r.serve(1, map[string]int{"a": 1})
		pass(2 * time.Minute)
		r.proxies(server.Uptake{})
		pass(9 * time.Second)
		r.expect("a", running)
		r.proxies(server.Uptake{Proxies: 2, Running: 1, Late: []string{"p"}})
		pass(3 * time.Second)
		r.expect("a", "False/PartiallyEnforced@1: 1/2 proxies acknowledged revision 1; waiting for p")
		r.proxies(server.Uptake{Proxies: 2, Running: 2})
		pass(3 * time.Second)
		r.proxies(server.Uptake{})
		pass(20 * time.Second)
		r.expect("a", "Unknown/NoProxies@1: no proxy is connected that is sent anything of it")
	})
}

// A restart finds what stands written and writes nothing, while the proxies
// come back; and the time of the conditions stays.
func TestARestartRewritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared, out := mem.New(), newSink()
		r := start(t, shared, out)
		r.serve(1, map[string]int{"a": 1, "b": 1})
		pass(3 * time.Second)
		out.expect(t, 2, "a", running)
		before := out.has[policy.Key{Kind: policy.KindResiliencePolicy, Namespace: "default", Name: "a"}]
		r.end()

		pass(time.Hour)
		r = start(t, shared, out)
		defer r.end()
		r.proxies(server.Uptake{})
		r.serve(1, map[string]int{"a": 1, "b": 1})
		pass(40 * time.Second)
		r.expect("a", running)
		r.proxies(server.Uptake{Proxies: 2, Running: 2})
		pass(2 * time.Minute)
		out.expect(t, 2, "a", running)
		now, _ := r.Statuses().Of(before.Key)
		for i, c := range now.Conditions {
			if !c.LastTransitionTime.Equal(&before.Conditions[i].LastTransitionTime) {
				t.Errorf("%s changed at %s, not at %s", c.Type, c.LastTransitionTime, before.Conditions[i].LastTransitionTime)
			}
		}
		r.proxies(server.Uptake{})
		pass(time.Minute)
		out.expect(t, 4, "a", "Unknown/NoProxies@1: no proxy is connected that is sent anything of it")
	})
}

// Two replicas tell the same sum, one of them writes, and the other takes over
// without rewriting.
func TestReplicasSumAndHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared, out := mem.New(), newSink()
		a := start(t, shared, out)
		synctest.Wait() // it has the lock
		b := start(t, shared, out)
		defer b.end()
		b.proxies(server.Uptake{Proxies: 3, Running: 2, Refusing: 1, Refusals: []server.Refusal{{Proxy: "web-3", Message: "bad"}}})
		for _, r := range []*replica{a, b} {
			r.serve(1, map[string]int{"a": 1})
		}
		pass(15 * time.Second)
		const sum = "False/RejectedByProxies@1: 4/5 proxies acknowledged revision 1; web-3: bad"
		a.expect("a", sum)
		b.expect("a", sum)
		out.mu.Lock()
		writes := out.writes
		out.mu.Unlock()
		out.expect(t, writes, "a", sum)

		// The one that writes goes; its proxies connect to the other.
		a.end()
		b.proxies(server.Uptake{Proxies: 5, Running: 4, Refusing: 1, Refusals: []server.Refusal{{Proxy: "web-3", Message: "bad"}}})
		pass(30 * time.Second)
		b.expect("a", sum)
		out.expect(t, writes, "a", sum)
		if out.reads != 2 {
			t.Errorf("what stands written was read %d times", out.reads)
		}
		b.proxies(server.Uptake{Proxies: 5, Running: 5})
		pass(5 * time.Second)
		out.expect(t, writes+1, "a", "True/Enforced@1: 5/5 proxies acknowledged revision 1")
	})
}

// The proxies of a replica that has not reached a version are waited for.
func TestAReplicaThatIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := mem.New()
		a, b := start(t, shared, newSink()), start(t, shared, newSink())
		defer a.end()
		defer b.end()
		for _, r := range []*replica{a, b} {
			r.serve(1, map[string]int{"a": 1, "b": 1})
		}
		pass(5 * time.Second)
		a.serve(2, map[string]int{"a": 2, "b": 1})
		pass(5 * time.Second)
		a.expect("a", "False/PartiallyEnforced@2: 2/4 proxies acknowledged revision 2; waiting for 2")
		a.expect("b", "True/Enforced@1: 4/4 proxies acknowledged revision 2")
		b.serve(2, map[string]int{"a": 2, "b": 1})
		pass(5 * time.Second)
		a.expect("a", "True/Enforced@2: 4/4 proxies acknowledged revision 2")
	})
}

// A sink that fails is tried again, and nothing is lost meanwhile.
func TestASinkThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := newSink()
		out.fail = errors.New("away")
		r := start(t, mem.New(), out)
		defer r.end()
		r.serve(1, map[string]int{"a": 1})
		pass(time.Minute)
		r.expect("a", running) // the API tells all the same
		if out.reads < 3 || out.reads > 10 {
			t.Errorf("%d reads in a minute", out.reads)
		}
		out.mu.Lock()
		out.fail = nil
		out.mu.Unlock()
		pass(time.Minute)
		out.expect(t, 1, "a", running)
		out.mu.Lock()
		out.fail = errors.New("away")
		out.mu.Unlock()
		r.serve(2, map[string]int{"a": 2})
		pass(time.Minute)
		if out.calls > 12 {
			t.Errorf("%d writes of a sink that is away", out.calls)
		}
		out.mu.Lock()
		out.fail = nil
		out.mu.Unlock()
		pass(time.Minute)
		out.expect(t, 2, "a", "True/Enforced@2: 2/2 proxies acknowledged revision 2")
	})
}

// However much happens, the fleet is asked a few times a second, and not at all
// when nothing happens.
func TestSurveysAreGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, nil, nil)
		defer r.end()
		r.serve(1, map[string]int{"a": 1})
		pass(time.Second)
		was := r.asked()
		for range 1000 {
			r.Proxies()
			<-time.After(10 * time.Millisecond)
		}
		synctest.Wait()
		if n := r.asked() - was; n > 45 {
			t.Errorf("%d surveys in ten seconds", n)
		}
		pass(time.Second)
		was = r.asked()
		pass(time.Hour)
		if n := r.asked() - was; n != 0 {
			t.Errorf("%d surveys though nothing happened", n)
		}
	})
}

func TestCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, nil, nil)
		defer r.end()
		r.mu.Lock()
		r.own = map[string]server.Uptake{"rp/default/b@1": {Proxies: 1}}
		r.mu.Unlock()
		r.serve(1, map[string]int{"a": 1, "b": 1, "c": 1})
		pass(time.Second)
		counts := r.Statuses().Counts()
		for c, want := range map[report.Count]int{
			{Condition: policy.ConditionAccepted, Status: policy.True}:    3,
			{Condition: policy.ConditionEnforced, Status: policy.True}:    2,
			{Condition: policy.ConditionEnforced, Status: policy.False}:   1,
			{Condition: policy.ConditionEnforced, Status: policy.Unknown}: 0,
		} {
			if counts[c] != want {
				t.Errorf("%v: %d, want %d", c, counts[c], want)
			}
		}
	})
}
