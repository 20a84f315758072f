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
// datacenter is the plain service, which is served anyway, and so is a name
// without one: both are left out. It may be called at any time.
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

// wantedAbroad lists the wanted services that deserve a watch, sorted. Others
// are not served, or stood in for while nobody knows where they are.
func (b *book) wantedAbroad() (keys []string) {
	for _, key := range slices.Sorted(maps.Keys(b.wants)) {
		_, datacenter := mesh.SplitServiceKey(key)
		own := datacenter == b.home.called
		switch {
		case b.deserves(key):
			keys = append(keys, key)
		case !own && !b.located:
			b.standInFor(key)
		case own || b.watches[key] == nil:
			b.dismiss(key)
		}
	}
	return keys
}

// standInFor fills in for a service that has not answered: last known good,
// else a service that is named and not synced.
func (b *book) standInFor(name string) {
	if _, ok := b.ledger.Get(name); ok {
		return
	}
	good := b.lastGood[name]
	if good == nil {
		b.ledger.Set(&catalog.Service{Name: name, Protocol: mesh.HTTP1})
		return
	}
	if !b.guard.Knows(name) {
		b.guard.Seed(name, good.Endpoints)
	}
	b.ledger.Set(good)
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
