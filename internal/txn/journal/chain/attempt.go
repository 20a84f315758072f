package chain

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"meshlite.dev/internal/store"
	"meshlite.dev/internal/txn/journal"
)

// The chain is made anew, of the newest records alone, where most of it is older: once
// it has fewBatches and twice the bytes, or manyBatches in any case, as each is an
// object.
const (
	fewBatches  = 64
	manyBatches = 512
	sweepAtOnce = 16 // batches of no chain, removed after a commit
)

// attempt is batches on their way into the chain.
type attempt struct {
	anew    bool // they take the place of the whole chain
	batches []batch
}

// commit puts what give makes into the chain, and n is its part of what was asked. A
// conflict may be the fruit of an earlier attempt that seemed to fail: then the head
// tells, and give is asked again.
func (j *Journal) commit(ctx context.Context, give func() (attempt, int, error)) (n int, err error) {
	j.tidy(ctx)
	for range tries {
		if err = j.look(ctx); err != nil {
			return 0, err
		}
		a, n, fault := give()
		if fault != nil || len(a.batches) == 0 {
			return n, fault
		}
		if err = j.try(ctx, a); err == nil {
			j.sweep(ctx)
			return n, nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return 0, err
		}
	}
	return 0, fmt.Errorf("%w: %w", journal.ErrFenced, err)
}

// try writes the batches and has the head name the last of them.
func (j *Journal) try(ctx context.Context, a attempt) error {
	prev := j.last
	if a.anew {
		prev = ""
	}
	for i := range a.batches {
		b := &a.batches[i]
		j.named++
		b.name, b.Prev, prev = fmt.Sprintf("%d-%d", j.term, j.named), prev, fmt.Sprintf("%d-%d", j.term, j.named)
		raw, err := b.encode()
		if err == nil {
			err = j.store.Commit(ctx, store.Op{Key: j.batchKey(b.name), Value: raw, Check: true})
		}
		if err != nil {
			for _, b := range a.batches[:i+1] {
				j.garbage = append(j.garbage, b.name)
			}
			return fmt.Errorf("write %s: %w", j.batchKey(b.name), err)
		}
	}
	j.stale = true // whatever comes of it
	if err := j.writeHead(ctx, head{Term: j.term, Last: prev}, j.version); err != nil {
		j.unsure[prev] = a
		return err
	}
	j.enter(a)
	return nil
}

// look finds out the head's version, and what became of attempts.
func (j *Journal) look(ctx context.Context) error {
	if !j.stale {
		return nil
	}
	h, version, err := j.readHead(ctx)
	if err != nil {
		return err
	}
	if h.Term != j.term {
		return fmt.Errorf("%w: the head is of term %d, this is %d", journal.ErrFenced, h.Term, j.term)
	}
	if h.Last != j.last {
		a, ours := j.unsure[h.Last]
		if !ours {
			return fmt.Errorf("%w: the head names %s, which nobody wrote", journal.ErrDamaged, h.Last)
		}
		delete(j.unsure, h.Last)
		j.enter(a)
	}
	j.version, j.stale = version, false
	return nil
}

// enter takes in what the head names. Other attempts were made over an earlier head,
// and come in no more.
func (j *Journal) enter(a attempt) {
	if a.anew {
		j.garbage = append(j.garbage, j.chain...)
		j.chain, j.bytes = nil, 0
		clear(j.live)
	}
	for _, b := range a.batches {
		j.take(b)
	}
	if a.anew {
		j.base = len(j.chain)
	}
	j.last = a.batches[len(a.batches)-1].name
	for _, other := range j.unsure {
		for _, b := range other.batches {
			j.garbage = append(j.garbage, b.name)
		}
	}
	clear(j.unsure)
}

func (j *Journal) take(b batch) {
	for _, id := range b.Forget {
		delete(j.live, id)
	}
	for i, id := range b.ids {
		j.live[id] = b.records[i]
	}
	j.chain = append(j.chain, b.name)
	j.bytes += b.size()
}

// tidy makes the chain anew where that is due. What fails is tried again some batches
// later: the chain is as good as before.
func (j *Journal) tidy(ctx context.Context) {
	grown := len(j.chain) - j.base
	if grown < fewBatches || len(j.chain) < j.tidyAt {
		return
	}
	live := 0
	for _, raw := range j.live {
		live += len(raw)
	}
	if grown < manyBatches && j.bytes < 2*live || j.look(ctx) != nil {
		return
	}
	j.tidyAt = len(j.chain) + fewBatches
	if err := j.try(ctx, j.whole()); err != nil {
		return // the next commit sees whether it counts
	}
	j.tidyAt = 0
}

// whole are all live records, in as few batches as hold them.
func (j *Journal) whole() attempt {
	a, size := attempt{anew: true, batches: []batch{{}}}, 0
	for _, id := range slices.Sorted(maps.Keys(j.live)) {
		raw := j.live[id]
		b := &a.batches[len(a.batches)-1]
		if size += len(raw); len(b.records) > 0 && size > maxBytes {
			a.batches = append(a.batches, batch{})
			b, size = &a.batches[len(a.batches)-1], len(raw)
		}
		b.add(id, raw)
	}
	return a
}

// sweep removes some of what is in no chain. Names are never given twice, so that who
// is shut out and does not know it removes nothing that counts.
func (j *Journal) sweep(ctx context.Context) {
	n := min(len(j.garbage), sweepAtOnce)
	if n == 0 {
		return
	}
	ops := make([]store.Op, n)
	for i, name := range j.garbage[:n] {
		ops[i].Key = j.batchKey(name)
	}
	if j.store.Commit(ctx, ops...) == nil {
		j.garbage = j.garbage[n:]
	}
}
