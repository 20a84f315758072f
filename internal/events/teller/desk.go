package teller

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/facts"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/pmap"
	"meshlite.dev/internal/policy"
)

// World is all that is told of, at one moment.
type World struct {
	Services pmap.Map[*mesh.Service]
	Revision policy.Revision
	// Status returns what became of a document; false while that is not known.
	Status   func(policy.Key) (policy.Status, bool)
	Statuses []policy.Status // all of them
	Proxies  []facts.Proxy   // connected ones, of this replica
	Rollouts Rollouts
	// Holds are those of this replica's guard, once it is known.
	Holds      []facts.Hold
	HoldsKnown bool
	// Settled is false while proxies that are missing may be on their way back.
	Settled bool
}

// proxiesTold is the subject under which the cursor holds that this outbox has
// told of its proxies before.
const proxiesTold = "told/proxies"

// desk holds what was told. The loop owns it.
type desk struct {
	cfg  Config
	uid  string
	told memory
	// seen are the services that told was brought up to date with, by subject: a
	// service that has not changed is the same pointer.
	seen map[string]*mesh.Service
}

func (d *desk) begin(uid string, told memory) {
	d.uid, d.told, d.seen = uid, told, map[string]*mesh.Service{}
}

// draft is what one run tells.
type draft struct {
	gaps []events.GapData
	anew map[string]bool          // prefixes of subjects that are told from nothing
	now  map[string]facts.Subject // nil: nothing is left to tell of it
	same map[string]bool          // subjects that stay as they were told
	seen map[string]*mesh.Service
}

// tell keeps the events between what was told and the world, and returns how
// many; changed are transactions. l is nil while another replica tells of services,
// policies and rollouts.
func (d *desk) tell(w World, changed batch, l *lead, at time.Time) (int, error) {
	x := &draft{anew: map[string]bool{}, now: map[string]facts.Subject{}, same: map[string]bool{}, seen: map[string]*mesh.Service{}}
	if l != nil {
		if l.anew != "" {
			x.gaps = append(x.gaps, events.GapData{Replica: d.cfg.Replica, Reason: l.anew, Scope: "catalog"})
			x.anew[facts.ServiceSubject("")], x.anew["policy/"] = true, true
		}
		d.services(x, w)
		d.policies(x, w)
		d.rollouts(x, w.Rollouts)
	} else {
		clear(d.seen) // whoever leads next looks at all of them
	}
	if !d.told.has(proxiesTold) {
		x.gaps = append(x.gaps, events.GapData{Replica: d.cfg.Replica, Reason: "first start, or its outbox was lost", Scope: "proxies"})
		x.now[proxiesTold] = facts.Subject{}
	}
	d.proxies(x, w)
	d.holds(x, w)
	d.transactions(x, changed)
	n, err := d.keep(x, at)
	if err == nil && l != nil {
		l.anew = ""
	}
	return n, err
}

// before is what was told of a subject, as far as it still counts.
func (d *desk) before(x *draft, subject string) facts.Subject {
	for prefix := range x.anew {
		if strings.HasPrefix(subject, prefix) {
			return nil
		}
	}
	return d.told.get(subject)
}

func (d *desk) services(x *draft, w World) {
	anew := len(x.anew) > 0
	for name, s := range w.Services.All() {
		subject := facts.ServiceSubject(name)
		if !s.Synced { // nothing is known of it
			x.same[subject] = true
			continue
		}
		x.seen[subject] = s
		if !anew && d.seen[subject] == s {
			x.same[subject] = true
			continue
		}
		x.now[subject] = facts.OfService(s)
	}
	d.leave(x, facts.ServiceSubject(""))
}

func (d *desk) policies(x *draft, w World) {
	inForce := map[policy.Key]*policy.Document{}
	for _, doc := range w.Revision.Documents {
		inForce[doc.Key] = doc
	}
	keys := slices.Collect(maps.Keys(inForce))
	for _, s := range w.Statuses {
		if _, ok := inForce[s.Key]; !ok {
			keys = append(keys, s.Key)
		}
	}
	for _, key := range keys {
		subject := facts.PolicySubject(key)
		status, known := w.Status(key)
		now := facts.OfPolicy(key, inForce[key], status, w.Revision.Number)
		if old, ok := d.before(x, subject)["acceptance"]; ok && !known {
			now["acceptance"] = old
		}
		x.now[subject] = now
	}
	d.leave(x, "policy/")
}

func (d *desk) proxies(x *draft, w World) {
	for _, p := range w.Proxies {
		subject := facts.ProxySubject(p.ID)
		x.now[subject] = facts.OfProxy(p, d.told.get(subject))
	}
	if w.Settled {
		d.leave(x, facts.ProxySubject(""))
	}
}

// leave takes subjects of a kind for gone that x does not have.
func (d *desk) leave(x *draft, kind string) {
	for subject := range d.told[kind] {
		if _, ok := x.now[subject]; !ok && !x.same[subject] {
			x.now[subject] = nil
		}
	}
}

// keep writes what x tells, and only then takes it for told.
func (d *desk) keep(x *draft, at time.Time) (int, error) {
	told := map[string][]facts.Told{}
	moved := map[string][]byte{}
	n := len(x.gaps)
	for subject, now := range x.now {
		before := d.before(x, subject)
		told[subject] = facts.Diff(before, now)
		n += len(told[subject])
		if had := d.told.has(subject); len(told[subject]) == 0 && had == (now != nil) && maps.EqualFunc(d.told.get(subject), now, facts.Fact.Same) {
			continue
		}
		if now == nil {
			moved[subject] = nil
			continue
		}
		raw, err := json.Marshal(light(maps.Clone(now)))
		if err != nil {
			return 0, fmt.Errorf("write what was told of %s: %w", subject, err)
		}
		moved[subject] = raw
	}
	if n > 0 || len(moved) > 0 {
		if _, err := d.cfg.Outbox.Append(func(first uint64) []events.Event { return d.write(x, told, first, at) }, moved); err != nil {
			return 0, err
		}
	}
	for subject := range moved {
		d.told.set(subject, x.now[subject])
	}
	d.seen = x.seen
	return n, nil
}

// write makes the events, gaps first. Where the object has no version of its
// own the place in the log tells two of the same content apart.
func (d *desk) write(x *draft, told map[string][]facts.Told, first uint64, at time.Time) []events.Event {
	var out []events.Event
	add := func(typ, subject string, f facts.Fact) {
		content := f.Data
		switch {
		case f.Once:
			content = nil
		case f.Version == "":
			f.Version = d.cfg.Outbox.UID() + " " + strconv.FormatUint(first+uint64(len(out)), 10)
		}
		if f.At.IsZero() {
			f.At = at
		}
		out = append(out, events.Event{
			ID: events.ID(d.uid, typ, subject, f.Version, content), Source: source(d.uid), Type: typ, Subject: subject, Time: f.At, Data: f.Data,
		})
	}
	for _, g := range x.gaps {
		raw, err := json.Marshal(g)
		if err != nil { // a bug: it is plain data
			raw = []byte("{}")
		}
		add(events.Gap, "events", facts.Fact{Data: raw})
	}
	for _, subject := range slices.Sorted(maps.Keys(told)) {
		for _, t := range told[subject] {
			add(t.Type, subject, t.Fact)
		}
	}
	return out
}
