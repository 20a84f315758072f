package load

import "sync"

// Calls are a proxy's tries since its stream of reports began.
type Calls struct{ Successes, Errors, Dropped uint64 }

// callers counts for each open stream.
type callers struct {
	mu  sync.Mutex
	all map[*caller]bool
}

type caller struct {
	id    string // node.id
	calls Calls
}

func (c *callers) join(id string) *caller {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[*caller]bool{}
	}
	own := &caller{id: id}
	c.all[own] = true
	return own
}

func (c *callers) leave(own *caller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.all, own)
}

func (c *callers) add(own *caller, samples map[string]sample) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range samples {
		own.calls.Successes += s.successes
		own.calls.Errors += s.errors
		own.calls.Dropped += s.dropped
	}
}

// Calls returns them by node.id, of all proxies that report now.
func (s *Server) Calls() map[string]Calls {
	c := &s.callers
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[string]Calls, len(c.all))
	for own := range c.all {
		sum := out[own.id]
		sum.Successes += own.calls.Successes
		sum.Errors += own.calls.Errors
		sum.Dropped += own.calls.Dropped
		out[own.id] = sum
	}
	return out
}
