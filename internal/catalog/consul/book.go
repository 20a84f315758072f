package consul

import (
	"maps"
	"slices"
	"time"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
)

// book is everything the source knows. It reads no clock and makes no
// request; the Source guards it with one lock.
type book struct {
	cfg      Config
	guard    *catalog.Guard
	ledger   catalog.Ledger
	lastGood map[string]*catalog.Service

	watches map[string]*watch
	// waiting, draining and empty name the watches that time alone moves on,
	// so that no step looks at all of them.
	waiting  map[string]*watch    // without a first answer, not yet stood in for
	draining map[string]time.Time // when the next instance has drained long enough
	empty    map[string]time.Time // since when nothing is left of a service

	home    *place            // the agent's own datacenter
	abroad  map[string]*place // the others in use, by name
	located bool              // what the own datacenter is called is known, or not to be learned
	// wants are the services of other datacenters that routes name, by key;
	// parting those that none names any more, since when.
	wants   map[string]bool
	parting map[string]time.Time

	restaff bool // the watches may have to change
	skipped []catalog.Skipped
	// protocols are service-defaults; settled once they answered or refused.
	protocols        map[string]mesh.Protocol
	protocolsSettled bool

	started   time.Time
	published bool
	everRead  bool // some read of the own datacenter succeeded since the start

	asking int // confirming reads under way

	notes map[string]mesh.Finding
}

// watch is one service in use.
type watch struct {
	name     string // of the service in the mesh: ServiceKey of the next two
	service  string // its name in Consul
	in       *place
	started  time.Time
	stop     func() // ends its goroutine
	again    bool   // drop the index and read directly
	cancel   func() // ends the read under way; nil between reads
	answered bool
	doubtful bool   // no full, direct answer of this epoch yet
	base     uint64 // highest index of this epoch
	fresh    freshness
	// namespace is the server's own, findings those of the latest answer.
	namespace string
	findings  []mesh.Finding
	drained   map[string]time.Time // by endpoint key: since when in maintenance
}

type freshness struct {
	at    time.Time
	index uint64
	err   string
}

func newBook(cfg Config) *book {
	b := &book{
		cfg: cfg, guard: catalog.NewGuard(catalog.GuardConfig{Settle: settle}), lastGood: map[string]*catalog.Service{},
		watches: map[string]*watch{}, waiting: map[string]*watch{}, draining: map[string]time.Time{}, empty: map[string]time.Time{},
		home: newPlace(""), abroad: map[string]*place{}, wants: map[string]bool{}, parting: map[string]time.Time{},
		protocols: map[string]mesh.Protocol{}, notes: map[string]mesh.Finding{},
	}
	b.home.called = cfg.LastGood.Datacenter // until it says so itself
	b.ledger.Home(b.home.called)
	for _, s := range cfg.LastGood.Services {
		b.lastGood[s.Name] = s
		if isAbroad(s.Name) {
			b.wants[s.Name] = true // until somebody says what is wanted
		}
	}
	return b
}

// begin notes the start. Last known good that is young holds Consul to its
// word at once: a restart must not forget what the guard is for.
func (b *book) begin(now time.Time) {
	b.started, b.restaff = now, true
	if now.Sub(b.cfg.LastGood.At) < seedAge {
		for _, s := range b.cfg.LastGood.Services {
			if b.inUse(s.Name) {
				b.guard.Seed(s.Name, s.Endpoints)
			}
		}
	}
	if len(b.cfg.Services) > 0 {
		b.named(b.home, b.cfg.Services)
	}
}

// inUse reports whether a service may be served.
func (b *book) inUse(name string) bool {
	if isAbroad(name) {
		return b.wants[name]
	}
	return len(b.cfg.Services) == 0 || slices.Contains(b.cfg.Services, name)
}

// named takes a place's list of services.
func (b *book) named(p *place, names []string) {
	p.names = make(map[string]bool, len(names))
	for _, name := range names {
		p.names[name] = true
	}
	p.namesKnown, b.restaff = true, true
}

// wanted lists the names of the own datacenter that deserve a watch, sorted,
// and reports those that cannot be served.
func (b *book) wanted() []string {
	all := maps.Clone(b.home.names)
	for name := range b.lastGood { // until Consul says that it is gone
		if !isAbroad(name) && b.inUse(name) && b.guard.Knows(name) {
			all[name] = true
		}
	}
	b.skipped = nil
	var findings []mesh.Finding
	names := slices.Sorted(maps.Keys(all))
	names = slices.DeleteFunc(names, func(name string) bool {
		skip, finding, ok := catalog.CheckName(name)
		if name == "consul" {
			skip, ok = catalog.Skipped{Name: name, Reason: "Consul's own servers are not a service of the mesh"}, false
		} else if !ok {
			findings = append(findings, finding)
		}
		if !ok {
			b.skipped = append(b.skipped, skip)
		}
		return !ok
	})
	b.ledger.Report("names", findings)
	return names
}

