package report

import (
	"bytes"
	"slices"
	"time"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/status"
	"meshlite.dev/internal/xds/cache"
	"meshlite.dev/internal/xds/server"
)

// notePause is the least time between two notes for the other replicas.
const notePause = time.Second

// standing is what a new holder of the lock found written; taken is closed once
// the statuses told go on from there.
type standing struct {
	statuses []policy.Status
	taken    chan struct{}
}

// desk holds what statuses are made of. The loop owns it.
type desk struct {
	cfg     Config
	started time.Time

	loaded   bool
	revision policy.Revision
	docs     []status.Document
	asks     []status.Ask
	inquiry  *server.Inquiry
	since    map[string]uint64 // by label, the revision with which it came; 0: it was there
	peers    map[string]status.Note

	deliveries status.Deliveries // of this replica

	connected int
	own       []status.Uptake // by place in asks
	sum       map[status.Ask]status.Uptake

	told   map[policy.Key]*line
	adopts []*standing // not gone on from yet

	noted   []byte
	notedAt time.Time
}

// line is what is told of one document.
type line struct {
	status  policy.Status
	uptakes []status.Uptake // that it was made of
	deliver *status.Delivery
	waits   bool // it says less than is known: see status.Settle
	since   time.Time
}

func newDesk(cfg Config, now time.Time) *desk {
	return &desk{cfg: cfg, started: now, since: map[string]uint64{}, told: map[policy.Key]*line{}}
}

// adopt makes what stands written what was told before.
func (d *desk) adopt(s *standing) {
	if s != nil {
		d.adopts = append(d.adopts, s)
	}
}

// reload reads what is served; false while nothing is.
func (d *desk) reload() bool {
	result, revision, ok := d.cfg.View()
	if !ok {
		return false
	}
	d.docs, d.revision = status.Documents(result, revision), revision
	if d.cfg.Held != nil {
		d.docs = status.Hold(d.docs, d.cfg.Held())
	}
	d.asks = d.asks[:0:0]
	since := make(map[string]uint64, len(d.docs))
	for i := range d.docs {
		doc := &d.docs[i]
		if doc.Label == "" {
			continue
		}
		d.asks = append(d.asks, asksOf(doc)...)
		at, known := d.since[doc.Label]
		if !known && d.loaded {
			at = revision.Number
		}
		since[doc.Label] = at
	}
	d.since, d.loaded = since, true
	labels := make([]cache.Label, len(d.asks))
	for i, a := range d.asks {
		labels[i] = cache.Label{Policy: a.Label, Service: a.Service}
	}
	d.inquiry = server.NewInquiry(labels)
	for _, l := range d.told {
		l.uptakes = nil // to be worked out again
	}
	return true
}

// asksOf is what has to be known of a document: all of it, and each target.
func asksOf(doc *status.Document) []status.Ask {
	asks := []status.Ask{{Label: doc.Label}}
	if len(doc.Targets) < 2 {
		return asks
	}
	for _, t := range doc.Targets {
		if a := (status.Ask{Label: doc.Label, Service: t.Service}); !slices.Contains(asks, a) {
			asks = append(asks, a)
		}
	}
	return asks
}

// survey asks the fleet, here and elsewhere. It reports whether a proxy does
// not count yet.
func (d *desk) survey() (settling bool) {
	got := d.cfg.Fleet.Survey(d.inquiry)
	d.connected = got.Connected
	d.own = make([]status.Uptake, len(d.asks))
	d.sum = make(map[status.Ask]status.Uptake, len(d.asks))
	for i, a := range d.asks {
		d.own[i] = uptakeOf(got.Uptakes[i])
		total := d.own[i]
		for _, n := range d.peers {
			total = total.Plus(n.Of(a, d.revision.Hash, d.since[a.Label]))
		}
		d.sum[a] = total
	}
	return got.Settling > 0
}

// deliver asks how subscriptions are carried out, here and elsewhere. It reports
// whether there are any here: how they do has no event of its own.
func (d *desk) deliver() (carries bool) {
	d.deliveries = nil
	if d.cfg.Deliveries != nil {
		d.deliveries = d.cfg.Deliveries()
	}
	d.docs = slices.Clone(d.docs) // those before are told already
	for i := range d.docs {
		doc := &d.docs[i]
		doc.Delivery = doc.Deliver(d.deliveries, d.peers)
		carries = carries || doc.Role != "" && d.deliveries != nil
	}
	return carries
}

