package server

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"meshlite.dev/internal/xds/cache"
	"meshlite.dev/internal/xds/resource"
)

// ledger remembers every proxy by its id, for a while after it has gone.
type ledger struct {
	mu      sync.Mutex
	proxies map[string]*proxy
	pruned  time.Time
}

// proxy is one Envoy: what it refused, and its newest stream.
type proxy struct {
	quarantine
	id string

	// Under the ledger's lock.
	stream *stream // nil when it is gone
	last   Proxy   // when it left
}

// join enters a stream. A proxy that is connected twice, as it is for a moment
// after a broken connection, is shown by its newest stream.
func (s *Server) join(st *stream) {
	st.bit = s.builds.bit(st.node.Build)
	st.fit.build = resource.NewTrimmer(st.node.Envoy, s.cfg.Capabilities)
	if !st.node.Certificate {
		st.fit.bare = resource.Uncertified()
	}
	l := &s.ledger
	l.mu.Lock()
	l.prune(time.Now(), s.cfg.Remember)
	p := l.proxies[st.node.ID]
	if p == nil {
		p = &proxy{id: st.node.ID}
		l.proxies[p.id] = p
	}
	p.enter(st.node.Envoy)
	p.stream, st.proxy = st, p
	l.mu.Unlock()
	s.cfg.Observer.Connected(st.report())
}

// leave takes a stream out and frees what it held, once nothing uses it.
func (s *Server) leave(st *stream) {
	<-st.flushed
	cause := "closed by the proxy"
	if st.err != nil {
		cause = st.err.Error()
	}
	last := st.report()
	last.Connected, last.GoneAt, last.Held = false, time.Now(), nil
	s.ledger.mu.Lock()
	if st.proxy.stream == st {
		st.proxy.stream, st.proxy.last = nil, last
	}
	s.ledger.mu.Unlock()
	st.mu.Lock()
	if st.deadline != nil {
		st.deadline.Stop()
	}
	for _, g := range st.gates {
		s.forgetProof(g.item, st)
	}
	st.gone = true
	st.watch.Close()
	st.mu.Unlock()
	s.cfg.Observer.Disconnected(st.node.ID, cause)
}

// prune forgets proxies that have been gone for long. Called under the lock.
func (l *ledger) prune(now time.Time, keep time.Duration) {
	if now.Sub(l.pruned) < keep/60 {
		return
	}
	l.pruned = now
	for id, p := range l.proxies {
		if p.stream == nil && now.Sub(p.last.GoneAt) > keep {
			delete(l.proxies, id)
		}
	}
}

// Proxies returns the ledger, sorted by id.
func (s *Server) Proxies() []Proxy {
	l := &s.ledger
	l.mu.Lock()
	l.pruned = time.Time{}
	l.prune(time.Now(), s.cfg.Remember)
	out := make([]Proxy, 0, len(l.proxies))
	var live []*stream
	for _, p := range l.proxies {
		if p.stream != nil {
			live = append(live, p.stream)
		} else {
			out = append(out, p.last)
		}
	}
	l.mu.Unlock()
	for _, st := range live {
		out = append(out, st.report())
	}
	slices.SortFunc(out, func(a, b Proxy) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Proxy returns one entry of the ledger.
func (s *Server) Proxy(id string) (Proxy, bool) {
	l := &s.ledger
	l.mu.Lock()
	p := l.proxies[id]
	if p == nil {
		l.mu.Unlock()
		return Proxy{}, false
	}
	st, last := p.stream, p.last
	l.mu.Unlock()
	if st == nil {
		return last, true
	}
	return st.report(), true
}

// report describes the stream as it stands.
func (st *stream) report() Proxy {
	st.mu.Lock()
	defer st.mu.Unlock()
	p := Proxy{
		Node: st.node, Address: st.addr, Protocol: "delta", ConnectedAt: st.since, Connected: true,
		Errors: st.proxy.active(), Status: Synced,
	}
	if st.sotw {
		p.Protocol = "sotw"
	}
	for k := range cache.Kinds {
		t := st.typeStatus(k)
		p.Held = append(p.Held, st.held(k)...)
		for _, e := range p.Errors {
			if e.Type == t.Type && t.Status != NotSent {
				t.Status = Error
			}
		}
		if t.Status != NotSent {
			p.Status = p.Status.Worse(t.Status)
		}
		p.Types = append(p.Types, t)
	}
	if !st.kinds[cache.CDS].asked && !st.kinds[cache.LDS].asked {
		p.Status = NotSent
	}
	return p
}

// typeStatus describes one type, rejections apart.
func (st *stream) typeStatus(k cache.Kind) TypeStatus {
	ks := &st.kinds[k]
	t := TypeStatus{Type: k.String(), Status: Synced, Resources: ks.count, LastSent: ks.sent, LastAcked: ks.ack}
	for _, rec := range st.inflight {
		if rec.kind != k {
			continue
		}
		t.InFlight++
		for _, s := range rec.items {
			if s.prev.id == "" {
				t.Resources--
			}
		}
	}
	switch {
	case !ks.asked:
		t.Status = NotSent
	case t.InFlight > 0 || st.due(k):
		t.Status = Stale
	}
	return t
}

// held returns what waits, by name.
func (st *stream) held(k cache.Kind) (out []Held) {
	for name, n := range st.kinds[k].notes {
		if n.waits != "" {
			out = append(out, Held{Type: k.String(), Resource: name, Waits: n.waits, Since: n.since})
		}
	}
	slices.SortFunc(out, func(a, b Held) int { return cmp.Compare(a.Resource, b.Resource) })
	return out
}
