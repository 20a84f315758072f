package lab

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Call is one request of a load.
type Call struct {
	At time.Time // when it was sent
	Answer
	Err error
}

// Good reports whether the call got its 200.
func (c Call) Good() bool { return c.Err == nil && c.Status == http.StatusOK }

// Load is traffic that goes on beside a scenario.
type Load struct {
	lab    *Lab
	cancel context.CancelFunc
	done   chan struct{}
	wg     sync.WaitGroup

	mu    sync.Mutex
	calls []Call
}

// Load sends rate requests a second through the sidecar until Finish, on time
// whatever the answers do (an open loop), each recorded.
func (s *Sidecar) Load(rate int, method, url string) *Load {
	s.lab.Helper()
	return s.lab.Load(rate, s.client, method, url)
}

// Load is Sidecar.Load with a client of the caller's.
func (l *Lab) Load(rate int, client *http.Client, method, url string) *Load {
	ctx, cancel := context.WithCancel(context.Background())
	load := &Load{lab: l, cancel: cancel, done: make(chan struct{})}
	l.Cleanup(func() { cancel(); <-load.done })
	go load.run(ctx, rate, client, method, url)
	return load
}

func (l *Load) run(ctx context.Context, rate int, client *http.Client, method, url string) {
	defer close(l.done)
	defer l.wg.Wait()
	begin := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		l.wg.Go(func() {
			at := time.Now()
			// A call that was sent is finished, also after the load's end.
			a, err := Do(context.WithoutCancel(ctx), client, method, url)
			l.mu.Lock()
			l.calls = append(l.calls, Call{at, a, err})
			l.mu.Unlock()
		})
		timer.Reset(time.Until(begin.Add(time.Duration(n) * time.Second / time.Duration(rate))))
	}
}

// Finish ends the load, waits for calls under way and returns all of them in
// the order of their sending.
func (l *Load) Finish() Calls {
	l.cancel()
	<-l.done
	return l.Calls()
}

// Calls returns what has been answered so far, in the order of sending.
func (l *Load) Calls() Calls {
	l.mu.Lock()
	defer l.mu.Unlock()
	calls := slices.Clone(l.calls)
	slices.SortFunc(calls, func(a, b Call) int { return a.At.Compare(b.At) })
	return calls
}

// Calls are requests of a load.
type Calls []Call

// Failed returns the calls that did not get a 200.
func (cs Calls) Failed() Calls {
	return slices.DeleteFunc(slices.Clone(cs), Call.Good)
}

// Since returns the calls sent at t or later.
func (cs Calls) Since(t time.Time) Calls {
	i, _ := slices.BinarySearchFunc(cs, t, func(c Call, t time.Time) int { return c.At.Compare(t) })
	return cs[i:]
}

// ByInstance counts good calls per instance.
func (cs Calls) ByInstance() map[string]int {
	n := map[string]int{}
	for _, c := range cs {
		if c.Good() {
			n[c.Instance]++
		}
	}
	return n
}

// Slowest returns the longest time that a call took.
func (cs Calls) Slowest() time.Duration {
	if len(cs) == 0 {
		return 0
	}
	return slices.MaxFunc(cs, func(a, b Call) int { return cmp.Compare(a.Took, b.Took) }).Took
}

// String counts calls by outcome, for messages.
func (cs Calls) String() string {
	counts := map[string]int{}
	for _, c := range cs {
		switch {
		case c.Err != nil:
			counts[c.Err.Error()]++
		case c.Good():
			counts["200"]++
		default:
			counts[strings.TrimSpace(fmt.Sprint(c.Status, " ", c.Reason))]++
		}
	}
	var out []string
	for what, n := range counts {
		out = append(out, fmt.Sprintf("%d × %s", n, what))
	}
	slices.Sort(out)
	return fmt.Sprintf("%d calls: %s", len(cs), strings.Join(out, ", "))
}
