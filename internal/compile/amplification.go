package compile

import (
	"fmt"
	"slices"
	"strings"

	"meshlite.dev/internal/mesh"
)

// Worst cases from which on a chain of retries is worth a look, and a warning.
const (
	amplified     = 4
	amplifiedMuch = 8
)

// chain is the worst that one call may become further down: that many tries of
// the last service, by these steps.
type chain struct {
	tries uint64
	steps []string // "orders → payments ×3"
}

// amplification finds services that try answers again while the service that
// answers tries further down: in an outage at the end each of the tries brings
// as many of its own.
func (g *graph) amplification() []mesh.Finding {
	var out []mesh.Finding
	for _, e := range g.edges {
		again := g.most(e, retriesAnswers)
		if again.Effective == nil {
			continue
		}
		below := g.below(e.To, []string{e.From})
		tries := uint64(again.Retry.Attempts+1) * below.tries
		if len(below.steps) == 0 || tries < amplified {
			continue
		}
		severity := mesh.Info
		if tries >= amplifiedMuch {
			severity = mesh.Warning
		}
		f := again.by(mesh.CodeAmplification, severity, e, "retry.attempts", "retry.statusCodes", "retry.retryOn")
		steps := append([]string{step(e, again)}, below.steps...)
		f.Message = fmt.Sprintf("one call of %s may become %d tries in an outage, as answers are retried on the way: %s",
			e.From, tries, strings.Join(steps, ", "))
		f.Hint = "retry answers in one place of the chain, next to what fails, and keep retry.budget low"
		out = append(out, f)
	}
	return out
}

// below is the worst that a call may become further down from service. seen
// are the services on the way there: a circle ends where it closes, and what is
// kept of a service in one may leave out a part of it.
func (g *graph) below(service string, seen []string) chain {
	if c, ok := g.worst[service]; ok {
		return c
	}
	seen = append(slices.Clip(seen), service)
	best := chain{tries: 1}
	for _, i := range g.from[service] {
		e := g.edges[i]
		if slices.Contains(seen, e.To) {
			continue
		}
		if last := g.most(e, retries); last.Effective != nil {
			best = best.worse(chain{uint64(last.Retry.Attempts + 1), []string{step(e, last)}})
		}
		if again := g.most(e, retriesAnswers); again.Effective != nil {
			if c := g.below(e.To, seen); len(c.steps) > 0 {
				best = best.worse(chain{uint64(again.Retry.Attempts+1) * c.tries, append([]string{step(e, again)}, c.steps...)})
			}
		}
	}
	g.worst[service] = best
	return best
}

func (c chain) worse(o chain) chain {
	if o.tries > c.tries {
		return o
	}
	return c
}

func step(e Edge, l leg) string {
	return fmt.Sprintf("%s → %s ×%d", e.From, e.To, l.Retry.Attempts+1)
}

// most is the leg of an edge with the most attempts among those that do it; its
// Effective is nil where none does.
func (g *graph) most(e Edge, do func(*mesh.Effective) bool) leg {
	var best leg
	for _, l := range g.legs(e) {
		if do(l.Effective) && (best.Effective == nil || l.Retry.Attempts > best.Retry.Attempts) {
			best = l
		}
	}
	return best
}

func retries(e *mesh.Effective) bool {
	return e.Retry.Attempts > 0 && len(e.Retry.RetryOn)+len(e.Retry.StatusCodes) > 0
}

// retriesAnswers reports whether a try is repeated that was answered.
func retriesAnswers(e *mesh.Effective) bool {
	return e.Retry.Attempts > 0 && (len(e.Retry.StatusCodes) > 0 || len(intersect(e.Retry.RetryOn, answerTokens)) > 0)
}
