package server

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"meshlite.dev/internal/xds/cache"
	"meshlite.dev/internal/xds/resource"
)

const (
	// settleWithin is how long a proxy that has just connected may take to
	// fetch what it needs before it counts as late.
	settleWithin = 10 * time.Second
	// listed is how many proxies an Uptake names.
	listed = 3
)

// Inquiry is a list of labels to ask the fleet about, made ready once.
// Immutable.
type Inquiry struct {
	labels []cache.Label
	at     map[cache.Label]int
	inUse  map[string]string // the label in force by the document's own name
}

// NewInquiry asks about each of labels, all of which are in force: what an
// older version of the same document made has to go.
func NewInquiry(labels []cache.Label) *Inquiry {
	q := &Inquiry{labels: slices.Clone(labels), at: make(map[cache.Label]int, len(labels)), inUse: make(map[string]string, len(labels))}
	for i, l := range labels {
		q.at[l], q.inUse[nameOf(l.Policy)] = i, l.Policy
	}
	return q
}

// Labels returns what is asked about. Do not change it.
func (q *Inquiry) Labels() []cache.Label { return q.labels }

// nameOf cuts the generation off a label: "rp/default/orders".
func nameOf(label string) string {
	if at := strings.LastIndexByte(label, '@'); at >= 0 {
		return label[:at]
	}
	return label
}

// Uptake is how far the connected proxies are with what carries a label.
type Uptake struct {
	Labelled bool // something carries it
	Proxies  int  // that are subscribed to some of it
	Running  int  // of these have acknowledged all of it that they are subscribed to
	Refusing int  // of these have refused some of it; the others are late
	// Refusals and Late name the first few, by id.
	Refusals []Refusal
	Late     []string
}

// Refusal is a proxy with its Envoy's words.
type Refusal struct{ Proxy, Message string }

// Survey is the answer to an Inquiry.
type Survey struct {
	Connected int      // proxies that count
	Settling  int      // proxies that have just connected and do not count yet
	Uptakes   []Uptake // one per label
}

// Survey asks the connected proxies how far they are. A proxy runs a document
// where all that it is subscribed to and that carries the document's label is
// acknowledged, or differs from what is acknowledged by other documents alone.
// It costs a look at every stream, at each name under which a proxy is not
// where the index is, and a set of streams per label.
func (s *Server) Survey(q *Inquiry) Survey {
	v := survey{inquiry: q, now: time.Now(), lapses: map[int]map[*stream]string{}}
	for _, st := range s.live() {
		v.visit(st)
	}
	out := Survey{Connected: v.counted.Len(), Settling: v.settling, Uptakes: make([]Uptake, len(q.labels))}
	var crowd cache.Crowd
	for i, l := range q.labels {
		crowd.Clear()
		u := &out.Uptakes[i]
		u.Labelled = s.cfg.Store.Audience(l, &v.counted, &crowd)
		for st := range v.lapses[i] {
			crowd.Add(st.watch)
		}
		u.Proxies = crowd.Len()
		u.fill(v.lapses[i])
	}
	return out
}

// live returns the newest stream of every connected proxy.
func (s *Server) live() []*stream {
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	out := make([]*stream, 0, len(s.ledger.proxies))
	for _, p := range s.ledger.proxies {
		if p.stream != nil {
			out = append(out, p.stream)
		}
	}
	return out
}

// fill counts and names those that do not run it.
func (u *Uptake) fill(lapses map[*stream]string) {
	u.Running = u.Proxies - len(lapses)
	for st, words := range lapses {
		if words == "" {
			u.Late = append(u.Late, st.node.ID)
			continue
		}
		u.Refusing++
		u.Refusals = append(u.Refusals, Refusal{st.node.ID, words})
	}
	slices.Sort(u.Late)
	slices.SortFunc(u.Refusals, func(a, b Refusal) int { return cmp.Compare(a.Proxy, b.Proxy) })
	u.Late, u.Refusals = u.Late[:min(len(u.Late), listed)], u.Refusals[:min(len(u.Refusals), listed)]
}

