package consul

import (
	"time"

	"meshlite.dev/internal/mesh"
)

// place is one datacenter as its servers know it. The index, the trust domain
// and the names of one say nothing about those of another.
type place struct {
	name string // "" is the agent's own
	// called is what the own datacenter is called, "" unknown.
	called string
	// followed: a goroutine follows its names; stop ends it, but for the own.
	followed bool
	stop     func()

	names      map[string]bool // what the latest list named
	namesKnown bool
	list       freshness // of the name list
	// dark: nothing shows that it shows anything; what is not there may be
	// hidden.
	dark bool
	// back is closed and replaced when its servers answer again after a
	// failure: whoever waits to try again need not wait longer.
	back chan struct{}

	// epoch counts how often the index went backwards. Answers to requests of
	// an earlier epoch tell about a state that is no more.
	epoch     uint64
	identity  string // trust domain, "" unknown
	rewoundAt time.Time
	rewind    string // how it showed
}

func newPlace(name string) *place {
	return &place{name: name, names: map[string]bool{}, dark: name != "", back: make(chan struct{}), stop: func() {}}
}

// subject is a subject of notes, as far as it concerns this place.
func (p *place) subject(of string) string { return mesh.ServiceKey(of, p.name) }

// String is how messages name the place.
func (p *place) String() string {
	if p.name == "" {
		return "Consul"
	}
	return "Consul of datacenter " + p.name
}

// pulse is how long a query of the name list waits for news.
func (p *place) pulse() time.Duration {
	if p.name == "" {
		return waitNames
	}
	return waitAbroad
}

// recovered tells those who wait that the place answers again.
func (p *place) recovered() {
	close(p.back)
	p.back = make(chan struct{})
}

// known notes the trust domain and reports whether it is another one.
func (p *place) known(identity string) (another bool) {
	if identity == "" || identity == p.identity {
		return false
	}
	another = p.identity != ""
	p.identity = identity
	return another
}

// rewound starts an epoch of a place: what it says from here on comes from an
// older or another state. Losses that are not believed yet are held, and so
// are those of the first answer of every service.
func (b *book) rewound(now time.Time, p *place, how string) {
	p.epoch++
	p.rewoundAt, p.rewind = now, how
	b.guard.Doubt(now, func(name string) bool {
		_, datacenter := mesh.SplitServiceKey(name)
		return datacenter == p.name
	})
	for _, w := range b.watches {
		if w.in == p {
			w.base, w.doubtful = 0, w.answered
			w.poke()
		}
	}
}

// reread makes every watch of a place read directly, now.
func (b *book) reread(p *place) {
	for _, w := range b.watches {
		if w.in == p {
			w.poke()
		}
	}
}
