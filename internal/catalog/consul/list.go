package consul

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"meshlite.dev/internal/mesh"
)

// followNames follows the name list until ctx ends. A query that ran out
// without news is followed by one without index: that one says whether the
// index went backwards, and whether the token hides names. Its error is a
// token that Consul refuses or misses, before the first publish only.
func (s *Source) followNames(ctx context.Context) error {
	bucket := rate.NewLimiter(1, 2)
	r := read{wait: waitNames, consistent: true}
	var base uint64
	var wait backoff
	stranger := true // the trust domain is to be asked for
	for {
		if bucket.Wait(ctx) != nil {
			return nil
		}
		names, a, err := s.client.names(ctx, r)
		if err == nil && stranger {
			var identity string
			if identity, err = s.client.identity(ctx); err == nil {
				stranger = false
				s.change(func(b *book, now time.Time) {
					if b.known(identity) {
						base = 0
						b.rewound(now, otherDomain)
					}
				})
			}
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if fatal := s.listFailed(err); fatal != nil {
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
		if fatal := s.listed(names, a, rewound); fatal != nil {
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

// listed takes a list of names.
func (s *Source) listed(names []string, a answer, rewound bool) (fatal error) {
	slices.Sort(names)
	s.change(func(b *book, now time.Time) {
		if fatal = b.denied(a, s.client); fatal != nil {
			return
		}
		if b.list.err != "" {
			close(s.back)
			s.back = make(chan struct{})
		}
		if rewound {
			b.rewound(now, wentBack)
		}
		b.listed(now, names, a)
	})
	return fatal
}

// listed takes a sorted list of names.
func (b *book) listed(now time.Time, names []string, a answer) {
	b.note(noteCrowded, "", "", "")
	if !a.filtered {
		if _, were := b.notes[noteRights]; were {
			b.reread() // what was hidden does not announce itself
		}
		b.note(noteRights, "", "", "")
	} else {
		if _, were := b.notes[noteRights]; !were {
			b.reread() // an answer with an index would not tell what is hidden now
		}
		b.note(noteRights, mesh.Warning, "the token hides services from the name list", hintRights)
		if len(names) == 0 && !b.namesKnown && len(b.cfg.Services) == 0 {
			b.list.err = "the token may read no service" // nothing is not the truth
			return
		}
	}
	b.list = freshness{at: now, index: a.index}
	b.everRead = true
	if len(b.cfg.Services) > 0 {
		return
	}
	gone := 0
	for name := range b.names {
		if _, there := slices.BinarySearch(names, name); there {
			continue
		}
		gone++
		if w := b.watches[name]; w != nil && a.filtered {
			w.poke() // its own answer, read directly, tells what became of it
		}
	}
	for _, name := range names {
		if w := b.watches[name]; w != nil && !b.names[name] {
			w.poke()
		}
	}
	if !b.namesKnown || gone > 0 || len(names) != len(b.names) {
		b.named(names)
	}
}

// denied reports a Consul that denies by default to a client without a token:
// everything it says would be empty.
func (b *book) denied(a answer, c client) error {
	if !a.deny || c.token {
		return nil
	}
	const what = "denies what no ACL allows, and no token is set"
	b.list.err = what
	b.note(noteToken, mesh.Error, "Consul at "+c.address+" "+what, hintToken)
	if b.published {
		return nil
	}
	return fmt.Errorf("%w: Consul at %s %s; %s", ErrToken, c.address, what, hintToken)
}

// listFailed notes a fault, and returns it where waiting cannot cure it and
// nothing else could be served.
func (s *Source) listFailed(err error) (fatal error) {
	s.change(func(b *book, _ time.Time) {
		if b.list.err != err.Error() {
			s.log.Warn("catalog name list not read; what is known stays", "err", err)
		}
		b.list.err = err.Error()
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
