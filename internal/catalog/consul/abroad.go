package consul

import (
	"maps"
	"slices"
	"strings"
	"time"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
)

// isAbroad reports whether a name is the key of a service of a datacenter
// that is named.
func isAbroad(name string) bool { return strings.Contains(name, "@") }

// Want replaces the services of other datacenters that are served beside
// those of the own: keys as mesh.ServiceKey makes them, "orders@dc2". Before
// the first call these are the ones of last known good. What is not wanted any
// more stays for half a minute: routes may still lead to it. A key of the own
// datacenter is served as what the plain service is; a name without a
// datacenter is served anyway and left out. It may be called at any time.
func (s *Source) Want(keys []string) {
	keys = slices.Clone(keys)
	s.change(func(b *book, now time.Time) { b.want(now, keys) })
}

func (b *book) want(now time.Time, keys []string) {
	next := map[string]bool{}
	for _, key := range keys {
		if isAbroad(key) && mesh.IsServiceKey(key) {
			next[key] = true
		}
	}
	for key := range b.wants {
		if !next[key] {
			b.parting[key] = now
		}
	}
	for key := range next {
		delete(b.parting, key)
	}
	b.wants, b.restaff = next, true
}

// locate notes what the own datacenter is called; "" where the token does not
// let anybody know: its keys are then read like those of others.
func (b *book) locate(name string) {
	if !b.located || b.home.called != name {
		b.located, b.home.called, b.restaff = true, name, true
		b.ledger.Home(name)
	}
}

// place returns another datacenter; it is in use from now on.
func (b *book) place(name string) *place {
	p := b.abroad[name]
	if p == nil {
		p = newPlace(name)
		b.abroad[name] = p
	}
	return p
}

// deserves reports whether a service is to be watched as things stand: a list
// names it, or could.
func (b *book) deserves(name string) bool {
	service, datacenter := mesh.SplitServiceKey(name)
	if datacenter == "" {
		return b.home.names[service]
	}
	if !b.wants[name] || !b.located || datacenter == b.home.called {
		return false
	}
	p := b.abroad[datacenter]
	return p == nil || !p.namesKnown || p.names[service]
}

// wantedAbroad lists the wanted services that deserve a watch, sorted. The
// others it brings to what they are: a mirror of the plain service, not synced
// while nobody knows where they are, or nothing.
func (b *book) wantedAbroad() (keys []string) {
	for _, key := range slices.Sorted(maps.Keys(b.wants)) {
		service, datacenter := mesh.SplitServiceKey(key)
		switch {
		case b.deserves(key):
			keys = append(keys, key)
		case !b.located:
			b.standInFor(key)
		case datacenter == b.home.called:
			b.mirror(service, key)
		case b.watches[key] == nil:
			b.dismiss(key)
		}
	}
	return keys
}

// mirror serves the plain service under a key that names its datacenter.
func (b *book) mirror(service, key string) {
	if b.watches[key] != nil || b.guard.Knows(key) {
		b.dismiss(key) // it stood for another datacenter's
	}
	if s, ok := b.ledger.Get(service); ok {
		b.record(s)
		return
	}
	b.ledger.Delete(key)
}

// record puts a service into the ledger, and its mirror.
func (b *book) record(s *catalog.Service) {
	b.ledger.Set(s)
	if key := b.mirrored(s.Name); key != "" {
		mirror := *s
		mirror.Name = key
		b.ledger.Set(&mirror)
	}
}

// erase takes a service out of the ledger, and its mirror.
func (b *book) erase(name string) {
	b.ledger.Delete(name)
	if key := b.mirrored(name); key != "" {
		b.ledger.Delete(key)
	}
}

// mirrored returns the key under which a plain service is served too, "" for
// none.
func (b *book) mirrored(name string) string {
	if isAbroad(name) || b.home.called == "" {
		return ""
	}
	key := mesh.ServiceKey(name, b.home.called)
	if _, parts := b.parting[key]; !parts && !b.wants[key] {
		return ""
	}
	return key
}

// standInFor fills in for a service that has not answered: last known good,
// else a service that is named and not synced.
func (b *book) standInFor(name string) {
	if _, ok := b.ledger.Get(name); ok {
		return
	}
	good := b.lastGood[name]
	if good == nil {
		b.record(&catalog.Service{Name: name, Protocol: mesh.HTTP1})
		return
	}
	if !b.guard.Knows(name) {
		b.guard.Seed(name, good.Endpoints)
	}
	b.record(good)
}

// part ends what nobody has wanted for a while, and the datacenters that
// nothing is wanted of.
func (b *book) part(now time.Time) {
	for key, since := range b.parting {
		if now.Sub(since) >= b.cfg.Linger {
			delete(b.parting, key)
			b.dismiss(key)
		}
	}
	used := map[string]bool{b.home.called: false}
	for key := range b.wants {
		_, datacenter := mesh.SplitServiceKey(key)
		used[datacenter] = datacenter != b.home.called
	}
	for key := range b.watches {
		if _, datacenter := mesh.SplitServiceKey(key); datacenter != "" {
			used[datacenter] = true
		}
	}
	for name, p := range b.abroad {
		if !used[name] {
			p.stop()
			delete(b.abroad, name)
			delete(b.notes, p.subject(noteRights))
		}
	}
}

// open returns the datacenters whose names nobody follows yet.
func (b *book) open() (places []*place) {
	for _, name := range slices.Sorted(maps.Keys(b.abroad)) {
		if p := b.abroad[name]; !p.followed {
			p.followed = true
			places = append(places, p)
		}
	}
	return places
}
