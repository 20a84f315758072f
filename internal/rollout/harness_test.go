package rollout_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"meshlite.dev/internal/admin"
	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/revision"
	"meshlite.dev/internal/rollout"
	"meshlite.dev/internal/store/mem"
	"meshlite.dev/internal/txn/journal"
	"meshlite.dev/internal/txn/journal/journaltest"
)

var _ admin.Rollouts = (*rollout.Manager)(nil)

// doc is a document that asks for a number of attempts.
func doc(name string, attempts int) string {
	return fmt.Sprintf("apiVersion: meshlite.dev/v1alpha1\nkind: ResiliencePolicy\nmetadata: {name: %s}\nspec:\n  targetRefs: [{kind: Service, name: %s}]\n  retry: {attempts: %d}\n", name, name, attempts)
}

// holding is the proposal of a carrier that holds these documents.
func holding(docs ...string) policy.Proposal {
	var parts []policy.Proposal
	for i, text := range docs {
		parts = append(parts, policy.Decode(fmt.Sprintf("%d.yaml", i), []byte(text)))
	}
	return policy.Join(parts...)
}

// pins writes a revision's documents with their generations and attempts.
func pins(r policy.Revision) string {
	var out []string
	for _, d := range r.Documents {
		out = append(out, fmt.Sprintf("%s@%d=%d", d.Name, d.Generation, *d.Resilience.Retry.Attempts))
	}
	return strings.Join(out, " ")
}

// fleet is a double: proxies that answer by what the candidate holds.
type fleet struct {
	mu       sync.Mutex
	voters   []rollout.Voter
	refuses  func(proxy string, d *policy.Document) string // Envoy's words; "" is a yes
	silent   map[string]bool
	stuck    map[string]bool // refuse what is in force already
	polled   int
	rejected []rollout.ProxyRefusal // after the commit
	slow     time.Duration          // until it takes a revision
	followed []string               // after the commit
	trying   []string
	tried    string // what was served on trial
	calls    map[string]rollout.Calls
}

func (f *fleet) Stage(_ context.Context, _ string, base, candidate policy.Revision) (rollout.Ballots, error) {
	return &box{f, base, candidate}, nil
}

func (f *fleet) Uptake(_ policy.Revision, since time.Time, among []string) rollout.Uptake {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.followed = among
	if time.Since(since) < f.slow {
		return rollout.Uptake{Proxies: len(f.voters)}
	}
	return rollout.Uptake{Published: true, Proxies: len(f.voters), Acked: len(f.voters) - len(f.rejected), Refused: f.rejected}
}

func (f *fleet) Running() adminapi.RevisionUptake {
	f.mu.Lock()
	defer f.mu.Unlock()
	return adminapi.RevisionUptake{Connected: len(f.voters), Running: len(f.voters) - len(f.rejected), Refusing: len(f.rejected)}
}

func (f *fleet) set(edit func(*fleet)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	edit(f)
}

type box struct {
	*fleet
	base, candidate policy.Revision
}

func (b *box) Serve(proxies []string) func() {
	b.set(func(f *fleet) { f.trying, f.tried = proxies, pins(b.candidate) })
	return func() { b.set(func(f *fleet) { f.trying = nil }) }
}

func (b *box) Calls() map[string]rollout.Calls {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.calls)
}

func (b *box) Voters() []rollout.Voter { return b.voters }

func (b *box) Poll(ctx context.Context, proxy string) rollout.Vote {
	b.mu.Lock()
	b.polled++
	silent, stuck, refuses := b.silent[proxy], b.stuck[proxy], b.refuses
	b.mu.Unlock()
	if silent {
		<-ctx.Done()
		return rollout.Vote{Text: "no answer"}
	}
	var no rollout.Vote
	for _, key := range revision.Changed(b.base, b.candidate) {
		for _, d := range b.candidate.Documents {
			if d.Key != key || refuses == nil {
				continue
			}
			if words := refuses(proxy, d); words != "" {
				no.Refusals = append(no.Refusals, rollout.Refusal{Type: "RDS", Resource: d.Name, Policies: []string{d.Ref().String()}, Message: words})
			}
		}
	}
	if no.Refusals != nil {
		if stuck {
			no.Excused = "refuses that of what is in force already"
		}
		return no
	}
	return rollout.Vote{Yes: true}
}

