package consul

import (
	"time"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
)

// compose brings services in the ledger to what the guard lets through.
func (b *book) compose(now time.Time, names ...string) {
	for _, name := range names {
		if w := b.watches[name]; w != nil && w.answered {
			b.composeOne(now, w)
		}
	}
}

func (b *book) composeOne(now time.Time, w *watch) {
	endpoints := b.afterDrain(now, w, b.guard.Served(w.name))
	s := &catalog.Service{Name: w.name, Synced: true, Endpoints: endpoints}
	before, _ := b.ledger.Get(w.name)
	if before == nil {
		before = b.lastGood[w.name]
	}
	var says []catalog.Says
	for _, e := range endpoints {
		v, _ := catalog.Read(e.ID, e.Tags, e.Meta)
		if v.Namespace == "" {
			v.Namespace = w.namespace
		}
		says = append(says, v)
	}
	if before != nil && !before.Synced {
		before = nil // a placeholder says nothing
	}
	fallback := b.protocols[w.service]
	if !b.protocolsSettled && before != nil {
		fallback = before.Protocol // service-defaults may say so, and have not been read
	}
	disagreed := catalog.Settle(s, before, says, fallback)
	b.ledger.Set(s)
	b.ledger.Report(w.name, append(append([]mesh.Finding(nil), w.findings...), disagreed...))
	if len(endpoints) > 0 || len(w.drained) > 0 {
		delete(b.empty, w.name)
	} else if _, ok := b.empty[w.name]; !ok {
		b.empty[w.name] = now
	}
}

// afterDrain leaves out instances that have been in maintenance for the
// grace, and notes when the next one will have been.
func (b *book) afterDrain(now time.Time, w *watch, all []mesh.Endpoint) []mesh.Endpoint {
	drained := map[string]time.Time{}
	var next time.Time
	kept := make([]mesh.Endpoint, 0, len(all))
	for _, e := range all {
		if e.Health == mesh.Draining {
			key := catalog.EndpointKey(&e)
			since, known := w.drained[key]
			if !known {
				since = now
			}
			drained[key] = since
			end := since.Add(b.cfg.DrainGrace)
			if !now.Before(end) {
				continue
			}
			if next.IsZero() || end.Before(next) {
				next = end
			}
		}
		kept = append(kept, e)
	}
	w.drained = drained
	delete(b.draining, w.name)
	if !next.IsZero() {
		b.draining[w.name] = next
	}
	return kept
}

// standIn fills in for services that have not answered in time.
func (b *book) standIn(now time.Time) {
	for name, w := range b.waiting {
		if now.Sub(w.started) < b.cfg.FirstAnswer {
			continue
		}
		delete(b.waiting, name)
		b.standInFor(name)
	}
}

// recall watches what last known good names when the name list itself has not
// answered in time.
func (b *book) recall(now time.Time) {
	if b.home.namesKnown || b.published || len(b.lastGood) == 0 || now.Sub(b.started) < b.cfg.FirstAnswer {
		return
	}
	for name, s := range b.lastGood {
		if !isAbroad(name) && b.inUse(name) && !b.guard.Knows(name) {
			b.guard.Seed(name, s.Endpoints)
			b.restaff = true
		}
	}
}

// ready reports whether the catalog is whole: every service answered or stood
// in for.
func (b *book) ready(now time.Time) bool {
	if b.published {
		return true
	}
	late := now.Sub(b.started) >= b.cfg.FirstAnswer
	if !b.home.namesKnown && (!late || !b.staffedAtHome()) {
		return false
	}
	return len(b.waiting) == 0 && (b.protocolsSettled || late)
}

func (b *book) staffedAtHome() bool {
	for _, w := range b.watches {
		if w.in == b.home {
			return true
		}
	}
	return false
}

// step lets time pass and returns the services that need a goroutine now.
func (b *book) step(now time.Time) (hire []*watch) {
	b.recall(now)
	for name, since := range b.empty {
		if !b.deserves(name) && (!b.published || now.Sub(since) >= b.cfg.Linger) {
			b.restaff = true
		}
	}
	for _, since := range b.parting {
		b.restaff = b.restaff || now.Sub(since) >= b.cfg.Linger
	}
	if b.restaff {
		hire = b.staff(now)
	}
	b.standIn(now)
	b.compose(now, b.guard.Tick(now)...)
	for name, at := range b.draining {
		if !now.Before(at) {
			b.compose(now, name)
		}
	}
	return hire
}

// next returns when step has something to do; zero: only when something
// happens.
func (b *book) next(now time.Time) (next time.Time) {
	soon := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	for _, at := range b.draining {
		soon(at)
	}
	for _, w := range b.waiting {
		soon(w.started.Add(b.cfg.FirstAnswer))
	}
	for name, since := range b.empty {
		if !b.deserves(name) && !b.guard.Suspect(name) {
			soon(since.Add(b.cfg.Linger))
		}
	}
	for _, since := range b.parting {
		soon(since.Add(b.cfg.Linger))
	}
	if t, ok := b.guard.Next(b.asking < confirmsAtOnce); ok {
		soon(t)
	}
	if end := b.started.Add(b.cfg.FirstAnswer); !b.published && now.Before(end) {
		soon(end)
	}
	return next
}