func uptakeOf(u server.Uptake) status.Uptake {
	out := status.Uptake{Untracked: !u.Labelled, Proxies: u.Proxies, Running: u.Running, Refusing: u.Refusing, Waiting: u.Late}
	for _, r := range u.Refusals {
		out.Refusals = append(out.Refusals, status.Refusal{Proxy: r.Proxy, Message: r.Message})
	}
	return out
}

// tell works out what is told of every document of which something changed. It
// reports whether a status says less than is known.
func (d *desk) tell(now time.Time) (waits bool) {
	stands := d.found()
	told := make(map[policy.Key]*line, len(d.docs))
	for i := range d.docs {
		doc := &d.docs[i]
		l, before := d.told[doc.Key], policy.Status{}
		old := l
		if l != nil {
			before = l.status
		}
		if found, ok := stands[doc.Key]; ok {
			l, before = nil, found
		}
		if l == nil || l.waits || !d.same(doc, l) {
			l = d.lineOf(doc, l, before, now)
		}
		told[doc.Key] = l
		waits = waits || l.waits
		if old != nil && status.Transition(old.status, l.status) {
			d.cfg.Changed(old.status, l.status)
		}
	}
	d.told = told
	return waits
}

// found returns what new holders of the lock found written.
func (d *desk) found() map[policy.Key]policy.Status {
	if len(d.adopts) == 0 {
		return nil
	}
	out := map[policy.Key]policy.Status{}
	for _, s := range d.adopts {
		for _, one := range s.statuses {
			out[one.Key] = one
		}
	}
	return out
}

// same reports whether nothing that l was made of has changed.
func (d *desk) same(doc *status.Document, l *line) bool {
	if l.uptakes == nil {
		return false
	}
	if (l.deliver == nil) != (doc.Delivery == nil) || l.deliver != nil && *l.deliver != *doc.Delivery {
		return false
	}
	return slices.EqualFunc(l.uptakes, d.uptakes(doc), status.Uptake.Equal)
}

func (d *desk) uptakes(doc *status.Document) []status.Uptake {
	if doc.Label == "" {
		return []status.Uptake{}
	}
	out := []status.Uptake{d.sum[status.Ask{Label: doc.Label}]}
	if len(doc.Targets) < 2 {
		return out
	}
	for _, t := range doc.Targets {
		out = append(out, d.sum[status.Ask{Label: doc.Label, Service: t.Service}])
	}
	return out
}

// lineOf works out one status, which goes on from before.
func (d *desk) lineOf(doc *status.Document, old *line, before policy.Status, now time.Time) *line {
	l := &line{uptakes: d.uptakes(doc), deliver: doc.Delivery, since: now}
	if old != nil && old.waits {
		l.since = old.since
	}
	patience := status.Patience
	if now.Sub(d.started) < startGrace {
		patience = startGrace
	}
	next := status.Of(*doc, func(a status.Ask) status.Uptake { return d.sum[a] }, d.revision.Number, now)
	next, l.waits = status.Settle(before, next, l.since, now, patience)
	l.status = status.Carry(before, next)
	return l
}

// statuses lists what is told.
func (d *desk) statuses(start time.Time) *Statuses {
	out := &Statuses{Revision: d.revision.Number, Connected: d.connected, Replicas: 1 + len(d.peers), at: make(map[policy.Key]int, len(d.docs))}
	out.made = made{start, time.Since(start), d.docs, d.asks, d.own, d.sum, d.told, d.peers}
	for i := range d.docs {
		out.at[d.docs[i].Key] = i
		out.List = append(out.List, d.told[d.docs[i].Key].status)
	}
	return out
}

// release tells new holders that the statuses told go on from what they found.
func (d *desk) release() {
	for _, s := range d.adopts {
		close(s.taken)
	}
	d.adopts = nil
}

// note is what the other replicas are to be told; nil where they know it
// already. later is true where it is too soon.
func (d *desk) note(now time.Time) (note []byte, later bool) {
	raw, err := status.NewNote(d.revision.Hash, d.revision.Number, d.connected, d.asks, d.own, d.deliveries).Encode()
	if err != nil || bytes.Equal(raw, d.noted) {
		return nil, false
	}
	if now.Sub(d.notedAt) < notePause {
		return nil, true
	}
	d.noted, d.notedAt = raw, now
	return raw, false
}
