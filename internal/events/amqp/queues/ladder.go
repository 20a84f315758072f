package queues

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"meshlite.dev/internal/events/dispatch"
)

// ladder is what is known of the delay queues of one subscription.
type ladder struct {
	one sync.Mutex // who asks the broker for them, or makes them

	mu     sync.Mutex
	looked bool                        // for those of an earlier run
	whole  bool                        // all that the subscription's pauses need are there
	from   map[time.Duration]time.Time // those that were seen, and since when to rely on them
}

// seen notes delay queues that are there.
func (l *ladder) seen(from time.Time, waits ...time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, wait := range waits {
		l.from[wait] = from
	}
}

func (l *ladder) since(wait time.Duration) (from time.Time, there bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	from, there = l.from[wait]
	return from, there
}

func (l *ladder) waits() []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.from))
}

// state returns looked and whole, after it set what is true.
func (l *ladder) state(looked, whole bool) (bool, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.looked, l.whole = l.looked || looked, l.whole || whole
	return l.looked, l.whole
}

// planned are the waits of a subscription's own pauses, as far as the broker has
// them wait.
func planned(s dispatch.Subscription) []time.Duration {
	if s.Ordered || s.Max <= inMemory {
		return nil
	}
	return steps(inMemory+time.Millisecond, s.Max)
}

// mayHave are the waits for which a subscription may have queues, those that its
// handler asked for too.
func (b *Backend) mayHave(s dispatch.Subscription) []time.Duration {
	all := append(b.ladder(s.Queue).waits(), steps(shortest, max(s.Max, askedFor))...)
	slices.Sort(all)
	return slices.Compact(all)
}

// find finds the delay queues that an earlier run, or another replica, has made:
// all that are planned, or none, so the last one tells. The broker notes a question
// for one that is not there as an error.
func (b *Backend) find(ctx context.Context, s dispatch.Subscription, l *ladder) (whole bool, err error) {
	looked, whole := l.state(false, false)
	plan := planned(s)
	if looked || whole || len(plan) == 0 {
		return whole || len(plan) == 0, nil
	}
	_, _, there, err := b.count(ctx, delayQueue(s.Queue, plan[len(plan)-1]))
	if err != nil {
		return false, err
	}
	if there {
		l.seen(time.Time{}, plan...)
	}
	_, whole = l.state(true, there)
	return whole, nil
}

// waits are those of the delay queues that are there, as far as was seen.
func (b *Backend) waits(ctx context.Context, s dispatch.Subscription) ([]time.Duration, error) {
	l := b.ladder(s.Queue)
	l.one.Lock()
	defer l.one.Unlock()
	if _, err := b.find(ctx, s, l); err != nil {
		return nil, err
	}
	return l.waits(), nil
}

// prepare makes the delay queues that are planned, once, so that they are no longer
// young when they are needed.
func (b *Backend) prepare(ctx context.Context, s dispatch.Subscription) error {
	l := b.ladder(s.Queue)
	if _, whole := l.state(false, false); whole {
		return nil
	}
	l.one.Lock()
	defer l.one.Unlock()
	if whole, err := b.find(ctx, s, l); whole || err != nil {
		return err
	}
	for _, wait := range planned(s) {
		if err := b.makeDelay(ctx, s, l, wait); err != nil {
			return err
		}
	}
	l.state(true, true)
	return nil
}

func (b *Backend) makeDelay(ctx context.Context, s dispatch.Subscription, l *ladder, wait time.Duration) error {
	fresh, err := b.declareQueue(ctx, delayQueue(s.Queue, wait), delayArguments(s.Queue, wait), "spec.queue.name")
	if err != nil {
		return err
	}
	var from time.Time
	if fresh {
		from = time.Now().Add(b.young)
	}
	l.seen(from, wait)
	return nil
}

// delay makes sure of one delay queue, also where it was seen if anew, and returns
// since when to rely on it.
func (b *Backend) delay(ctx context.Context, s dispatch.Subscription, wait time.Duration, anew bool) (time.Time, error) {
	l := b.ladder(s.Queue)
	if from, there := l.since(wait); there && !anew {
		return from, nil
	}
	l.one.Lock()
	defer l.one.Unlock()
	if from, there := l.since(wait); there && !anew {
		return from, nil
	}
	if err := b.makeDelay(ctx, s, l, wait); err != nil {
		return time.Time{}, err
	}
	from, _ := l.since(wait)
	return from, nil
}
