package coordinator_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/coordinator"
	"meshlite.dev/internal/txn/journal"
	"meshlite.dev/internal/txn/journal/journaltest"
)

// inBubble runs a test whose time passes only when everybody waits.
func inBubble(t *testing.T, test func(t *testing.T, s *shop, m *journaltest.Mem)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newShop()
		test(t, s, journaltest.NewMem())
		s.check(t)
	})
}

// pass lets time of the bubble pass.
func pass(d time.Duration) { <-time.After(d) }

func TestAllYesCommitsEverywhere(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, m *journaltest.Mem) {
		c := start(t, config(s, m))
		c.begin(t, order("t1", "a", "b"))
		v := c.await(t, "t1", done, txn.Committed)
		if got := s.entries(); got["t1/a"] != "committed" || got["t1/b"] != "committed" {
			t.Errorf("the ledger is %v", got)
		}
		if v.Ended.Before(v.Decided) || v.Decided.Before(v.Started) || v.Deadline.Sub(v.Started) != 10*time.Second {
			t.Errorf("started %v, deadline %v, decided %v, ended %v", v.Started, v.Deadline, v.Decided, v.Ended)
		}
		pass(time.Second) // of the bubble: what is written lazily is written
		var phases []string
		for _, r := range m.History() {
			phases = append(phases, r.Phase.String())
		}
		equal(t, "the journal has", phases, []string{"preparing", "committing", "done"})
	})
}

func TestOneNoRollsTheOthersBack(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, m *journaltest.Mem) {
		s.behave = func(_ context.Context, call txn.Call, b coordinator.Branch) (coordinator.Answer, error) {
			if b.Party.ID == "b" {
				pass(time.Second) // after a's yes
				return coordinator.Answer{Vote: txn.No, Text: "out of stock"}, nil
			}
			return yes, nil
		}
		c := start(t, config(s, m))
		c.begin(t, order("t1", "a", "b"))
		if v := c.await(t, "t1", done, txn.RolledBack); v.Reason != "b: out of stock" {
			t.Errorf("the reason is %q", v.Reason)
		}
		calls := s.did()
		slices.Sort(calls)
		equal(t, "calls", calls, []string{"prepare a", "prepare b", "rollback a"})
	})
}

func TestAPrepareThatDoesNotAnswerGetsItsRollback(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, m *journaltest.Mem) {
		s.behave = func(ctx context.Context, call txn.Call, b coordinator.Branch) (coordinator.Answer, error) {
			if b.Party.ID == "b" && call == txn.CallPrepare {
				<-ctx.Done()
				pass(time.Second) // it takes its time to come back: the roll-back waits for it
				return yes, errAway
			}
			return yes, nil
		}
		c := start(t, config(s, m))
		began := time.Now()
		c.begin(t, order("t1", "a", "b"))
		c.await(t, "t1", coordinator.Decided, txn.RolledBack)
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("decided after %s, want at the deadline", took)
		}
		c.await(t, "t1", done, txn.RolledBack)
		if got := s.entries()["t1/b"]; got != "rolled back" {
			t.Errorf("b is %s", got)
		}
	})
}

func TestTheDecisionIsRepeatedUntilDone(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, m *journaltest.Mem) {
		var tries []int
		began := time.Now()
		var at []time.Duration
		s.behave = func(_ context.Context, call txn.Call, b coordinator.Branch) (coordinator.Answer, error) {
			if b.Party.ID != "b" || call != txn.CallCommit {
				return yes, nil
			}
			tries, at = append(tries, b.Try), append(at, time.Since(began))
			if len(tries) < 14 {
				return yes, errAway
			}
			return yes, nil
		}
		c := start(t, config(s, m))
		c.begin(t, order("t1", "a", "b"))
		c.await(t, "t1", coordinator.Decided, txn.Committed)
		pass(10 * time.Second)
		v, err := c.Get(t.Context(), "t1")
		if f := v.Faults["b"]; err != nil || f.Call != txn.CallCommit || f.Tries < 4 || f.Text != errAway.Error() || len(v.Faults) != 1 {
			t.Errorf("after ten seconds the faults are %+v, %v", v.Faults, err)
		}
		v = c.await(t, "t1", done, txn.Committed)
		if len(v.Faults) != 0 || tries[0] != 1 || tries[13] != 14 {
			t.Errorf("at the end the faults are %+v, the tries were %v", v.Faults, tries)
		}
		for i := 1; i < len(at); i++ {
			pause := min(200*time.Millisecond<<(i-1), 30*time.Second)
			if got := at[i] - at[i-1]; got < pause/2 || got > pause*3/2 {
				t.Errorf("pause %d was %s; want %s, more or less", i, got, pause)
			}
		}
	})
}

