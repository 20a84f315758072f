//go:build e2e

package stored_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"meshlite.dev/internal/catalog/consul/consultest"
	"meshlite.dev/internal/store/kv"
	"meshlite.dev/internal/txn/journal"
	"meshlite.dev/internal/txn/journal/journaltest"
)

func consul(t *testing.T, agent *consultest.Agent, prefix string) *kv.Store {
	t.Helper()
	s, err := kv.New(kv.Config{Addr: agent.Addr, Prefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// began has appended the first record of "a".
func began(t *testing.T, h *held) (journal.Journal, uint64) {
	t.Helper()
	j, term := recovered(t, h)
	if err := j.Append(t.Context(), journaltest.Record("a", term, 1)); err != nil {
		t.Fatal(err)
	}
	return j, term
}

func TestContractOnConsul(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{})
	var n atomic.Int64
	journaltest.Run(t, func(t *testing.T) journaltest.Content {
		return newHeld(t, consul(t, agent, fmt.Sprint("journal", n.Add(1), "/")))
	})
}

// TestASessionThatEnded takes the lock away without a word: the very next append
// is refused, before the holder or anybody else has noticed.
func TestASessionThatEnded(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{})
	h := newHeld(t, consul(t, agent, "ended/"))
	j, term := began(t, h)
	pair, _, err := agent.API().KV().Get("ended/lock/transactions", nil)
	if err != nil || pair == nil {
		t.Fatalf("the lock's key is %v, %v", pair, err)
	}
	if _, err := agent.API().Session().Destroy(pair.Session, nil); err != nil {
		t.Fatal(err)
	}
	if err := j.Append(t.Context(), journaltest.Record("a", term, 2)); !errors.Is(err, journal.ErrFenced) {
		t.Fatalf("Append = %v, want ErrFenced", err)
	}
	if _, got, err := h.Open().Recover(t.Context()); err != nil || len(got) != 1 || got[0].Seq != 1 {
		t.Fatalf("the next one finds %v, %v", got, err)
	}
}

// TestConsulIsKilledInTheMiddle: appends fail until it is back, then go on.
func TestConsulIsKilledInTheMiddle(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{Data: true})
	h := newHeld(t, consul(t, agent, "killed/"))
	j, term := began(t, h)
	agent.Kill()
	if err := j.Append(t.Context(), journaltest.Record("a", term, 2)); err == nil || errors.Is(err, journal.ErrFenced) {
		t.Fatalf("Append without Consul = %v", err)
	}
	agent.Run()
	// It may have been away for long enough to lose the lock; then the record stays out.
	switch err := j.Append(t.Context(), journaltest.Record("a", term, 2)); {
	case errors.Is(err, journal.ErrFenced):
		return
	case err != nil:
		t.Fatalf("Append after the outage = %v", err)
	}
	if _, got, err := h.Open().Recover(t.Context()); err != nil || len(got) != 1 || got[0].Seq != 2 {
		t.Fatalf("the next one finds %v, %v", got, err)
	}
}
