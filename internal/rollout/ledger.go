package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/store"
)

// ledger is the history and the rejections: in memory, and in the store as far as
// it was saved.
type ledger struct {
	store   store.Store
	observe func(before, after adminapi.Rollout)

	mu      sync.Mutex
	state   state
	items   []*item // newest first
	loaded  bool    // they have been read
	changed chan struct{}
}

func newLedger(s store.Store, observe func(before, after adminapi.Rollout)) *ledger {
	return &ledger{store: s, observe: observe, state: state{Version: recordVersion}, changed: make(chan struct{})}
}

// load reads what is kept, in the place of what is known.
func (l *ledger) load(ctx context.Context) error {
	entries, err := l.store.List(ctx, itemPrefix)
	if err != nil {
		return fmt.Errorf("list rollouts: %w", err)
	}
	var items []*item
	for _, e := range entries {
		it, err := decodeItem(e.Value)
		if err != nil {
			return fmt.Errorf("read %s: %w", e.Key, err)
		}
		items = append(items, &it)
	}
	slices.SortFunc(items, newestFirst)
	s := state{Version: recordVersion}
	e, err := l.store.Get(ctx, stateKey)
	if err == nil {
		s, err = decodeState(e.Value)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("read %s: %w", stateKey, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state, l.items, l.loaded = s, items, true
	l.wake()
	return nil
}

// wake tells those who await something; l.mu is held.
func (l *ledger) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// now returns what all rollouts share.
func (l *ledger) now() state {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// set changes that, and stores it. After an error it holds as long as this process
// leads.
func (l *ledger) set(ctx context.Context, edit func(*state)) error {
	l.mu.Lock()
	edit(&l.state)
	raw, err := encode(stateKey, l.state)
	l.wake()
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if err := l.store.Commit(ctx, store.Op{Key: stateKey, Value: raw}); err != nil {
		return fmt.Errorf("store %s: %w", stateKey, err)
	}
	return nil
}

// begin adds a rollout, once it is stored with its number in the order, and drops
// those that are too many.
func (l *ledger) begin(ctx context.Context, d adminapi.RolloutDetail, shared state) error {
	it := &item{Version: recordVersion, Seq: shared.Seq, Rollout: d}
	raw, err := encode(itemPrefix+d.ID, it)
	if err != nil {
		return err
	}
	share, err := encode(stateKey, shared)
	if err != nil {
		return err
	}
	if err := l.store.Commit(ctx, store.Op{Key: stateKey, Value: share}, store.Op{Key: itemPrefix + d.ID, Value: raw}); err != nil {
		return fmt.Errorf("store rollout %s: %w", d.ID, err)
	}
	l.mu.Lock()
	l.state, l.items = shared, slices.Insert(l.items, 0, it)
	var old []*item
	if len(l.items) > maxItems {
		old, l.items = l.items[maxItems:], l.items[:maxItems:maxItems]
	}
	l.wake()
	l.mu.Unlock()
	l.observe(adminapi.Rollout{}, d.Rollout)
	for _, o := range old {
		if err := l.store.Commit(ctx, store.Op{Key: itemPrefix + o.Rollout.ID}); err != nil {
			return fmt.Errorf("remove rollout %s: %w", o.Rollout.ID, err)
		}
	}
	return nil
}

// edit changes a rollout in memory and tells of it.
func (l *ledger) edit(id string, change func(*adminapi.RolloutDetail)) {
	l.mu.Lock()
	it := l.find(id)
	if it == nil {
		l.mu.Unlock()
		return
	}
	before := it.Rollout.Rollout
	next := copyOf(it.Rollout)
	change(&next)
	next.Log = next.Log[max(len(next.Log)-maxLog, 0):]
	it.Rollout, it.unsaved = next, true
	l.wake()
	l.mu.Unlock()
	l.observe(before, next.Rollout)
}

// amend changes a rollout once that is stored: nobody hears of what is not.
func (l *ledger) amend(ctx context.Context, id string, change func(*adminapi.RolloutDetail)) error {
	l.mu.Lock()
	it := l.find(id)
	if it == nil {
		l.mu.Unlock()
		return nil
	}
	next := *it
	next.Rollout = copyOf(it.Rollout)
	change(&next.Rollout)
	l.mu.Unlock()
	raw, err := encode(itemPrefix+id, next)
	if err != nil {
		return err
	}
	if err := l.store.Commit(ctx, store.Op{Key: itemPrefix + id, Value: raw}); err != nil {
		return fmt.Errorf("store rollout %s: %w", id, err)
	}
	l.edit(id, change)
	return nil
}

// save stores a rollout as it is in memory.
func (l *ledger) save(ctx context.Context, id string) error {
	return l.saveIf(ctx, id, func(*item) bool { return true })
}

// saveIf is save of a rollout that is as want has it.
func (l *ledger) saveIf(ctx context.Context, id string, want func(*item) bool) error {
	l.mu.Lock()
	it := l.find(id)
	if it == nil || !want(it) {
		l.mu.Unlock()
		return nil
	}
	raw, err := encode(itemPrefix+id, it)
	it.unsaved = false
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if err := l.store.Commit(ctx, store.Op{Key: itemPrefix + id, Value: raw}); err != nil {
		l.mu.Lock()
		it.unsaved = true
		l.mu.Unlock()
		return fmt.Errorf("store rollout %s: %w", id, err)
	}
	return nil
}

func (l *ledger) find(id string) *item {
	i := slices.IndexFunc(l.items, func(it *item) bool { return it.Rollout.ID == id })
	if i < 0 {
		return nil
	}
	return l.items[i]
}

// get returns one.
func (l *ledger) get(id string) (adminapi.RolloutDetail, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	it := l.find(id)
	if it == nil {
		return adminapi.RolloutDetail{}, false
	}
	return it.Rollout, true
}

// all returns every one, newest first.
func (l *ledger) all() []adminapi.Rollout { return l.kept().Items }

// kept returns every one, and where they stand in the order of all.
func (l *ledger) kept() Kept {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := Kept{Read: l.loaded, Items: make([]adminapi.Rollout, len(l.items))}
	for i, it := range l.items {
		k.Items[i] = it.Rollout.Rollout
	}
	if n := len(l.items); n > 0 {
		k.Oldest, k.Newest = l.items[n-1].Seq, l.items[0].Seq
	}
	return k
}

// await waits until a rollout is as until wants it.
func (l *ledger) await(ctx context.Context, id string, until func(adminapi.Rollout) bool) (adminapi.Rollout, error) {
	for {
		l.mu.Lock()
		it, changed := l.find(id), l.changed
		var r adminapi.Rollout
		if it != nil {
			r = it.Rollout.Rollout
		}
		l.mu.Unlock()
		switch {
		case it == nil:
			return r, fmt.Errorf("%w: %q", adminapi.ErrNoRollout, id)
		case until(r):
			return r, nil
		}
		select {
		case <-ctx.Done():
			return r, ctx.Err()
		case <-changed:
		}
	}
}

// resolve finds the revision that a number, a hash or eight and more digits of
// one name, among those that came in force by a rollout that is kept.
func (l *ledger) resolve(name string) (adminapi.RevisionRef, bool) {
	for _, r := range l.all() {
		for _, ref := range []adminapi.RevisionRef{r.To, r.From} {
			if ref.Number > 0 && names(name, ref) {
				return ref, true
			}
		}
	}
	return adminapi.RevisionRef{}, false
}

func names(name string, ref adminapi.RevisionRef) bool {
	const shortest = 8
	return name == fmt.Sprint(ref.Number) || len(name) >= shortest && ref.Hash != "" && strings.HasPrefix(ref.Hash, name)
}

// entry adds a line to a rollout's log.
func entry(d *adminapi.RolloutDetail, party, by, format string, args ...any) {
	d.Log = append(d.Log, adminapi.RolloutEntry{At: time.Now().UTC(), Phase: d.Phase, Party: party, By: by, Text: fmt.Sprintf(format, args...)})
}