func TestACallThatHangsIsCutAndRepeated(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, m *journaltest.Mem) {
		s.behave = func(ctx context.Context, call txn.Call, b coordinator.Branch) (coordinator.Answer, error) {
			if call == txn.CallRollback && b.Try == 1 {
				<-ctx.Done()
				return yes, ctx.Err()
			}
			return coordinator.Answer{Vote: txn.Vote(77)}, nil // no vote at all counts as none
		}
		c := start(t, config(s, m))
		began := time.Now()
		c.begin(t, order("t1", "a"))
		c.await(t, "t1", done, txn.RolledBack)
		if took := time.Since(began); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("it took %s; want the time of one call and a pause", took)
		}
	})
}

func TestARefusalIsShownUntilItIsHealedOrClosed(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, m *journaltest.Mem) {
		var blocked atomic.Bool
		blocked.Store(true)
		s.behave = func(_ context.Context, call txn.Call, b coordinator.Branch) (coordinator.Answer, error) {
			if call == txn.CallCommit && b.Party.ID == "b" && blocked.Load() {
				return yes, fmt.Errorf("call b: %w", &coordinator.RefusedError{Text: "card was blocked"})
			}
			return yes, nil
		}
		c := start(t, config(s, m))
		c.begin(t, order("t1", "a", "b"))
		v := c.await(t, "t1", coordinator.Settled, txn.Heuristic)
		if p, _ := v.Party("b"); p.Text != "card was blocked" || v.Phase != txn.Committing {
			t.Errorf("b is %+v in %s", p, v.Phase)
		}
		if _, err := c.Retry(t.Context(), "t1", "b"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		c.await(t, "t1", coordinator.Settled, txn.Heuristic)
		blocked.Store(false)
		if _, err := c.Retry(t.Context(), "t1", ""); err != nil {
			t.Fatal(err)
		}
		c.await(t, "t1", done, txn.Committed)

		blocked.Store(true)
		c.begin(t, order("t2", "a", "b"))
		c.await(t, "t2", coordinator.Settled, txn.Heuristic)
		if v, err := c.Resolve(t.Context(), "t2", "", "ann: paid by hand"); err != nil || v.Status() != txn.Heuristic || v.Phase != txn.Done {
			t.Errorf("resolved, it is %s in %s, %v", v.Status(), v.Phase, err)
		}
	})
}

func TestAGivenUpPartyIsCalledNoMore(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, m *journaltest.Mem) {
		s.behave = func(_ context.Context, call txn.Call, b coordinator.Branch) (coordinator.Answer, error) {
			if call == txn.CallCommit && b.Party.ID != "a" {
				return yes, errAway
			}
			return yes, nil
		}
		c := start(t, config(s, m))
		c.begin(t, order("t1", "a", "b", "c"))
		c.await(t, "t1", coordinator.Decided, txn.Committed)
		for _, party := range []string{"b", "c"} {
			if _, err := c.Resolve(t.Context(), "t1", party, "bob: gone"); err != nil {
				t.Fatal(err)
			}
			before := len(s.did())
			pass(5 * time.Minute)
			if more := s.did()[before:]; slices.Contains(more, "commit "+party) {
				t.Errorf("%s is still called: %d times", party, len(more))
			}
		}
		c.await(t, "t1", done, txn.Heuristic)
	})
}

func TestHoldApproveAndCancel(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, m *journaltest.Mem) {
		c := start(t, config(s, m))
		held := order("t1", "a")
		held.Hold = true
		c.begin(t, held)
		c.await(t, "t1", func(s txn.State) bool { return s.Ready }, txn.Pending)
		if v, err := c.Approve(t.Context(), "t1"); err != nil || v.Status() != txn.Committed {
			t.Errorf("approved, it is %s, %v", v.Status(), err)
		}
		if v, err := c.Cancel(t.Context(), "t1", "too late"); !errors.Is(err, coordinator.ErrDecided) || v.Status() != txn.Committed {
			t.Errorf("Cancel = %s, %v; want ErrDecided", v.Status(), err)
		}
		held.ID = "t2"
		c.begin(t, held)
		if v, err := c.Cancel(t.Context(), "t2", "ann"); err != nil || v.Status() != txn.RolledBack || v.Reason != "cancelled: ann" {
			t.Errorf("cancelled, it is %s (%s), %v", v.Status(), v.Reason, err)
		}
		if _, err := c.Approve(t.Context(), "t2"); !errors.Is(err, coordinator.ErrDecided) {
			t.Errorf("Approve = %v, want ErrDecided", err)
		}
		if _, err := c.Approve(t.Context(), "t3"); !errors.Is(err, coordinator.ErrUnknown) {
			t.Errorf("Approve = %v, want ErrUnknown", err)
		}
	})
}

