package catalog

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"meshlite.dev/internal/mesh"
)

// loss is what one service lost, for the measure of a mass loss.
type loss struct {
	service string
	since   time.Time
	op      uint64
	count   int
	alone   bool // one instance of several: counted only beside others of its op
}

// Ask returns at most n services that need a confirming read now, those first
// that wait longest. The caller makes the reads and observes each answer as
// Confirmed, Refused or Rewound; until then the service is not returned again.
func (g *Guard) Ask(now time.Time, n int) []string {
	var due []string
	for name, s := range g.suspects {
		if t, ok := s.asks(); ok && !now.Before(t) {
			due = append(due, name)
		}
	}
	slices.SortFunc(due, func(a, b string) int {
		return cmp.Or(g.suspects[a].due.Compare(g.suspects[b].due), cmp.Compare(a, b))
	})
	due = due[:max(min(n, len(due)), 0)]
	for _, name := range due {
		g.suspects[name].asked = true
	}
	return due
}

// AskAgain makes a service's confirming read due at once: the answer that
// came was older than what the source has said since.
func (g *Guard) AskAgain(service string, now time.Time) {
	if s := g.suspects[service]; s != nil {
		s.asked = false
		if s.state == settling {
			s.state = asking
		}
		if s.state == asking {
			s.due = now
		}
	}
}

// Next returns when Tick, or Ask where asks counts, have something to do;
// false: never, as things stand.
func (g *Guard) Next(asks bool) (time.Time, bool) {
	var next time.Time
	for _, s := range g.suspects {
		t, ok := s.asks()
		ok = ok && asks
		if s.state == settling {
			t, ok = s.due, true
		}
		if ok && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	return next, !next.IsZero()
}

// asks returns when a confirming read is due.
func (s *guarded) asks() (time.Time, bool) {
	switch {
	case s.asked:
		return time.Time{}, false
	case s.state == asking:
		return s.due, true
	case s.state == held:
		return s.until, true
	default:
		return time.Time{}, false
	}
}

// Accept believes the source about the named services that are suspect, or
// about all of them, and returns their names, sorted.
func (g *Guard) Accept(names []string, all bool) []string {
	if all {
		names = slices.Collect(maps.Keys(g.suspects))
	}
	var accepted []string
	for _, name := range names {
		if s := g.suspects[name]; s != nil {
			g.believe(name, s)
			accepted = append(accepted, name)
		}
	}
	slices.Sort(accepted)
	return accepted
}

// patience is how long a loss may wait for its confirming read before it is
// shown as a hold.
const patience = time.Second

// Holds lists what is kept against the source's word, sorted by service.
func (g *Guard) Holds(now time.Time) []Hold {
	var holds []Hold
	for name, s := range g.suspects {
		h := Hold{Service: name, Since: s.since}
		switch {
		case s.state == held:
			h.Reason, h.Expires = s.why, s.until
		case s.state == asking && s.refusal != "":
			h.Reason = s.refusal
		case s.state == asking && now.Sub(s.since) >= patience:
			h.Reason = "waiting for a confirming read"
		default:
			continue
		}
		for _, e := range s.kept {
			h.Lost = append(h.Lost, e.ID)
		}
		slices.Sort(h.Lost)
		holds = append(holds, h)
	}
	slices.SortFunc(holds, func(a, b Hold) int { return cmp.Compare(a.Service, b.Service) })
	return holds
}

// Doubt turns every loss among the services that is not believed yet into a
// hold: the source's index went backwards, and nothing tells which losses came
// with that.
func (g *Guard) Doubt(now time.Time, among func(service string) bool) {
	for name, s := range g.suspects {
		if !among(name) {
			continue
		}
		if s.state == settling || s.state == asking && s.refusal == "" {
			s.hold("index went backwards", now, g.cfg.HoldFor)
		}
	}
}

// believeDue lets confirmed losses through, unless they are part of a mass
// loss.
func (g *Guard) believeDue(now time.Time, touched map[string]bool) {
	due := map[string]*guarded{}
	for name, s := range g.suspects {
		if s.state == settling && !now.Before(s.due) {
			due[name] = s
		}
	}
	if len(due) == 0 {
		return
	}
	const memory = 10 * time.Minute // longer than confirming reads can lag
	g.believed = slices.DeleteFunc(g.believed, func(l loss) bool { return now.Sub(l.since) > memory })
	losses := slices.Clone(g.believed)
	for name, s := range g.suspects {
		losses = append(losses, s.loss(name))
	}
	for name, s := range due { // judge all before the first is let through
		if s.until.IsZero() && s.loss(name).count > 0 && g.mass(s, losses) {
			s.hold("mass loss", now, g.cfg.HoldFor)
			delete(due, name)
		}
	}
	for name, s := range due {
		g.believed = append(g.believed, s.loss(name))
		g.believe(name, s)
		touched[name] = true
	}
}

// mass reports whether the losses close to that of s make a mass loss that s
// is part of.
func (g *Guard) mass(s *guarded, losses []loss) bool {
	perOp := map[uint64]int{}
	near := losses[:0:0]
	for _, l := range losses {
		if d := l.since.Sub(s.since).Abs(); l.count > 0 && d <= g.cfg.Window {
			near = append(near, l)
			perOp[l.op]++
		}
	}
	oneByOne := func(l loss) bool { return l.alone && (l.op == 0 || perOp[l.op] < 2) }
	if own := s.loss(""); oneByOne(own) {
		return false
	}
	services, sum, total := map[string]bool{}, 0, g.size
	for _, l := range near {
		if !oneByOne(l) {
			services[l.service] = true
			sum += l.count
		}
	}
	for _, l := range g.believed {
		if l.since.Sub(s.since).Abs() <= g.cfg.Window {
			total += l.count
		}
	}
	most := max(g.cfg.Share*float64(total), float64(g.cfg.Endpoints))
	return len(services) >= g.cfg.Services && float64(sum) > most
}

// loss measures what a service has lost: not what drained first, and not what
// only moved to another place.
func (s *guarded) loss(name string) loss {
	l := loss{service: name, since: s.since, op: s.op}
	moved := map[[2]string]bool{}
	for _, e := range s.latest {
		moved[[2]string{e.Node, e.ID}] = true
	}
	for _, e := range s.kept {
		if e.Health != mesh.Draining && !moved[[2]string{e.Node, e.ID}] {
			l.count++
		}
	}
	l.alone = l.count == 1 && len(s.latest) > 0
	return l
}

// believe drops what the source no longer names.
func (g *Guard) believe(name string, s *guarded) {
	g.size -= len(s.kept)
	g.calm(name, s)
}
