package gather_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/gather"
)

// place is a carrier whose content a test sets; an item is the names of its
// documents, "!" before a name that is refused.
type place struct {
	mu      sync.Mutex
	state   gather.State[string]
	fault   error // of Reread
	away    bool  // of Read
	decodes int
}

func (p *place) read(context.Context) (gather.State[string], bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state, !p.away
}

func (p *place) reread(context.Context) (gather.State[string], error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state, p.fault
}

// fail makes the carrier be away, and Reread an error.
func (p *place) fail(away bool, fault error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away, p.fault = away, fault
}

func (p *place) decode(at, item string) policy.Proposal {
	p.mu.Lock()
	p.decodes++
	p.mu.Unlock()
	var out policy.Proposal
	for _, name := range strings.Fields(item) {
		bad := strings.HasPrefix(name, "!")
		key := policy.Key{Kind: policy.KindResiliencePolicy, Namespace: "default", Name: strings.TrimPrefix(name, "!")}
		if bad {
			out.Refused = append(out.Refused, policy.Refusal{Key: key, Source: at})
			continue
		}
		out.Documents = append(out.Documents, &policy.Document{Key: key, Hash: item, Source: at})
	}
	return out
}

func (p *place) set(items ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = gather.State[string]{}
	for i := 0; i < len(items); i += 2 {
		p.state[items[i]] = items[i+1]
	}
}

// bench runs a gatherer in a bubble; said returns the proposals so far, each
// with the seconds since the start.
type bench struct {
	*place
	*gather.Gatherer[string]
	start time.Time
	said  []string
}

func start(t *testing.T, known []string, items ...string) *bench {
	b := &bench{place: &place{}, start: time.Now()}
	b.set(items...)
	b.Gatherer = gather.New(gather.Config[string]{
		Read:   b.read,
		Reread: b.reread,
		Decode: b.decode,
		Known: func() []*policy.Document {
			var docs []*policy.Document
			for _, name := range known {
				docs = append(docs, b.decode("earlier", name).Documents...)
			}
			b.decodes = 0
			return docs
		},
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	first := b.state
	go func() {
		defer close(ended)
		b.Run(ctx, first, func(p policy.Proposal) {
			var names []string
			for _, d := range p.Documents {
				names = append(names, d.Name)
			}
			for _, r := range p.Refused {
				names = append(names, "!"+r.Key.Name)
			}
			b.said = append(b.said, fmt.Sprintf("%g: %s", time.Since(b.start).Seconds(), strings.Join(names, " ")))
		})
	}()
	t.Cleanup(func() { stop(); <-ended })
	return b
}

// edit changes the carrier and tells of it, then lets time pass.
func (b *bench) edit(wait time.Duration, items ...string) {
	b.set(items...)
	b.Touch()
	synctest.Wait()
	pass(wait)
}

// pass lets time go by in the bubble.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (b *bench) want(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	if !slices.Equal(b.said, want) {
		t.Errorf("proposed\n\t%s\nwant\n\t%s", strings.Join(b.said, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func TestTheFirstSetIsProposedAtOnceEvenWhenEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { start(t, nil).want(t, "0: ") })
}

func TestEditsAreOneChangeSetOnceTheyAreQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil)
		b.edit(time.Second, "a", "a")
		b.edit(time.Second, "a", "a", "b", "b")
		b.edit(9*time.Second, "a", "a", "b", "b", "c", "c")
		b.want(t, "0: ", "4: a b c")
	})
}

func TestEditsWithoutEndAreProposedAfterTheLongestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil)
		for i := range 12 {
			b.edit(time.Second, "a", fmt.Sprint("a", i))
		}
		b.edit(5*time.Second, "a", "end")
		b.want(t, "0: ", "10: a9", "14: end")
	})
}

func TestATouchWithoutAChangeProposesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil, "a", "a")
		b.edit(9*time.Second, "a", "a")
		b.want(t, "0: a")
	})
}

func TestACarrierThatIsAwayProposesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil, "a", "a")
		b.fail(true, nil)
		b.edit(9 * time.Second)
		b.want(t, "0: a")
		b.set("a", "a", "b", "b")
		b.fail(false, nil)
		pass(9 * time.Second)
		b.want(t, "0: a", "10: a b")
	})
}

func TestOneEditAmongManyIsDecodedAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil, "a", "a", "b", "b", "c", "c")
		b.edit(3*time.Second, "a", "a", "b", "b2", "c", "c")
		if b.decodes != 3+1 {
			t.Errorf("%d places were decoded, want three and one", b.decodes)
		}
		b.want(t, "0: a b c", "2: a b2 c")
	})
}

// TestALossOfMost walks every way that a loss can go.
func TestALossOfMost(t *testing.T) {
	for _, tc := range []struct {
		name  string
		known []string
		first []string
		then  func(b *bench)
		want  []string
	}{
		{"is proposed when a second reading confirms it", nil, []string{"f", "a b c d"}, func(b *bench) {
			b.edit(9*time.Second, "f", "a")
		}, []string{"0: a b c d", "6: a"}},
		{"half is not most", nil, []string{"f", "a b c d"}, func(b *bench) {
			b.edit(9*time.Second, "f", "a b")
		}, []string{"0: a b c d", "2: a b"}},
		{"one alone may go", nil, []string{"f", "a"}, func(b *bench) {
			b.edit(9 * time.Second)
		}, []string{"0: a", "2: "}},
		{"that comes back was none", nil, []string{"f", "a b c d"}, func(b *bench) {
			b.edit(3 * time.Second)
			b.edit(9*time.Second, "f", "a b c d")
		}, []string{"0: a b c d"}},
		{"that comes back with an edit is the edit", nil, []string{"f", "a b c d"}, func(b *bench) {
			b.edit(3 * time.Second)
			b.edit(9*time.Second, "f", "a b c e")
		}, []string{"0: a b c d", "5: a b c e"}},
		{"that comes back between the readings untold", nil, []string{"f", "a b c d"}, func(b *bench) {
			b.edit(3 * time.Second)
			b.set("f", "a b c d")
			pass(9 * time.Second)
		}, []string{"0: a b c d"}},
		{"holds while the second reading does not succeed", nil, []string{"f", "a b c d"}, func(b *bench) {
			b.fail(false, errors.New("away"))
			b.edit(11 * time.Second)
			b.fail(false, nil)
			pass(9 * time.Second)
		}, []string{"0: a b c d", "14: "}},
		{"holds under edits of what is left, no longer", nil, []string{"f", "a b c d"}, func(b *bench) {
			b.edit(3*time.Second, "f", "x")
			b.edit(9*time.Second, "f", "y")
		}, []string{"0: a b c d", "6: y"}},
		{"since the last run is held too", []string{"a", "b", "c"}, nil, func(b *bench) {
			pass(9 * time.Second)
		}, []string{"4: "}},
		{"what the last run knew is no loss when it is there", []string{"a", "b", "c"}, []string{"f", "a b c"}, func(b *bench) {
			b.edit(9*time.Second, "f", "a b c")
		}, []string{"0: a b c"}},
		{"a refused file loses nothing", nil, []string{"f", "a b c d"}, func(b *bench) {
			b.edit(9*time.Second, "f", "!a")
		}, []string{"0: a b c d", "2: !a"}},
		{"what was held by a refusal counts when it goes", nil, []string{"f", "a b c d"}, func(b *bench) {
			b.edit(3*time.Second, "f", "!a")
			b.edit(9 * time.Second)
		}, []string{"0: a b c d", "2: !a", "9: "}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := start(t, tc.known, tc.first...)
				synctest.Wait()
				tc.then(b)
				b.want(t, tc.want...)
				if p := b.Problem(); p != "" {
					t.Errorf("at the end the problem is %q", p)
				}
			})
		})
	}
}

func TestAHeldLossAndTroubleAreToldOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil, "f", "a b c d")
		b.fail(false, errors.New("away"))
		b.edit(3*time.Second, "f", "a")
		if p := b.Problem(); !strings.Contains(p, "3 of 4 policies") {
			t.Errorf("while it holds a loss the problem is %q", p)
		}
		b.Trouble(t.Context(), errors.New("connection refused"))
		if p := b.Problem(); !strings.Contains(p, "connection refused") {
			t.Errorf("while nothing can be read the problem is %q", p)
		}
		b.Trouble(t.Context(), nil)
		b.fail(false, nil)
		b.edit(9*time.Second, "f", "a b c d")
		if p := b.Problem(); p != "" {
			t.Errorf("at the end the problem is %q", p)
		}
	})
}