func TestBeginIsIdempotentByContent(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, m *journaltest.Mem) {
		c := start(t, config(s, m))
		c.begin(t, order("t1", "a"))
		c.await(t, "t1", done, txn.Committed)
		if v, err := c.Begin(t.Context(), order("t1", "a")); err != nil || v.Status() != txn.Committed {
			t.Errorf("the same again is %s, %v", v.Status(), err)
		}
		if _, err := c.Begin(t.Context(), order("t1", "b")); !errors.Is(err, coordinator.ErrMismatch) {
			t.Errorf("another with the same id: %v, want ErrMismatch", err)
		}
		bad := order("", "a", "a")
		bad.Timeout = -time.Second
		_, err := c.Begin(t.Context(), bad)
		for _, want := range []string{"id: has 0 bytes", `parties[1].id: "a"`, "timeout: -1s: must be over 0s"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("bad input: %v; want %q in it", err, want)
			}
		}
		equal(t, "calls", s.did(), []string{"prepare a", "commit a"})
	})
}

func TestTooManyAreTurnedAway(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, m *journaltest.Mem) {
		cfg := config(s, m)
		cfg.MaxOpen = 2
		c := start(t, cfg)
		held := order("t1", "a")
		held.Hold = true
		c.begin(t, held)
		held.ID = "t2"
		c.begin(t, held)
		if _, err := c.Begin(t.Context(), order("t3", "a")); !errors.Is(err, coordinator.ErrBusy) {
			t.Fatalf("Begin = %v, want ErrBusy", err)
		}
		pass(11 * time.Second) // both are past their deadline
		c.begin(t, order("t3", "a"))
	})
}

func TestSerialTransactionsComeOneAfterTheOther(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, m *journaltest.Mem) {
		s.behave = func(_ context.Context, call txn.Call, b coordinator.Branch) (coordinator.Answer, error) {
			pass(time.Second)
			if call == txn.CallCommit && b.Tx.ID == "t1" {
				return yes, &coordinator.RefusedError{Text: "no"}
			}
			return yes, nil
		}
		cfg := config(s, m)
		cfg.Serial, cfg.MaxQueue = true, 3
		c := start(t, cfg)
		errs := make(chan error, 9)
		queue := func(ctx context.Context, id txn.ID) {
			go func() {
				_, err := c.Begin(ctx, order(id, "p"+string(id)))
				errs <- err
			}()
			synctest.Wait()
		}
		queue(t.Context(), "t1")
		hurried, leave := context.WithCancel(t.Context())
		queue(hurried, "t2")
		queue(t.Context(), "t3")
		queue(t.Context(), "t3") // the same once more
		queue(t.Context(), "t4") // one too many
		if err := errors.Join(<-errs, nil); err != nil {
			t.Fatal(err)
		}
		if err := <-errs; !errors.Is(err, coordinator.ErrBusy) {
			t.Fatalf("the fourth in the queue: %v, want ErrBusy", err)
		}
		leave()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Fatalf("the one that left: %v", err)
		}
		queue(t.Context(), "t5") // there is room again
		for range 3 {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
		c.await(t, "t5", done, txn.Committed)
		c.await(t, "t1", coordinator.Settled, txn.Heuristic) // which holds nobody up
		equal(t, "calls", s.did(), []string{"prepare pt1", "commit pt1", "prepare pt3", "commit pt3", "prepare pt5", "commit pt5"})
		if status, err := c.Status(t.Context(), "t2"); err != nil || status != txn.RolledBack {
			t.Errorf("t2 is %s, %v", status, err)
		}
	})
}