// survey gathers what the streams say.
type survey struct {
	inquiry  *Inquiry
	now      time.Time
	counted  cache.Crowd
	settling int
	// lapses holds by label the streams that do not run it, with Envoy's words
	// or "" where it is only late.
	lapses map[int]map[*stream]string
}

// visit asks one stream.
func (v *survey) visit(st *stream) {
	st.mu.Lock()
	defer st.unlock()
	if st.gone {
		return
	}
	st.advance()
	var found map[int]string // by label, Envoy's words
	late, refused := false, false
	st.lapses(func(want *cache.Item, has version, words string) {
		late, refused = true, refused || words != ""
		if found == nil {
			found = map[int]string{}
		}
		v.blame(want, has, words, found)
	})
	if st.settled = st.settled || !late && st.complete(); !st.settled && !refused && v.now.Sub(st.since) < settleWithin {
		v.settling++
		return
	}
	v.counted.Add(st.watch)
	for i, words := range found {
		if v.lapses[i] == nil {
			v.lapses[i] = map[*stream]string{}
		}
		v.lapses[i][st] = words
	}
}

// blame finds the labels that a proxy does not run because it has has in place
// of want: those that has lacks, and those of which it has an older version.
func (v *survey) blame(want *cache.Item, has version, words string, found map[int]string) {
	var have []string
	if has.item != nil {
		have = has.item.Policies
	}
	mark := func(policy string) {
		for _, l := range []cache.Label{{Policy: policy}, {Policy: policy, Service: want.Service}} {
			if i, ok := v.inquiry.at[l]; ok && (words != "" || found[i] == "") {
				found[i] = words
			}
		}
	}
	for _, p := range want.Policies {
		if !slices.Contains(have, p) {
			mark(p)
		}
	}
	for _, p := range have {
		if now, ok := v.inquiry.inUse[nameOf(p)]; ok && now != p {
			mark(now)
		}
	}
}

// lapses calls tell for every name under which the proxy has not acknowledged
// what it should have, be it that it cannot ask for it yet: with what it has,
// and Envoy's words if it refused it.
func (st *stream) lapses(tell func(want *cache.Item, has version, words string)) {
	var under map[cache.Key]version // under way, with what was before the oldest of it
	if len(st.inflight) > 0 {
		under = map[cache.Key]version{}
	}
	for _, rec := range st.inflight {
		for _, s := range rec.items {
			key := cache.Key{Kind: rec.kind, Name: s.item.Name}
			if _, ok := under[key]; !ok {
				under[key] = s.prev
			}
		}
	}
	look := func(k cache.Kind, name string, has version) {
		want := st.current(st.seen, k, name)
		if want == nil || want.State != resource.Normal || want.Version == has.id || !st.covers(k, name) {
			return
		}
		words := ""
		if r, refused := st.proxy.find(k, name); refused && r.Version == want.Version {
			words = r.Message
		}
		tell(want, has, words)
	}
	for k := range cache.Kinds {
		for name, n := range st.kinds[k].notes {
			if _, ok := under[cache.Key{Kind: k, Name: name}]; !ok {
				look(k, name, n.have)
			}
		}
	}
	for key, has := range under {
		look(key.Kind, key.Name, has)
	}
}

// complete reports whether the proxy has asked for, and acknowledged, all that
// its node calls for: an Envoy that starts asks for one type after the other.
func (st *stream) complete() bool {
	types := []cache.Kind{cache.CDS, cache.LDS}
	if st.node.OutboundPort != 0 {
		types = append(types, cache.SRDS)
		if st.seen.Len(cache.SRDS) > 0 {
			types = append(types, cache.RDS)
		}
	}
	for _, k := range types {
		if ks := &st.kinds[k]; !ks.asked || ks.first {
			return false
		}
	}
	return len(st.inflight) == 0
}
