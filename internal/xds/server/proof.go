package server

import (
	"sync"

	"meshlite.dev/internal/xds/cache"
)

// builds gives every build of Envoy a bit. Beyond 64 of them nothing counts as
// proven: each content then travels alone, to each proxy.
type builds struct {
	mu   sync.Mutex
	bits map[string]uint64
}

func (b *builds) bit(build string) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if bit, ok := b.bits[build]; ok {
		return bit
	}
	if len(b.bits) == 64 {
		return 0
	}
	bit := uint64(1) << len(b.bits)
	b.bits[build] = bit
	return bit
}

// proofs are the streams that wait for a content to be accepted by somebody.
type proofs struct {
	mu    sync.Mutex
	waits map[*cache.Item]map[*stream]struct{}
}

// awaitProof wakes st when an Envoy accepts i. Look at i once more afterwards.
func (s *Server) awaitProof(i *cache.Item, st *stream) {
	s.proofs.mu.Lock()
	defer s.proofs.mu.Unlock()
	m := s.proofs.waits[i]
	if m == nil {
		m = map[*stream]struct{}{}
		s.proofs.waits[i] = m
	}
	m[st] = struct{}{}
}

// forgetProof takes st out.
func (s *Server) forgetProof(i *cache.Item, st *stream) {
	s.proofs.mu.Lock()
	defer s.proofs.mu.Unlock()
	if delete(s.proofs.waits[i], st); len(s.proofs.waits[i]) == 0 {
		delete(s.proofs.waits, i)
	}
}

// proven wakes those who waited for i.
func (s *Server) proven(i *cache.Item) {
	s.proofs.mu.Lock()
	defer s.proofs.mu.Unlock()
	for st := range s.proofs.waits[i] {
		st.watch.Wake()
	}
	delete(s.proofs.waits, i)
}