func TestNobodyIsToldWhatTheJournalDoesNotHave(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, m *journaltest.Mem) {
		full := errors.New("no space left on device")
		var fail atomic.Bool
		m.Before = func(records []txn.Record) error {
			if fail.Load() {
				return full
			}
			fail.Store(len(records) > 0 && records[0].Phase == txn.Preparing) // the next one, a decision
			return nil
		}
		c := start(t, config(s, m))
		c.begin(t, order("t1", "a", "b"))
		pass(time.Minute)
		if v, err := c.Get(t.Context(), "t1"); err != nil || v.Status() != txn.Pending {
			t.Errorf("it is %s, %v", v.Status(), err)
		}
		if calls := s.did(); len(calls) != 2 {
			t.Errorf("calls: %v", calls)
		}
		if err := c.Trouble(); !errors.Is(err, full) {
			t.Errorf("Trouble = %v", err)
		}
		fail.Store(false)
		c.await(t, "t1", done, txn.Committed)
		synctest.Wait()
		if err := c.Trouble(); err != nil {
			t.Errorf("Trouble = %v", err)
		}
	})
}

func TestWhoIsFencedStops(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, m *journaltest.Mem) {
		s.behave = func(_ context.Context, call txn.Call, b coordinator.Branch) (coordinator.Answer, error) {
			pass(time.Second)
			return yes, nil
		}
		old := start(t, config(s, m))
		old.begin(t, order("t1", "a", "b"))
		next := start(t, config(s, m))
		next.await(t, "t1", done, txn.RolledBack)
		if err := <-old.ended; !errors.Is(err, journal.ErrFenced) {
			t.Errorf("Run = %v, want ErrFenced", err)
		}
		old.ended <- nil
		for what, err := range map[string]error{
			"Get": second(old.Get(t.Context(), "t1")), "Status": second(old.Status(t.Context(), "t1")), "List": second(old.List(t.Context())),
			"Begin": second(old.Begin(t.Context(), order("t2", "a"))), "Cancel": second(old.Cancel(t.Context(), "t1", "x")), "Rejoin": old.Rejoin(t.Context(), "a"),
		} {
			if !errors.Is(err, coordinator.ErrStopped) {
				t.Errorf("%s = %v, want ErrStopped", what, err)
			}
		}
		if err := old.Run(t.Context()); err == nil {
			t.Error("it runs twice")
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestStopping(t *testing.T) {
	slow := func(s *shop) {
		s.behave = func(ctx context.Context, call txn.Call, b coordinator.Branch) (coordinator.Answer, error) {
			t := time.NewTimer(2 * time.Second)
			defer t.Stop()
			select {
			case <-t.C:
				return yes, nil
			case <-ctx.Done():
				return yes, ctx.Err()
			}
		}
	}
	for _, tc := range []struct {
		name  string
		grace time.Duration
		took  time.Duration
		want  txn.Status // by the next coordinator
	}{
		{"at once leaves everything to recovery", 0, 0, txn.RolledBack},
		{"with time enough drains", 10 * time.Second, 4 * time.Second, txn.Committed},
		{"after the decision leaves the calls to recovery", 3 * time.Second, 3 * time.Second, txn.Committed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *shop, m *journaltest.Mem) {
				slow(s)
				cfg := config(s, m)
				cfg.Grace = tc.grace
				c := start(t, cfg)
				c.begin(t, order("t1", "a", "b"))
				held := order("held", "c")
				held.Hold, held.Timeout = true, time.Hour
				c.begin(t, held)
				began := time.Now()
				c.leave()
				synctest.Wait()
				if _, err := c.Begin(t.Context(), order("t2", "a")); !errors.Is(err, coordinator.ErrStopped) {
					t.Errorf("Begin while it stops = %v, want ErrStopped", err)
				}
				if err := c.stop(); err != nil || time.Since(began) != tc.took {
					t.Errorf("Run = %v after %s; want nil after %s", err, time.Since(began), tc.took)
				}
				next := start(t, config(s, m))
				next.await(t, "t1", done, tc.want)
				next.await(t, "held", done, txn.RolledBack)
			})
		})
	}
}

