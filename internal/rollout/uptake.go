package rollout

import (
	"context"
	"reflect"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/policy"
)

const (
	runningEvery = time.Second            // at most so often a replica tells how its proxies are
	pushedEvery  = 500 * time.Millisecond // and so often how far they are with a new revision
	maxRefused   = 50                     // refusals of a note
	maxLate      = 10                     // late proxies that are named
)

// following is a revision that a replica watches its proxies take.
type following struct {
	rev    policy.Revision
	since  time.Time // when it came in force, or was served here
	among  []string  // the proxies that it reaches; empty: all
	nobody bool      // it reaches none
	whole  time.Time // when the last of them was seen to have answered; zero: not yet
}

// pushed is how far a replica's proxies are with a revision.
type pushed struct {
	Hash      string         `json:"hash"`
	Published bool           `json:"published,omitempty"` // it is on its way
	Proxies   int            `json:"proxies,omitempty"`   // that it reaches
	Acked     int            `json:"acked,omitempty"`
	Refused   int            `json:"refused,omitempty"`
	Refusals  []ProxyRefusal `json:"refusals,omitempty"` // the first ones
	Whole     time.Time      `json:"whole,omitzero"`     // when the last of them had answered
}

// look asks this replica's proxies.
func (m *Manager) look(f *following) pushed {
	up := m.cfg.Fleet.Uptake(f.rev, f.since, f.among)
	out := pushed{Hash: f.rev.Hash, Published: up.Published}
	if !f.nobody {
		out.Proxies, out.Acked, out.Refused = up.Proxies, up.Acked, len(up.Refused)
		for _, r := range up.Refused[:min(len(up.Refused), maxRefused)] {
			out.Refusals = append(out.Refusals, ProxyRefusal{r.Proxy, shorten(r.Message)})
		}
	}
	switch all := out.Published && out.Acked+out.Refused >= out.Proxies; {
	case !all:
		f.whole = time.Time{}
	case f.whole.IsZero():
		f.whole = time.Now().UTC()
	}
	out.Whole = f.whole
	return out
}

// again is when to look next.
func (f *following) again() time.Duration {
	if time.Since(f.since) > soonUntil {
		return lookLater
	}
	return lookSoon
}

// all adds up what every replica says of the leader's revision. It is whole once
// none is missing, at the time when the last of them was.
func (m *Manager) all(own pushed) pushed {
	sum := own
	for _, n := range m.followers() {
		p := n.Pushed
		if p == nil || p.Hash != own.Hash {
			sum.Published, sum.Whole = false, time.Time{}
			continue
		}
		sum.Published = sum.Published && p.Published
		sum.Proxies, sum.Acked, sum.Refused = sum.Proxies+p.Proxies, sum.Acked+p.Acked, sum.Refused+p.Refused
		sum.Refusals = append(sum.Refusals, p.Refusals...)
		switch {
		case p.Whole.IsZero():
			sum.Whole = time.Time{}
		case !sum.Whole.IsZero() && p.Whole.After(sum.Whole):
			sum.Whole = p.Whole
		}
	}
	return sum
}

// serves notes what this replica serves from now on; m.mu is held.
func (m *Manager) serves(rev policy.Revision) {
	m.serving = &following{rev: rev, since: time.Now()}
	if m.polled != nil && m.polled.hash == rev.Hash {
		m.serving.among, m.serving.nobody = m.polled.proxies, len(m.polled.proxies) == 0
	}
	select {
	case m.moved <- struct{}{}:
	default:
	}
}

// polled are the proxies that a candidate was put to.
type polled struct {
	hash    string
	proxies []string
}

func (m *Manager) put(hash string, proxies []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.polled = &polled{hash, proxies}
}

// report tells the other replicas how this one's proxies are, until ctx ends.
func (m *Manager) report(ctx context.Context) {
	var f *following
	var told time.Time
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.moved:
			m.mu.Lock()
			f = m.serving
			m.mu.Unlock()
		case <-timer.C:
		}
		wait := runningEvery
		if f != nil {
			now, over := m.look(f), time.Since(f.since) > pushAtMost
			if !now.Whole.IsZero() || over || time.Since(told) >= pushedEvery {
				m.tell(func(n *note) { n.Pushed = &now })
				told = time.Now()
			}
			if wait = f.again(); !now.Whole.IsZero() || over {
				f, wait = nil, runningEvery
			}
		}
		m.tellRunning()
		timer.Reset(wait)
	}
}

// tellRunning tells how many proxies run what is in force, where that changed.
func (m *Manager) tellRunning() {
	now := m.cfg.Fleet.Running()
	m.mu.Lock()
	same := len(m.peers) == 0 || m.own.Running != nil && reflect.DeepEqual(*m.own.Running, now)
	m.mu.Unlock()
	if !same {
		m.tell(func(n *note) { n.Running = &now })
	}
}

// running sums up all replicas' proxies. Those of a replica that does not serve
// what is in force do not run it.
func (m *Manager) running() adminapi.RevisionUptake {
	sum := m.cfg.Fleet.Running()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range m.peers {
		if n.Running == nil || n.Leads && m.leads.Load() != nil { // see followers
			continue
		}
		sum.Connected, sum.Refusing = sum.Connected+n.Running.Connected, sum.Refusing+n.Running.Refusing
		if n.InForce == m.inForce.Hash {
			sum.Running += n.Running.Running
		}
		sum.Late = append(sum.Late, n.Running.Late...)
	}
	sum.Late = sum.Late[:min(len(sum.Late), maxLate)]
	return sum
}
