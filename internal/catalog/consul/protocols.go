package consul

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/consul/api"
	"golang.org/x/time/rate"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
)

// protocolsOf takes the stated protocols; an entry that says none, or one that
// Meshlite does not know, is left out.
func protocolsOf(entries []api.ConfigEntry) map[string]mesh.Protocol {
	m := map[string]mesh.Protocol{}
	for _, e := range entries {
		d, ok := e.(*api.ServiceConfigEntry)
		if !ok {
			continue
		}
		if p, ok := catalog.ParseProtocol(d.Protocol); ok {
			m[d.Name] = p
		}
	}
	return m
}

// lostProtocols reports whether now lacks an entry of before: a protocol that
// falls back to http1 by mistake breaks a service as surely as a lost
// instance.
func lostProtocols(before, now map[string]mesh.Protocol) bool {
	for name := range before {
		if _, ok := now[name]; !ok {
			return true
		}
	}
	return false
}

// withLost returns now, and what only before has.
func withLost(before, now map[string]mesh.Protocol) map[string]mesh.Protocol {
	m := maps.Clone(before)
	maps.Copy(m, now)
	return m
}

// followDefaults follows the protocols of service-defaults until ctx ends.
func (s *Source) followDefaults(ctx context.Context) error {
	bucket := rate.NewLimiter(2, 4)
	r := read{wait: jitter(waitService), consistent: true}
	var base uint64
	var keep time.Time // until then nothing lost is believed
	var wait backoff
	for bucket.Wait(ctx) == nil {
		m, a, err := s.client.defaults(ctx, r)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			s.change(func(b *book, now time.Time) { b.protocolsFailed(now, err) })
			r.index = 0
			wait.sleep(ctx, s.returned(s.book.home))
			continue
		case r.index > 0 && (a.index < r.index || s.losesProtocols(m)):
			r.index = 0 // a loss counts when it is read directly
			continue
		}
		if r.index == 0 {
			if a.index < base {
				keep = time.Now().Add(rewindShown)
			}
			base = a.index
		}
		s.change(func(b *book, now time.Time) { b.stated(now, m, a.filtered || now.Before(keep)) })
		r.index, wait = a.index, 0
	}
	return nil
}

func (s *Source) losesProtocols(m map[string]mesh.Protocol) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return lostProtocols(s.book.protocols, m)
}

func (b *book) protocolsFailed(now time.Time, err error) {
	if refused(err) {
		b.settleProtocols(now)
		b.note(noteDefaults, mesh.Info, "protocols of service-defaults cannot be read: "+err.Error(), hintRights)
	}
}

// settleProtocols notes that service-defaults answered or refused: what was
// served before them is looked at again.
func (b *book) settleProtocols(now time.Time) {
	if !b.protocolsSettled {
		b.protocolsSettled = true
		b.compose(now, slices.Collect(maps.Keys(b.watches))...)
	}
}

// stated takes the protocols of service-defaults; keep leaves those in force
// that are no longer named.
func (b *book) stated(now time.Time, m map[string]mesh.Protocol, keep bool) {
	b.note(noteDefaults, "", "", "")
	before := b.protocols
	if keep {
		m = withLost(before, m)
	}
	b.protocols = m
	b.settleProtocols(now)
	for name, p := range withLost(before, m) {
		if before[name] != p || m[name] != p {
			b.compose(now, name)
			for key := range b.wants { // a federation shares its service-defaults
				if service, _ := mesh.SplitServiceKey(key); service == name {
					b.compose(now, key)
				}
			}
		}
	}
}