// world is a server's rollouts with all that outlives them.
type world struct {
	t       *testing.T
	store   *mem.Store
	journal *journaltest.Mem
	fleet   *fleet
	cfg     func(*rollout.Config)

	m    *rollout.Manager
	stop func()

	mu    sync.Mutex
	used  []string
	stall time.Time // until when it takes no commands of others
}

func newWorld(t *testing.T, proxies int, cfg func(*rollout.Config)) *world {
	w := &world{t: t, store: mem.New(), journal: journaltest.NewMem(), fleet: &fleet{silent: map[string]bool{}}, cfg: cfg}
	for i := range proxies {
		w.fleet.voters = append(w.fleet.voters, rollout.Voter{ID: fmt.Sprintf("envoy-%d", i), Service: "web", Build: "1.37"})
	}
	return w
}

// start runs the manager; a manager that ran before must be stopped.
func (w *world) start() {
	cfg := rollout.Config{
		Keeper: revision.New(w.store), Store: w.store, Fleet: w.fleet, Settings: adminapi.DefaultRolloutSettings(),
		VoteTimeout: 10 * time.Second, Carrier: "dir", Replica: "one",
		Lead: func(ctx context.Context, do func(context.Context, journal.Journal)) { do(ctx, w.journal.Open()) },
		Use: func(rev policy.Revision) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if text := pins(rev); len(w.used) == 0 || w.used[len(w.used)-1] != text {
				w.used = append(w.used, text)
			}
		},
	}
	if w.cfg != nil {
		w.cfg(&cfg)
	}
	w.m = rollout.New(cfg)
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.m.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("run: %v", err)
		}
	}
}

// propose hands over what the carrier holds, and lets all settle that does at once.
func (w *world) propose(docs ...string) {
	w.m.Propose(holding(docs...))
	w.settle(100 * time.Millisecond)
}

func (w *world) settle(d time.Duration) {
	<-time.After(d) // the bubble's clock
	synctest.Wait()
}

func (w *world) inForce() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.used) == 0 {
		return ""
	}
	return w.used[len(w.used)-1]
}

func (w *world) all() adminapi.Rollouts {
	w.t.Helper()
	out, err := w.m.Rollouts(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// newest is the rollout that began last.
func (w *world) newest() adminapi.Rollout {
	w.t.Helper()
	all := w.all()
	if len(all.Items) == 0 {
		w.t.Fatal("there is no rollout")
	}
	return all.Items[0]
}

// expect checks what serves, and how the newest rollout stands.
func (w *world) expect(inForce, state, phase string) {
	w.t.Helper()
	r := w.newest()
	if got := w.inForce(); got != inForce || r.State != state || r.Phase != phase {
		w.t.Errorf("serves %q, rollout %s %s %q (%s); want %q, %s %q", got, r.ID, r.State, r.Phase, r.Reason, inForce, state, phase)
	}
}

// run is a test in a bubble of its own clock.
func run(t *testing.T, proxies int, cfg func(*rollout.Config), test func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, proxies, cfg)
		w.start()
		test(w)
		w.stop()
	})
}

// refusing says no to a number of attempts of a document.
func refusing(name string, attempts int) func(string, *policy.Document) string {
	return func(_ string, d *policy.Document) string {
		if d.Name == name && int(*d.Resilience.Retry.Attempts) == attempts {
			return "attempts must not be " + fmt.Sprint(attempts)
		}
		return ""
	}
}

func pinnedNames(all adminapi.Rollouts) []string {
	var out []string
	for _, p := range all.Pinned {
		out = append(out, fmt.Sprintf("%s@%d", p.Document[strings.LastIndex(p.Document, "/")+1:], p.Generation))
	}
	slices.Sort(out)
	return out
}
