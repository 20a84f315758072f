package coordinator_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/coordinator"
	"meshlite.dev/internal/txn/journal"
	"meshlite.dev/internal/txn/journal/journaltest"
)

// TestCoordinatorsThatComeAndGo has two hundred transactions in flight while one
// coordinator after the other takes over, the last one being stopped or going on
// without knowing; the journal fails, also after it has written; parties are slow,
// say no, and cannot be reached. Nobody may disagree, and nobody be forgotten.
func TestCoordinatorsThatComeAndGo(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, m *journaltest.Mem) {
		seed := rand.Uint64()
		t.Log("seed", seed)
		c := &chaos{random: rand.New(rand.NewPCG(seed, 0)), told: map[txn.ID]txn.Outcome{}}
		m.Before = func([]txn.Record) error { return c.fault(20) }
		m.After = func([]txn.Record) error { return c.fault(20) }
		s.behave = c.behave
		var all []*running
		office := make(chan *running, 1) // who is in office
		cfg := func() coordinator.Config {
			cfg := config(s, m)
			cfg.Observe, cfg.MaxBackoff = c.observe, 2*time.Second
			return cfg
		}
		all = append(all, start(t, cfg()))
		office <- all[0]

		var customers sync.WaitGroup
		for i := range 200 {
			customers.Go(func() {
				pass(c.upTo(20 * time.Second))
				o := order(txn.ID(fmt.Sprintf("t%03d", i)), "a", "b", "c")
				for {
					r := <-office
					office <- r
					_, err := r.Begin(t.Context(), o)
					if err == nil {
						return
					}
					if !errors.Is(err, coordinator.ErrStopped) {
						t.Error(err)
					}
					pass(time.Second)
				}
			})
		}
		for range 12 {
			pass(c.upTo(5 * time.Second))
			if c.upTo(2) == 0 {
				<-office
				if err := all[len(all)-1].stop(); err != nil && !errors.Is(err, journal.ErrFenced) {
					t.Error(err)
				}
			} else {
				<-office
			}
			all = append(all, start(t, cfg()))
			office <- all[len(all)-1]
		}
		customers.Wait()
		c.calm()
		views, err := all[len(all)-1].List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		outcomes := map[txn.Status]int{}
		for _, v := range views {
			v, err := all[len(all)-1].Await(t.Context(), v.ID, done)
			if err != nil {
				t.Fatal(err)
			}
			outcomes[v.Status()]++
			for _, p := range v.Parties {
				key := fmt.Sprint(v.ID, "/", p.ID)
				want := map[txn.Outcome]string{txn.Commit: "committed", txn.Abort: "rolled back"}[v.Outcome]
				if got := s.entries()[key]; got != want && (got != "" || v.Outcome == txn.Commit) {
					t.Errorf("the journal says %s, %s is %q", v.Outcome, key, got)
				}
			}
		}
		for _, f := range c.faults {
			t.Error(f)
		}
		if outcomes[txn.Committed] < 10 || outcomes[txn.RolledBack] < 10 || outcomes[txn.Heuristic] > 0 {
			t.Errorf("%v", outcomes)
		}
		t.Log(outcomes, len(s.did()), "calls")
	})
}

// chaos decides what goes wrong.
type chaos struct {
	mu     sync.Mutex
	random *rand.Rand
	over   bool
	told   map[txn.ID]txn.Outcome // by any coordinator
	faults []string
}

func (c *chaos) upTo(d time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Duration(c.random.Int64N(int64(d)))
}

func (c *chaos) calm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
}

// fault goes wrong once in so many times, until all is calm.
func (c *chaos) fault(once int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over && c.random.IntN(once) == 0 {
		return errAway
	}
	return nil
}

func (c *chaos) behave(ctx context.Context, call txn.Call, b coordinator.Branch) (coordinator.Answer, error) {
	select {
	case <-time.After(c.upTo(500 * time.Millisecond)):
	case <-ctx.Done():
		pass(c.upTo(500 * time.Millisecond)) // it may be done all the same
	}
	if call == txn.CallPrepare && c.fault(20) != nil {
		return coordinator.Answer{Vote: txn.No, Text: "no"}, nil
	}
	if call == txn.CallPrepare {
		return yes, c.fault(20)
	}
	return yes, c.fault(4)
}

func (c *chaos) observe(_, after txn.State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if after.Outcome == txn.Undecided {
		return // one that has been replaced may not know yet
	}
	if old := c.told[after.ID]; old != txn.Undecided && after.Outcome != old {
		c.faults = append(c.faults, fmt.Sprintf("%s was said to %s, then %s", after.ID, old, after.Outcome))
	}
	c.told[after.ID] = after.Outcome
}