// staff returns the services that need a goroutine now, and ends those that
// are over. Those already watched go on; the limit meets the others.
func (b *book) staff(now time.Time) (hire []*watch) {
	wanted := append(b.wanted(), b.wantedAbroad()...)
	for name, since := range b.empty {
		if b.deserves(name) || b.guard.Suspect(name) {
			continue
		}
		if !b.published || now.Sub(since) >= b.cfg.Linger {
			b.dismiss(name)
		}
	}
	b.part(now)
	var beyond []string
	for _, name := range wanted {
		if b.watches[name] != nil || !b.deserves(name) && !b.guard.Knows(name) {
			continue
		}
		if len(b.watches) >= b.cfg.MaxWatches {
			b.skipped = append(b.skipped, unwatched(name, b.cfg.MaxWatches))
			beyond = append(beyond, name)
			b.ledger.Delete(name) // it may have been named as not synced
			continue
		}
		w := b.watchOf(name, now)
		if b.watches[name] = w; w.in == b.home {
			b.waiting[name] = w
		} else {
			b.standInFor(name) // at once: nobody waits for another datacenter
		}
		hire = append(hire, w)
	}
	b.noteUnwatched(beyond)
	b.restaff = false
	return hire
}

// watchOf makes the watch of a service.
func (b *book) watchOf(name string, now time.Time) *watch {
	service, datacenter := mesh.SplitServiceKey(name)
	w := &watch{name: name, service: service, in: b.home, started: now, drained: map[string]time.Time{}}
	if datacenter != "" {
		w.in = b.place(datacenter)
	}
	if !b.home.namesKnown {
		w.started = b.started // named by last known good alone
	}
	return w
}

// dismiss ends the watch of a service, if it has one, and forgets all of it.
func (b *book) dismiss(name string) {
	if w := b.watches[name]; w != nil {
		w.stop()
	}
	delete(b.watches, name)
	delete(b.waiting, name)
	delete(b.draining, name)
	delete(b.empty, name)
	delete(b.lastGood, name)
	b.guard.Forget(name)
	b.ledger.Delete(name)
	b.ledger.Report(name, nil)
}

// poke makes a watch read directly, now.
func (w *watch) poke() {
	w.again = true
	if w.cancel != nil {
		w.cancel()
	}
}

// failed notes a read of a service that did not succeed.
func (b *book) failed(w *watch, err error) { w.fresh.err = err.Error() }

// manner says how a service's answer came about, and so what it can tell.
type manner int

const (
	followed  manner = iota // with an index: nothing tells whether it is filtered
	direct                  // without index, consistently
	testified               // direct, and by a Consul that told afterwards who it is
)

// heard takes a service's answer to a request of an epoch.
func (b *book) heard(now time.Time, w *watch, d described, a answer, how manner, epoch uint64) {
	if b.watches[w.name] != w || epoch != w.in.epoch {
		return // dismissed, or about to be read again
	}
	a.filtered = a.filtered || w.in.dark && len(d.endpoints) == 0
	if a.filtered && len(d.endpoints) == 0 && !b.guard.Knows(w.name) {
		w.fresh.err = errFiltered
		return
	}
	w.namespace, w.findings = d.namespace, d.findings
	if a.filtered {
		w.findings = append(w.findings, hidden(w.name))
	}
	b.everRead = b.everRead || w.in == b.home
	verdict := catalog.Answer{Service: w.name, Endpoints: d.endpoints, Op: a.index}
	doubtful := w.doubtful
	full := how >= direct && !a.filtered
	if full && a.index < w.base {
		b.rewound(now, w.in, wentBack)
		doubtful = true
	}
	switch {
	case full && doubtful:
		verdict.Trust = catalog.Rewound
	case full && how == testified:
		verdict.Trust = catalog.Confirmed
	}
	first := !w.answered
	b.answered(now, w, a, full)
	b.compose(now, b.guard.Observe(now, verdict)...)
	if a.filtered && b.guard.Suspect(w.name) {
		b.guard.Observe(now, catalog.Answer{Service: w.name, Trust: catalog.Refused, Reason: errFiltered})
	}
	if first && !b.guard.Suspect(w.name) {
		delete(b.lastGood, w.name)
	}
}

// errFiltered is what a reader is told when the token hides instances.
const errFiltered = "results filtered by ACLs: the token needs service:read and node:read for every instance"

// answered notes that a service was read; full: directly, and unfiltered.
func (b *book) answered(now time.Time, w *watch, a answer, full bool) {
	w.answered = true
	if full {
		w.doubtful = false
	}
	w.base = max(w.base, a.index)
	w.fresh = freshness{at: now, index: a.index}
	delete(b.waiting, w.name)
}
