package server

import (
	"hash/fnv"
	"time"

	"meshlite.dev/internal/xds/cache"
)

// A Cluster that a proxy has and that changes closes its connections and forgets
// its ejections. A fleet takes such a change in a wave: each proxy at its own time,
// so that the instances behind it are not met by everybody's new connections at
// once. New clusters, routes and endpoints wait for nothing.

// paced reports whether a changed cluster has to wait for this proxy's place in the
// wave, and then notes when that comes.
func (p *plan) paced(k cache.Kind, n *note, i *cache.Item) bool {
	if k != cache.CDS || n.have.id == "" || n.force || n.alone || n.have.maybe != nil {
		return false
	}
	at := i.At.Add(p.st.place(p.st.srv.wave()))
	if !at.After(p.now) {
		return false
	}
	rest(n)
	n.turn = at
	return true
}

// place is where the proxy stands in a wave of that length: by its id, the same on
// every replica and after a reconnect.
func (st *stream) place(wave time.Duration) time.Duration {
	if wave <= 0 {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(st.node.ID)) // never fails
	return time.Duration(h.Sum64() % uint64(wave))
}

// wave is how long a change of a cluster takes to reach the fleet as it is now.
func (s *Server) wave() time.Duration {
	if s.cfg.WaveRate < 0 {
		return 0
	}
	s.mu.Lock()
	fleet := len(s.streams)
	s.mu.Unlock()
	if fleet <= smallFleet {
		return 0
	}
	return max(shortestWave, time.Duration(fleet)*time.Second/time.Duration(s.cfg.WaveRate))
}

const (
	smallFleet   = 50 // proxies take a change all at once
	shortestWave = 10 * time.Second
)