func TestRecoveryGoesOnFromEveryPhase(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, m *journaltest.Mem) {
		var away atomic.Bool
		away.Store(true)
		s.behave = func(ctx context.Context, call txn.Call, b coordinator.Branch) (coordinator.Answer, error) {
			switch {
			case b.Tx.ID == "voting" && call == txn.CallPrepare && b.Party.ID == "b":
				<-ctx.Done()
				return yes, ctx.Err()
			case b.Tx.ID == "aborting" && call == txn.CallPrepare && b.Party.ID == "b":
				return coordinator.Answer{Vote: txn.No}, nil
			case call != txn.CallPrepare && b.Party.ID == "a" && b.Tx.ID != "finished" && away.Load():
				return yes, errAway
			}
			return yes, nil
		}
		c := start(t, config(s, m))
		for _, id := range []txn.ID{"voting", "aborting", "committing", "finished"} {
			c.begin(t, order(id, "a", "b"))
		}
		pass(time.Second)
		if err := c.stop(); err != nil {
			t.Fatal(err)
		}
		before := len(s.did())
		away.Store(false)
		var changes []string
		cfg := config(s, m)
		cfg.Observe = func(before, after txn.State) {
			changes = append(changes, fmt.Sprintf("%s %s to %s", after.ID, before.Phase, after.Phase))
		}
		next := start(t, cfg)
		for id, want := range map[txn.ID]txn.Status{"voting": txn.RolledBack, "aborting": txn.RolledBack, "committing": txn.Committed, "finished": txn.Committed} {
			next.await(t, id, done, want)
		}
		calls := s.did()[before:]
		slices.Sort(calls)
		equal(t, "calls", calls, []string{"commit a", "rollback a", "rollback a", "rollback b"})
		views, err := next.List(t.Context())
		if err != nil || len(views) != 4 {
			t.Errorf("List = %d, %v", len(views), err)
		}
		if slices.ContainsFunc(changes, func(c string) bool { return strings.HasPrefix(c, "finished") }) || !slices.Contains(changes, "voting preparing to aborting") {
			t.Errorf("the observer heard %q", changes)
		}
	})
}

func TestAJournalOfAnotherPastIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, m *journaltest.Mem) {
		h := ahead{m.Open()}
		cfg := config(s, m)
		cfg.Journal = h
		c := start(t, cfg)
		if err := <-c.ended; err == nil || !strings.Contains(err.Error(), "its record has term 7, and the next is only 1") {
			t.Errorf("Run = %v", err)
		}
		c.ended <- nil
	})
}

// ahead has a record of a term that has not been.
type ahead struct{ journal.Journal }

func (a ahead) Recover(ctx context.Context) (uint64, []txn.Record, error) {
	term, _, err := a.Journal.Recover(ctx)
	return term, []txn.Record{journaltest.Record("a", 7, 1)}, err
}

func TestWhatEndedIsForgottenInTime(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, m *journaltest.Mem) {
		cfg := config(s, m)
		cfg.MaxDone = 3
		var heard []string // in the goroutine of Run, before what is read below
		tell := func(cfg *coordinator.Config) {
			cfg.Recovered = func(all []txn.Record) {
				for _, r := range all {
					heard = append(heard, "recovered "+string(r.ID))
				}
			}
			cfg.Forgot = func(id txn.ID) { heard = append(heard, "forgot "+string(id)) }
		}
		tell(&cfg)
		c := start(t, cfg)
		for i := range 5 {
			c.begin(t, order(txn.ID(fmt.Sprint("t", i)), "a"))
			pass(time.Minute)
		}
		remembered := func(c *running) (ids []string) {
			views, err := c.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range views {
				ids = append(ids, string(v.ID))
			}
			return ids
		}
		equal(t, "the newest are remembered", remembered(c), []string{"t2", "t3", "t4"})
		gone := make(chan error, 1)
		go func() {
			_, err := c.Await(t.Context(), "t2", func(txn.State) bool { return false })
			gone <- err
		}()
		if err := c.stop(); err != nil {
			t.Fatal(err)
		}
		if err := <-gone; !errors.Is(err, coordinator.ErrStopped) {
			t.Errorf("Await at the end = %v", err)
		}
		equal(t, "heard", heard, []string{"forgot t0", "forgot t1"})
		heard = nil
		cfg = config(s, m)
		tell(&cfg)
		c = start(t, cfg)
		equal(t, "after a restart", remembered(c), []string{"t2", "t3", "t4"})
		go func() {
			_, err := c.Await(t.Context(), "t2", func(txn.State) bool { return false })
			gone <- err
		}()
		pass(14*time.Minute + 30*time.Second) // since the restart
		c.begin(t, order("t5", "a"))
		equal(t, "after a while", remembered(c), []string{"t2", "t3", "t4", "t5"})
		pass(time.Minute)
		equal(t, "after a while more", remembered(c), []string{"t5"})
		if err := <-gone; !errors.Is(err, coordinator.ErrUnknown) {
			t.Errorf("Await of one that is forgotten = %v", err)
		}
		if status, err := c.Status(t.Context(), "t2"); err != nil || status != txn.RolledBack {
			t.Errorf("Status = %s, %v", status, err)
		}
		if _, err := c.Get(t.Context(), "t2"); !errors.Is(err, coordinator.ErrUnknown) {
			t.Errorf("Get = %v, want ErrUnknown", err)
		}
		pass(time.Hour)
		if err := c.stop(); err != nil {
			t.Fatal(err)
		}
		equal(t, "heard", heard, []string{"recovered t2", "recovered t3", "recovered t4", "forgot t2", "forgot t3", "forgot t4", "forgot t5"})
		if _, records, err := m.Open().Recover(t.Context()); err != nil || len(records) != 0 {
			t.Errorf("at last the journal has %d records, %v", len(records), err)
		}
	})
}

func TestAPartyThatIsBackIsToldAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, m *journaltest.Mem) {
		var away atomic.Bool
		away.Store(true)
		s.behave = func(_ context.Context, call txn.Call, b coordinator.Branch) (coordinator.Answer, error) {
			if call == txn.CallCommit && b.Party.ID == "b" && away.Load() {
				return yes, errAway
			}
			return yes, nil
		}
		cfg := config(s, m)
		cfg.Backoff = time.Hour
		cfg.MaxBackoff = time.Hour
		c := start(t, cfg)
		c.begin(t, order("t1", "a", "b"))
		c.await(t, "t1", coordinator.Decided, txn.Committed)
		synctest.Wait()
		away.Store(false)
		began := time.Now()
		if err := errors.Join(c.Rejoin(t.Context(), "nobody"), c.Rejoin(t.Context(), "b")); err != nil {
			t.Fatal(err)
		}
		c.await(t, "t1", done, txn.Committed)
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

func TestALateYesOfWhatIsOverGetsItsRollback(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, m *journaltest.Mem) {
		s.behave = func(_ context.Context, call txn.Call, b coordinator.Branch) (coordinator.Answer, error) {
			return coordinator.Answer{Vote: txn.Abstain}, nil
		}
		c := start(t, config(s, m))
		c.begin(t, order("t1", "a"))
		c.await(t, "t1", done, txn.RolledBack)
		if _, err := c.Vote(t.Context(), "t1", "a", yes); err != nil {
			t.Fatal(err)
		}
		c.await(t, "t1", done, txn.RolledBack)
		equal(t, "calls", s.did(), []string{"prepare a", "rollback a", "rollback a"})
		pass(20 * time.Minute) // it is forgotten once, not before its second end
		if views, err := c.List(t.Context()); err != nil || len(views) != 0 {
			t.Errorf("List = %d, %v", len(views), err)
		}
	})
}

func TestManyShareOneWrite(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, m *journaltest.Mem) {
		writes := 0
		m.Before = func([]txn.Record) error {
			writes++
			pass(5 * time.Millisecond) // a disk
			return nil
		}
		c := start(t, config(s, m))
		errs := make(chan error, 200)
		for i := range cap(errs) {
			go func() {
				id := txn.ID(fmt.Sprint("t", i))
				_, err := c.Begin(t.Context(), order(id, "a", "b", "c"))
				if err == nil {
					_, err = c.Await(t.Context(), id, done)
				}
				errs <- err
			}()
		}
		for range cap(errs) {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
		if writes > 10 {
			t.Errorf("%d writes for %d transactions", writes, cap(errs))
		}
	})
}

func TestTheObserverHearsOfEachChangeOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, m *journaltest.Mem) {
		var changes []string
		cfg := config(s, m)
		cfg.Observe = func(before, after txn.State) {
			changes = append(changes, fmt.Sprintf("%s to %s", before.Phase, after.Phase))
		}
		c := start(t, cfg)
		c.begin(t, order("t1", "a"))
		c.await(t, "t1", done, txn.Committed)
		c.begin(t, order("t1", "a"))
		if _, err := c.Retry(t.Context(), "t1", ""); err != nil {
			t.Fatal(err)
		}
		equal(t, "changes", changes, []string{"unbegun to preparing", "preparing to committing", "committing to done"})
	})
}

func TestConfigFaultsAreNamedTogether(t *testing.T) {
	_, err := coordinator.New(coordinator.Config{Backoff: time.Second, Grace: -1, Retention: -1})
	for _, want := range []string{"journal: is missing", "participant: is missing", "maxQueue: 0", "maxOpen: 0", "maxDone: 0", "retention: -1ns", "callTimeout: 0s", "maxBackoff: 0s: must be at least backoff, 1s", "grace: -1ns"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v; want %q in it", err, want)
		}
	}
}
