package policytest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/gather"
	"meshlite.dev/internal/policy/revision"
)

// timing is short for a test and long beside what a busy machine does to it.
var timing = gather.Timing{Quiet: 300 * time.Millisecond, Confirm: 2 * time.Second}

// limit is how long a proposal may take.
const limit = 30 * time.Second

func document(name string, attempts int) string {
	return fmt.Sprintf("%sspec:\n  targetRefs: [{kind: Service, name: %s}]\n  retry: {attempts: %d}\n", head(name), name, attempts)
}

func key(name string) policy.Key {
	return policy.Key{Kind: policy.KindResiliencePolicy, Namespace: "default", Name: name}
}

// follower runs a source until the test ends.
type follower struct {
	t         *testing.T
	source    policy.Source
	proposals chan policy.Proposal
	revision  policy.Revision // what was decided so far
}

func follow(t *testing.T, c Carrier, known func() []*policy.Document) *follower {
	t.Helper()
	f := &follower{t: t, source: c.Source(timing, known), proposals: make(chan policy.Proposal)}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- f.source.Run(ctx, func(p policy.Proposal) {
			select {
			case f.proposals <- p:
			case <-ctx.Done():
			}
		})
	}()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run = %v", err)
			}
		case <-time.After(limit):
			t.Error("Run goes on after its context ended")
		}
	})
	return f
}

// next returns the next proposal.
func (f *follower) next() policy.Proposal {
	f.t.Helper()
	return f.nextIn(limit)
}

func (f *follower) nextIn(limit time.Duration) policy.Proposal {
	f.t.Helper()
	select {
	case p := <-f.proposals:
		f.revision = revision.Decide(f.revision, p)
		return p
	case <-time.After(limit):
		f.t.Fatal("nothing was proposed")
		return policy.Proposal{}
	}
}

// until takes proposals until one reads want; those before it may be parts of
// the same edits.
func (f *follower) until(want string) policy.Proposal {
	f.t.Helper()
	for range 4 {
		p := f.next()
		if got := summary(p); got == want {
			return p
		}
		f.t.Logf("proposed %s", summary(p))
	}
	f.t.Fatalf("%s was not proposed", want)
	return policy.Proposal{}
}

func (f *follower) silent(span time.Duration) {
	f.t.Helper()
	select {
	case p := <-f.proposals:
		f.t.Fatalf("proposed %s", summary(p))
	case <-time.After(span):
	}
}

// silentBut lets nothing but the set want be proposed: an object that was
// deleted and made again is another one, with the same content.
func (f *follower) silentBut(want string, span time.Duration) {
	f.t.Helper()
	end := time.After(span)
	for {
		select {
		case p := <-f.proposals:
			f.revision = revision.Decide(f.revision, p)
			if got := summary(p); got != want {
				f.t.Fatalf("proposed %s", got)
			}
		case <-end:
			return
		}
	}
}

// within waits for what no proposal tells of.
func (f *follower) within(span time.Duration, what string, done func() bool) {
	f.t.Helper()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	end := time.After(span)
	for !done() {
		select {
		case p := <-f.proposals:
			f.t.Logf("proposed %s", summary(p))
			f.revision = revision.Decide(f.revision, p)
		case <-poll.C:
		case <-end:
			f.t.Fatalf("%s: not within %s", what, span)
		}
	}
}

// problem is what the source says of itself, as every source does.
func (f *follower) problem() string {
	f.t.Helper()
	s, ok := f.source.(interface{ Problem() string })
	if !ok {
		f.t.Fatalf("%T has no Problem", f.source)
	}
	return s.Problem()
}

func (f *follower) inForce() string {
	return summary(policy.Proposal{Documents: f.revision.Documents})
}

// summary is a proposal in a line: "!a b=2" has a refused and b with two
// attempts.
func summary(p policy.Proposal) string {
	var out []string
	for _, r := range p.Refused {
		out = append(out, "!"+r.Key.Name)
	}
	for _, d := range p.Documents {
		attempts := int32(0)
		if d.Resilience.Retry != nil && d.Resilience.Retry.Attempts != nil {
			attempts = *d.Resilience.Retry.Attempts
		}
		out = append(out, fmt.Sprintf("%s=%d", d.Name, attempts))
	}
	return strings.Join(out, " ")
}
