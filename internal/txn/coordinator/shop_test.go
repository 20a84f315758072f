package coordinator_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/coordinator"
	"meshlite.dev/internal/txn/journal/journaltest"
)

func TestMain(m *testing.M) {
	if child() {
		return
	}
	goleak.VerifyTestMain(m)
}

// shop is where all participants of a test live. Its ledger says what each did;
// faults, what none of them may see.
type shop struct {
	// behave may keep a call waiting, answer a Prepare or fail another call; nil is
	// yes and done.
	behave func(ctx context.Context, call txn.Call, b coordinator.Branch) (coordinator.Answer, error)

	mu     sync.Mutex
	ledger map[string]string // "transaction/party": prepared, committed, rolled back
	inside map[string]int    // calls to one party that are on their way, by term
	calls  []string
	faults []string
}

func newShop() *shop { return &shop{ledger: map[string]string{}, inside: map[string]int{}} }

// stall is one participant of a shop.
type stall struct{ *shop }

func (s *shop) participant(txn.Tx, txn.Party) coordinator.Participant { return stall{s} }

var yes = coordinator.Answer{Vote: txn.Yes}

func (s stall) call(ctx context.Context, call txn.Call, b coordinator.Branch) (coordinator.Answer, error) {
	key := fmt.Sprint(b.Tx.ID, "/", b.Party.ID, " of ", b.Term)
	s.mu.Lock()
	s.calls = append(s.calls, fmt.Sprint(call, " ", b.Party.ID))
	if s.inside[key]++; s.inside[key] > 1 {
		s.faults = append(s.faults, "two calls at a time: "+key)
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.inside[key]--
		s.mu.Unlock()
	}()
	if s.behave == nil {
		return yes, nil
	}
	return s.behave(ctx, call, b)
}

// enter notes what a party did, and what it may not have been told.
func (s stall) enter(b coordinator.Branch, now string, refused ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := fmt.Sprint(b.Tx.ID, "/", b.Party.ID)
	if old := s.ledger[key]; slices.Contains(refused, old) {
		if now != "prepared" {
			s.faults = append(s.faults, fmt.Sprintf("%s was %s and is told: %s", key, old, now))
		}
		return &coordinator.RefusedError{Text: "it is " + old}
	} else if old != "committed" || now != "prepared" {
		s.ledger[key] = now
	}
	return nil
}

func (s stall) Prepare(ctx context.Context, b coordinator.Branch) coordinator.Answer {
	a, err := s.call(ctx, txn.CallPrepare, b)
	if a.Vote == txn.No {
		return a
	}
	if err := s.enter(b, "prepared", "rolled back"); err != nil {
		return coordinator.Answer{Vote: txn.No, Text: err.Error()}
	}
	if err != nil { // prepared, and the answer is lost
		return coordinator.Answer{Vote: txn.Abstain, Text: err.Error()}
	}
	return a
}

func (s stall) Commit(ctx context.Context, b coordinator.Branch) error {
	if _, err := s.call(ctx, txn.CallCommit, b); err != nil {
		return err
	}
	return s.enter(b, "committed", "rolled back")
}

func (s stall) Rollback(ctx context.Context, b coordinator.Branch) error {
	if _, err := s.call(ctx, txn.CallRollback, b); err != nil {
		return err
	}
	return s.enter(b, "rolled back", "committed")
}

func (s *shop) did() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

func (s *shop) entries() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.ledger)
}

func (s *shop) check(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		t.Error(f)
	}
}

// running is a coordinator and how to end it.
type running struct {
	*coordinator.Coordinator
	leave context.CancelFunc
	ended chan error
}

func config(s *shop, m *journaltest.Mem) coordinator.Config {
	c := coordinator.Default()
	c.Journal, c.Participant = m.Open(), s.participant
	return c
}

// start runs a coordinator until the test ends, or stop is called.
func start(t *testing.T, cfg coordinator.Config) *running {
	t.Helper()
	c, err := coordinator.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(context.Background())
	r := &running{c, leave, make(chan error, 1)}
	go func() { r.ended <- c.Run(ctx) }()
	t.Cleanup(func() { r.stop() })
	return r
}

func (r *running) stop() error {
	r.leave()
	err := <-r.ended
	r.ended <- err
	return err
}

func order(id txn.ID, parties ...string) coordinator.Request {
	r := coordinator.Request{ID: id, Kind: "test", Body: []byte("{}"), Rule: txn.AllYes{}, Timeout: 10 * time.Second}
	for _, p := range parties {
		r.Parties = append(r.Parties, txn.Party{ID: p})
	}
	return r
}

func (r *running) begin(t *testing.T, o coordinator.Request) {
	t.Helper()
	if _, err := r.Begin(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

func done(s txn.State) bool { return s.Phase == txn.Done }

// await waits until a transaction is as it shall be and checks its status.
func (r *running) await(t *testing.T, id txn.ID, until func(txn.State) bool, want txn.Status) coordinator.View {
	t.Helper()
	v, err := r.Await(t.Context(), id, until)
	if err != nil {
		t.Fatal(err)
	}
	if v.Status() != want {
		t.Fatalf("%s is %s (%s), want %s", id, v.Status(), v.Reason, want)
	}
	return v
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

var errAway = errors.New("connection refused")
