package server

import (
	"slices"
	"strconv"
	"time"

	"meshlite.dev/internal/xds/cache"
)

// sent is a response without an answer.
type sent struct {
	kind    cache.Kind
	nonce   string
	items   []sentItem
	removed int
	own     bool // counts against the window of unproven responses
	trial   bool // counts as the suspect under way
}

// sentItem is one resource of a response and what the proxy had before.
type sentItem struct {
	item *cache.Item
	prev version
}

// nextNonce returns a nonce that the stream has not used.
func (st *stream) nextNonce() string {
	st.nonces++
	return strconv.FormatUint(st.nonces, 36)
}

// answer takes an ACK or a NACK. Delta answers every nonce once, in order; a
// nonce that is unknown was answered before or belongs to an earlier stream,
// and is no news, unless it is that of a ballot.
func (st *stream) answer(k cache.Kind, req *request) {
	at := slices.IndexFunc(st.inflight, func(s *sent) bool { return s.nonce == req.nonce && s.kind == k })
	if at < 0 {
		st.counted(req)
		return
	}
	rec := st.inflight[at]
	if st.sotw {
		// Envoy leaves earlier ones unanswered while a cluster warms: the
		// answer to a later one speaks for them.
		for _, old := range slices.Clone(st.inflight[:at]) {
			if old.kind == k {
				st.finish(old)
				st.heard(old, false)
				st.acked(old)
			}
		}
	}
	st.finish(rec)
	st.heard(rec, req.refused)
	if req.refused {
		st.nacked(rec, req.detail)
	} else {
		st.acked(rec)
	}
	if st.waiting {
		st.watch.Wake()
	}
}

// finish takes a response off the list.
func (st *stream) finish(rec *sent) {
	st.inflight = slices.DeleteFunc(st.inflight, func(s *sent) bool { return s == rec })
	if len(st.inflight) == 0 {
		st.inflight = nil
	}
	ks := &st.kinds[rec.kind]
	if rec.own {
		ks.own--
	}
	if rec.trial {
		ks.trial--
	}
}

// acked records what the Envoy accepted.
func (st *stream) acked(rec *sent) {
	now := time.Now()
	st.kinds[rec.kind].ack = now
	var newest time.Time
	for _, s := range rec.items {
		st.prove(s.item)
		st.proxy.accept(rec.kind, s.item, st.wanted(rec.kind, s.item.Name))
		if _, gated := st.gates[s.item.Name]; gated && rec.kind == cache.CDS && !st.comesAgain(s.item.Name) {
			st.openGate(s.item.Name)
		}
		if s.item.At.After(newest) {
			newest = s.item.At
		}
	}
	if n := len(rec.items); n > 0 {
		took := now.Sub(newest)
		if took > now.Sub(st.since) {
			took = now.Sub(st.since) // published before the proxy came
		}
		st.tell(func() { st.srv.cfg.Observer.Acked(rec.kind.String(), n, took) })
	}
}

// wanted is the version that the proxy should have; "" when it should have
// nothing.
func (st *stream) wanted(k cache.Kind, name string) string {
	if i := st.current(st.seen, k, name); i != nil {
		return i.Version
	}
	return ""
}

// prove records that this build accepts a content, and frees those who waited
// for somebody to say so.
func (st *stream) prove(i *cache.Item) {
	if i.Prove(st.bit) {
		st.tell(func() { st.srv.proven(i) })
	}
}
