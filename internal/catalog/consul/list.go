package consul

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"meshlite.dev/internal/mesh"
)

// followNames follows the name list of a place until ctx ends. A query that
// ran out without news is followed by one without index: that one says whether
// the index went backwards, and whether the token hides names. Its error is a
// token that the own Consul refuses or misses, before the first publish only.
func (s *Source) followNames(ctx context.Context, p *place) error {
	bucket := rate.NewLimiter(1, 2)
	r := read{wait: p.pulse(), consistent: true, datacenter: p.name}
	var base uint64
	var wait backoff
	stranger := true // the trust domain is to be asked for
	for {
		if bucket.Wait(ctx) != nil {
			return nil
		}
		names, a, err := s.client.names(ctx, r)
		if err == nil && stranger {
			var rebuilt bool
			if rebuilt, err = s.meet(ctx, p); err == nil {
				stranger = false
			}
			if rebuilt {
				base = 0
			}
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if fatal := s.listFailed(p, err); fatal != nil {
				return fatal
			}
			r.index, stranger = 0, true
			wait.sleep(ctx, nil)
			continue
		case r.index > 0 && a.index < r.index:
			r.index = 0 // perhaps a server that lags: ask all of them
			continue
		}
		rewound := r.index == 0 && a.index < base
		if fatal := s.listed(p, names, a, rewound); fatal != nil {
			return fatal
		}
		if base = max(base, a.index); rewound {
			base = a.index
		}
		if wait = 0; r.index == a.index {
			r.index = 0
		} else {
			r.index = a.index
		}
	}
}

// meet asks a place that was away, or is new, who it is, and the own one what
// it is called. It reports whether it is another one than before.
func (s *Source) meet(ctx context.Context, p *place) (rebuilt bool, err error) {
	var called string
	if p.name == "" {
		if called, err = s.client.whereabouts(ctx, ""); err != nil {
			return false, err
		}
	}
	identity, err := s.client.identity(ctx, p.name)
	if err != nil {
		return false, err
	}
	s.change(func(b *book, now time.Time) {
		if p == b.home {
			b.locate(called)
		}
		if rebuilt = p.known(identity); rebuilt {
			b.rewound(now, p, otherDomain)
		}
	})
	return rebuilt, nil
}

// listed takes a list of names.
func (s *Source) listed(p *place, names []string, a answer, rewound bool) (fatal error) {
	slices.Sort(names)
	s.change(func(b *book, now time.Time) {
		if p == b.home {
			fatal = b.denied(a, s.client)
		}
		if fatal != nil || p != b.home && b.abroad[p.name] != p {
			return // without a token, or of no use any more
		}
		if p.list.err != "" {
			p.recovered()
			if p != b.home {
				b.reread(p) // a stream to another datacenter takes its time to come back
			}
		}
		if rewound {
			b.rewound(now, p, wentBack)
		}
		b.listed(now, p, names, a)
	})
	return fatal
}

// listed takes a sorted list of names.
func (b *book) listed(now time.Time, p *place, names []string, a answer) {
	if p == b.home {
		b.note(noteCrowded, "", "", "")
	}
	rights := p.subject(noteRights)
	_, were := b.notes[rights]
	if a.filtered != were {
		b.reread(p) // what was hidden does not announce itself, nor does an answer with an index tell what is hidden now
	}
	some := p == b.home && len(b.cfg.Services) > 0 // which ones is not Consul's to say
	if !a.filtered {
		b.note(rights, "", "", "")
	} else {
		b.note(rights, mesh.Warning, "the token hides services from the name list of "+p.String(), hintRights)
		if len(names) == 0 && !p.namesKnown && !some {
			p.list.err = "the token may read no service" // nothing is not the truth
			return
		}
	}
	if p.dark && !a.dark {
		b.reread(p)
	}
	p.dark = a.dark
	p.list = freshness{at: now, index: a.index}
	b.everRead = b.everRead || p == b.home
	if !some {
		b.compare(p, names, a.filtered)
	}
}

// compare takes names that differ from those known.
func (b *book) compare(p *place, names []string, filtered bool) {
	gone := 0
	for name := range p.names {
		if _, there := slices.BinarySearch(names, name); there {
			continue
		}
		gone++
		if w := b.watches[mesh.ServiceKey(name, p.name)]; w != nil && filtered {
			w.poke() // its own answer, read directly, tells what became of it
		}
	}
	for _, name := range names {
		if w := b.watches[mesh.ServiceKey(name, p.name)]; w != nil && !p.names[name] {
			w.poke()
		}
	}
	if !p.namesKnown || gone > 0 || len(names) != len(p.names) {
		b.named(p, names)
	}
}

// denied reports a Consul that denies by default to a client without a token:
// everything it says would be empty.
func (b *book) denied(a answer, c client) error {
	if !a.deny || c.token {
		return nil
	}
	const what = "denies what no ACL allows, and no token is set"
	b.home.list.err = what
	b.note(noteToken, mesh.Error, "Consul at "+c.address+" "+what, hintToken)
	if b.published {
		return nil
	}
	return fmt.Errorf("%w: Consul at %s %s; %s", ErrToken, c.address, what, hintToken)
}

// listFailed notes a fault, and returns it where waiting cannot cure it and
// nothing else could be served.
func (s *Source) listFailed(p *place, err error) (fatal error) {
	s.change(func(b *book, _ time.Time) {
		if p.list.err != err.Error() {
			s.log.Warn("catalog name list not read; what is known stays", "datacenter", p.name, "err", err)
		}
		p.list.err = err.Error()
		if p != b.home {
			return
		}
		if crowded(err) {
			b.note(noteCrowded, mesh.Error, "the agent grants no more connections: "+err.Error(), hintCrowded)
		}
		if !refused(err) {
			return
		}
		b.note(noteToken, mesh.Error, "Consul at "+s.client.address+" refuses the token: "+err.Error(), hintToken)
		if !b.published && len(b.lastGood) == 0 {
			fatal = fmt.Errorf("%w: Consul at %s refuses it (%w); %s", ErrToken, s.client.address, err, hintToken)
		}
	})
	return fatal
}

// probeToken asks each minute whether the token still stands: no answer with
// an index would tell.
func (s *Source) probeToken(ctx context.Context) error {
	for s.client.token && ctx.Err() == nil {
		err := s.client.tokenStands(ctx)
		if ctx.Err() != nil {
			break
		}
		s.change(func(b *book, _ time.Time) {
			if err == nil {
				b.note(noteToken, "", "", "")
				return
			}
			b.note(noteToken, mesh.Error, "Consul at "+s.client.address+" refuses the token: "+err.Error(), hintToken)
		})
		pause(ctx, jitter(probeEvery), nil)
	}
	return nil
}
