package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"sync/atomic"
	"time"

	"meshlite.dev/internal/admin/metrics"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/store"
	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/coordinator"
	"meshlite.dev/internal/txn/journal"
	"meshlite.dev/internal/txn/journal/bolt"
	"meshlite.dev/internal/txn/journal/chain"
	"meshlite.dev/internal/txn/journal/stored"
	"meshlite.dev/internal/txn/web"
)

const (
	transactionsLock = "transactions" // of the replica that coordinates; also the journal's place in a shared store
	anotherTerm      = time.Second    // after a coordinator that ended for another reason than its lock
)

// transactions is the role that coordinates the applications' transactions: on one
// replica at a time, that which holds the lock.
type transactions struct {
	file    string      // the journal, where nothing is shared
	shared  sharedStore // nil: file
	homes   *homes
	addr    string // where others reach this replica
	caller  *web.Caller
	observe func(before, after txn.State) // for metrics
	events  func() *eventRole             // nil is none
	history web.Log
	log     *slog.Logger

	current atomic.Pointer[coordinator.Coordinator] // nil: another replica has it, or nobody
}

// openTransactions makes the role; nil without it.
func (a *app) openTransactions(cfg Config, shared sharedStore, observe func(before, after txn.State), log *slog.Logger) error {
	if !cfg.has("transactions") {
		return nil
	}
	proxy, err := url.Parse(cfg.AppProxy)
	if err != nil {
		return fmt.Errorf("--app-proxy: %w", err)
	}
	t := &transactions{
		file: filepath.Join(cfg.StateDir, "transactions.db"), homes: a.homes,
		caller: web.NewCaller(proxy), observe: observe, events: func() *eventRole { return a.events }, log: log,
	}
	t.shared = shared
	a.transactions = t
	return nil
}

// handler is what applications speak to.
func (t *transactions) handler(optedIn web.OptedIn) http.Handler {
	return web.Handler{Coordinator: t.current.Load, OptedIn: optedIn}
}

// Coordinator implements admin.Transactions.
func (t *transactions) Coordinator() *coordinator.Coordinator { return t.current.Load() }

// Log implements admin.Transactions.
func (t *transactions) Log(of txn.Record) []web.Entry { return t.history.Of(of) }

// unsettled is what a scrape reads.
func (t *transactions) unsettled() metrics.Transactions {
	out := metrics.Transactions{Open: map[txn.Status]int{}}
	c := t.current.Load()
	if c == nil {
		return out
	}
	for _, v := range c.Seen() {
		if owed, refused := v.Unsettled(); v.Outcome != txn.Undecided && owed+refused == 0 {
			continue
		}
		out.Open[v.Status()]++
		if out.Oldest.IsZero() {
			out.Oldest = v.Started // they come in this order
		}
		for _, f := range v.Faults {
			out.Tries += f.Tries
		}
	}
	return out
}

// run coordinates whenever it is this replica's turn, until ctx ends.
func (t *transactions) run(ctx context.Context) error {
	defer t.caller.Close()
	if t.shared == nil {
		db, err := bolt.Open(t.file)
		if err != nil {
			return fmt.Errorf("open the journal of transactions: %w", err)
		}
		defer t.closeJournal(ctx, db)
		t.coordinate(ctx, func() journal.Journal { return bolt.New(db, nil) })
		return nil
	}
	if fencer, ok := t.shared.(store.Fencer); ok {
		fencer.HoldFenced(ctx, transactionsLock, func(ctx context.Context, fence store.Fence) {
			t.coordinate(ctx, func() journal.Journal { return stored.New(t.shared, fence, transactionsLock) })
		})
		return nil
	}
	t.shared.Hold(ctx, transactionsLock, func(ctx context.Context) {
		t.coordinate(ctx, func() journal.Journal { return chain.New(t.shared, transactionsLock) })
	})
	return nil
}

func (t *transactions) closeJournal(ctx context.Context, db io.Closer) {
	if err := db.Close(); err != nil {
		t.log.ErrorContext(ctx, "close the journal of transactions", "err", err)
	}
}

// coordinate runs one coordinator after the other until ctx ends or the lock is
// lost.
func (t *transactions) coordinate(ctx context.Context, open func() journal.Journal) {
	for {
		err := t.term(ctx, open())
		if ctx.Err() != nil || errors.Is(err, journal.ErrFenced) {
			return
		}
		t.log.ErrorContext(ctx, "the coordinator of transactions ended; another begins", "err", err, "retry_in", anotherTerm.String())
		if !store.Rest(ctx, anotherTerm) {
			return
		}
	}
}

func (t *transactions) term(ctx context.Context, j journal.Journal) error {
	cfg := coordinator.Default()
	cfg.Journal, cfg.Participant, cfg.Log = j, t.caller.Participant, t.log
	cfg.Observe = func(before, after txn.State) { t.history.Observe(before, after); t.observe(before, after) }
	if e := t.events(); e != nil && e.teller != nil {
		told, observe := toldTransactions{e.teller.Transactions()}, cfg.Observe
		cfg.Recovered, cfg.Forgot = told.recovered, told.forgot
		cfg.Observe = func(before, after txn.State) { observe(before, after); told.observe(before, after) }
	}
	c, err := coordinator.New(cfg)
	if err != nil {
		return err
	}
	t.current.Store(c)
	defer t.current.Store(nil)
	withdraw := t.homes.offer(mesh.TransactionsHost, t.addr)
	defer withdraw()
	return c.Run(ctx)
}
