package server

import (
	"log/slog"
	"slices"
	"time"

	"meshlite.dev/internal/xds/cache"
)

// nacked takes a refusal. Nothing of the response counts as sent any more:
// what Envoy applied of it depends on the fault and on hash order. Content
// that is known to be at fault goes into quarantine; the rest is sent again,
// one per response, so that the next refusal names its resource by the nonce.
func (st *stream) nacked(rec *sent, detail string) {
	words := clean(detail)
	names := make([]string, len(rec.items))
	for i, s := range rec.items {
		names[i] = s.item.Name
	}
	guilty := attribute(rec.kind, detail, names)
	if len(names) == 1 {
		guilty = names
	}
	for _, s := range rec.items {
		bad := contains(guilty, s.item.Name)
		switch {
		case bad:
			s.prev = s.prev.without(s.item)
		case !(st.sotw && wildcard(rec.kind)):
			s.prev.maybe = append(slices.Clone(s.prev.maybe), s.item)
		}
		last := st.undo(rec.kind, s)
		if bad {
			st.quarantine(rec.kind, s, words, last)
		}
	}
	if st.sotw && wildcard(rec.kind) {
		// None of the set may have been applied, and the fault may be known.
		st.kinds[rec.kind].again = true
		if len(guilty) > 0 {
			st.together(rec)
		}
		st.watch.Wake()
	}
	if rec.removed > 0 {
		st.srv.cfg.Log.Warn("removal refused", slog.String("node", st.node.ID),
			slog.String("type_url", rec.kind.TypeURL()), slog.String("err", words))
	}
}

// together lets what was sent beside a known culprit travel in one response.
func (st *stream) together(rec *sent) {
	for _, s := range rec.items {
		if n := st.kinds[rec.kind].notes[s.item.Name]; n != nil {
			n.alone = false
		}
	}
}

// undo takes a refused content back to what the proxy had before. last is
// false when something newer is under way already.
func (st *stream) undo(k cache.Kind, s sentItem) (last bool) {
	name := s.item.Name
	gated := k == cache.CDS && s.prev.id == "" && !st.comesAgain(name) // by a gate of its own

	var next *cache.Item // newer, under way: its answer decides
	for _, later := range st.inflight {
		for i := range later.items {
			if later.kind != k || later.items[i].item.Name != name {
				continue
			}
			if next == nil && later.items[i].prev.id == s.item.Version {
				later.items[i].prev = s.prev
			}
			next = later.items[i].item
		}
	}
	if gated {
		st.openGate(name)
		if next != nil { // now it is the first of its name
			st.gate(next)
		}
	}
	// By version: the same content may have been published anew meanwhile.
	if next != nil || st.has(k, name).id != s.item.Version {
		return false
	}
	n := st.note(k, name)
	st.assume(k, n, s.prev)
	n.due, n.alone = true, true
	// It was sent again, and is to be; or nobody knows what the proxy has.
	n.force = s.prev.id == s.item.Version || s.prev.maybe != nil
	st.watch.Wake()
	return true
}

// quarantine records a refused content: it is not sent to this proxy again.
func (st *stream) quarantine(k cache.Kind, s sentItem, words string, last bool) {
	s.item.Refuse(st.bit)
	if n := st.kinds[k].notes[s.item.Name]; n != nil && last {
		n.alone, n.force = false, s.prev.maybe != nil
	}
	r := Rejection{
		Type: k.String(), Resource: s.item.Name, Service: s.item.Service, Policies: s.item.Policies,
		Message: words, Version: s.item.Version, LastGood: s.prev.id, At: time.Now(),
	}
	if !st.proxy.refuse(k, st.node.Envoy, r) {
		return
	}
	id := st.node.ID
	st.tell(func() {
		st.srv.cfg.Log.Warn("resource refused by the proxy", slog.String("node", id),
			slog.String("type_url", k.TypeURL()), slog.String("resource", r.Resource),
			slog.String("service", r.Service), slog.Any("policy", r.Policies),
			slog.String("version", r.Version), slog.String("last_good", r.LastGood), slog.String("err", words))
		st.srv.cfg.Observer.Rejected(id, r)
	})
}
