package catalog

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"meshlite.dev/internal/mesh"
)

// Trust says how much an answer that loses instances is worth.
type Trust int

// The kinds of answer.
const (
	Unconfirmed Trust = iota // an ordinary read: a loss needs a confirming one
	Confirmed                // read on purpose, consistently, with full rights
	Refused                  // the confirming read was refused or filtered; Reason says how
	Rewound                  // confirmed, but by a source that went back to an older or another state
)

// Answer is all that a source says about one service.
type Answer struct {
	Service   string
	Endpoints []mesh.Endpoint // arranged; not read with Refused
	Trust     Trust
	Reason    string // of Refused; of Rewound where it is not the index
	// Op names the write that made this answer: Consul's index, or the number
	// of a folder's reading. Losses of one Op happened at once, others one by
	// one. 0 is unknown, and one of its own.
	Op uint64
}

// GuardConfig sets the guard's measures. The zero value takes the defaults.
type GuardConfig struct {
	// Settle is how long a confirmed loss waits for others to turn up beside
	// it; 0 not at all, for a source that is read as one.
	Settle time.Duration
	// HoldFor is how long a hold lasts before a confirming read alone ends it;
	// default 10 min.
	HoldFor time.Duration
	// Window is how close together losses count as one; default 10 s.
	Window time.Duration
	// More than max(Share of all, Endpoints) lost, over at least Services, is
	// a mass loss; default 0.30, 10 and 3.
	Share               float64
	Endpoints, Services int
	// RetryRefused is how long after a refused confirming read the next one is
	// due; default 5 s.
	RetryRefused time.Duration
}

// Guard decides which losses of instances to believe. It is a step machine of
// plain values: one goroutine owns it, times come from outside.
//
//	           loses an instance         confirmed
//	  calm ───────────────────▶ asking ───────────▶ settling ───▶ believed
//	   ▲                         │  ▲                  │ mass loss
//	   │ all are back            │  │ due again        ▼
//	any state                    └─▶ refused          held ───▶ believed, once
//	                                                     expired and confirmed, or accepted
//
// Until a loss is believed the lost instances stay beside what the source
// says: what it adds and changes goes through at once.
type Guard struct {
	cfg      GuardConfig
	services map[string]*guarded
	suspects map[string]*guarded // those that are not calm
	believed []loss              // what was let through lately
	size     int                 // endpoints served
}

type state int

const (
	calm state = iota
	asking
	settling
	held
)

// guarded is one service as the guard knows it.
type guarded struct {
	latest  []mesh.Endpoint          // what the source says
	kept    map[string]mesh.Endpoint // lost according to the source, still served
	state   state
	since   time.Time // of the loss
	op      uint64    // of the answer that lost it
	due     time.Time // asking: when to ask; settling: when to believe
	asked   bool      // a confirming read is on its way
	refusal string    // why the last confirming read told nothing
	why     string    // of a hold
	until   time.Time // of a hold: when a confirming read alone will do
}

// NewGuard returns a guard that knows no service yet.
func NewGuard(cfg GuardConfig) *Guard {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&cfg.HoldFor, 10*time.Minute)
	def(&cfg.Window, 10*time.Second)
	def(&cfg.RetryRefused, 5*time.Second)
	if cfg.Share == 0 {
		cfg.Share, cfg.Endpoints, cfg.Services = 0.30, 10, 3
	}
	return &Guard{cfg: cfg, services: map[string]*guarded{}, suspects: map[string]*guarded{}}
}

// Seed makes the guard hold the source to what was served before it answered.
func (g *Guard) Seed(service string, endpoints []mesh.Endpoint) {
	g.Forget(service)
	g.services[service] = &guarded{latest: endpoints}
	g.size += len(endpoints)
}

// Knows reports whether the service has been seeded or answered for.
func (g *Guard) Knows(service string) bool { return g.services[service] != nil }

// Suspect reports whether a loss of the service waits to be believed.
func (g *Guard) Suspect(service string) bool { return g.suspects[service] != nil }

// Forget drops a service, whatever is held of it.
func (g *Guard) Forget(service string) {
	if s := g.services[service]; s != nil {
		g.size -= len(s.latest) + len(s.kept)
		delete(g.services, service)
		delete(g.suspects, service)
	}
}

// Observe takes answers that belong together and returns the services whose
// served endpoints may have changed, sorted. The first answer for a service
// is taken as it is.
func (g *Guard) Observe(now time.Time, answers ...Answer) []string {
	touched := map[string]bool{}
	for _, a := range answers {
		touched[a.Service] = true
		g.take(now, a)
	}
	g.believeDue(now, touched)
	return slices.Sorted(maps.Keys(touched))
}

// Tick lets time pass: it returns the services whose served endpoints
// changed. Ask for due confirming reads afterwards.
func (g *Guard) Tick(now time.Time) []string {
	touched := map[string]bool{}
	g.believeDue(now, touched)
	return slices.Sorted(maps.Keys(touched))
}

// Served returns the endpoints to serve, arranged.
func (g *Guard) Served(service string) []mesh.Endpoint {
	s := g.services[service]
	if s == nil {
		return nil
	}
	if len(s.kept) == 0 {
		return s.latest
	}
	taken := map[place]bool{}
	for _, e := range s.latest {
		taken[placeOf(e)] = true
	}
	all := slices.Clone(s.latest)
	for _, e := range s.kept {
		if !taken[placeOf(e)] { // a new instance at the old place is no loss
			all = append(all, e)
		}
	}
	all, _ = Arrange(service, all)
	return all
}

type place struct {
	address string
	port    uint32
}

func placeOf(e mesh.Endpoint) place { return place{e.Address, e.Port} }

// take notes one answer and moves its service a step.
func (g *Guard) take(now time.Time, a Answer) {
	s := g.services[a.Service]
	if a.Trust == Refused {
		if s != nil {
			s.refuse(a.Reason, now.Add(g.cfg.RetryRefused))
		}
		return
	}
	if s == nil {
		g.services[a.Service] = &guarded{latest: a.Endpoints}
		g.size += len(a.Endpoints)
		return
	}
	grew := g.merge(s, a.Endpoints)
	if len(s.kept) == 0 {
		g.calm(a.Service, s)
		return
	}
	if s.state == calm {
		s.state, s.since, s.due = asking, now, now
		g.suspects[a.Service] = s
	}
	if grew {
		s.op = a.Op
	}
	switch {
	case a.Trust == Rewound:
		s.asked, s.refusal = false, ""
		s.hold(cmp.Or(a.Reason, "index went backwards"), now, g.cfg.HoldFor)
	case a.Trust == Confirmed:
		s.asked, s.refusal = false, ""
		s.confirm(now, g.cfg.Settle)
	case grew && s.state == settling: // confirmed was less than this
		s.state, s.due = asking, now
	}
}

// merge replaces what the source says and keeps what it lost. It reports
// whether it lost more than before.
func (g *Guard) merge(s *guarded, endpoints []mesh.Endpoint) (grew bool) {
	g.size -= len(s.latest) + len(s.kept)
	kept := make(map[string]mesh.Endpoint, len(s.kept))
	maps.Copy(kept, s.kept)
	for _, e := range s.latest {
		kept[EndpointKey(&e)] = e
	}
	for _, e := range endpoints {
		delete(kept, EndpointKey(&e))
	}
	for key := range kept {
		if _, before := s.kept[key]; !before {
			grew = true
		}
	}
	s.latest, s.kept = endpoints, kept
	g.size += len(s.latest) + len(s.kept)
	return grew
}

// confirm moves a loss on that the source stands by.
func (s *guarded) confirm(now time.Time, settle time.Duration) {
	switch {
	case s.state == asking && !s.until.IsZero() && now.Before(s.until):
		s.state = held // a hold whose reads had been refused goes on
	case s.state == asking:
		s.state, s.due = settling, s.since.Add(settle)
	case s.state == held && !now.Before(s.until):
		s.state, s.due = settling, now
	}
}

func (g *Guard) calm(name string, s *guarded) {
	*s = guarded{latest: s.latest}
	delete(g.suspects, name)
}

func (s *guarded) hold(reason string, now time.Time, d time.Duration) {
	if s.state == held && now.Before(s.until) {
		return // the first reason and its time stay
	}
	s.state, s.why, s.until = held, reason, now.Add(d)
}

func (s *guarded) refuse(reason string, retry time.Time) {
	s.asked = false
	if s.state != calm {
		s.state, s.refusal, s.due = asking, "confirming read refused: "+reason, retry
	}
}
