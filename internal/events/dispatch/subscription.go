// Package dispatch carries out subscriptions: it takes events from a queue, calls
// the handler of each through the mesh, tries again what failed, and puts aside
// what cannot be handled. Where queues are is behind Backend. Its main type is
// Dispatcher.
package dispatch

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/policy/v1alpha1"
)

// How a handler gets its events.
const (
	Structured = "structured" // CloudEvents, all in the body
	Binary     = "binary"     // CloudEvents, attributes in ce- headers
	Envelope   = "envelope"   // {"type", "data", "timestamp"} alone
)

// What stands where a document says nothing.
const (
	defaultConcurrency = 8
	defaultTimeout     = 5 * time.Second
	defaultAttempts    = 6
	defaultBase        = 500 * time.Millisecond
	defaultMax         = time.Minute
)

// Subscription is an EventSubscription, the defaults filled in. It is a value:
// two that are equal mean the same.
type Subscription struct {
	Namespace, Name string
	Exchange        string
	Bindings        string // patterns with a space after each but the last: no pattern has one
	Filter          string // CEL; "" passes all
	Service, Path   string // of the handler
	Mode            string
	Queue           string
	QueueType       string // quorum or classic
	DeadLetter      string // queue
	Concurrency     int    // 1 with Ordered
	Ordered         bool
	Timeout         time.Duration // of a call
	Attempts        int           // in all
	Base, Max       time.Duration // pause before the second attempt, and the longest
}

// Key is "NAMESPACE/NAME".
func (s Subscription) Key() string { return s.Namespace + "/" + s.Name }

// Of fills in the defaults of a document that was accepted.
func Of(namespace, name string, spec *v1alpha1.EventSubscriptionSpec) Subscription {
	s := Subscription{
		Namespace: namespace, Name: name, Exchange: cmp.Or(spec.Exchange, events.Exchange), Bindings: joined(spec.Bindings), Filter: spec.Filter,
		Service: spec.Handler.Service, Path: cmp.Or(spec.Handler.Path, "/"), Mode: cmp.Or(spec.Handler.Mode, Structured),
		Queue: namespace + "." + name, QueueType: "quorum", Concurrency: defaultConcurrency,
		Timeout: defaultTimeout, Attempts: defaultAttempts, Base: defaultBase, Max: defaultMax,
	}
	if q := spec.Queue; q != nil {
		s.Queue, s.QueueType = cmp.Or(q.Name, s.Queue), cmp.Or(q.Type, s.QueueType)
	}
	if spec.Concurrency != nil {
		s.Concurrency = int(*spec.Concurrency)
	}
	if s.Ordered = spec.Ordered != nil && *spec.Ordered; s.Ordered {
		s.Concurrency = 1
	}
	s.DeadLetter = s.Queue + ".dlq"
	if spec.Delivery != nil {
		s.deliver(spec.Delivery)
	}
	return s
}

func (s *Subscription) deliver(d *v1alpha1.EventDelivery) {
	if d.DeadLetter != nil {
		s.DeadLetter = cmp.Or(d.DeadLetter.Queue, s.DeadLetter)
	}
	if d.Attempts != nil {
		s.Attempts = int(*d.Attempts)
	}
	s.Timeout = durationOr(d.Timeout, s.Timeout)
	if d.Backoff != nil {
		base, longest := d.Backoff.Base, d.Backoff.Max
		s.Base, s.Max = durationOr(base, s.Base), durationOr(longest, s.Max)
		if base == nil {
			s.Base = min(s.Base, s.Max)
		}
		s.Max = max(s.Max, s.Base)
	}
}

// durationOr is what was written; a malformed one, which no accepted document has,
// counts as absent.
func durationOr(d *v1alpha1.Duration, absent time.Duration) time.Duration {
	if d == nil {
		return absent
	}
	if v, err := d.Parse(); err == nil {
		return v
	}
	return absent
}

func joined(all []v1alpha1.Binding) string {
	var b strings.Builder
	for i, one := range all {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(string(one))
	}
	return b.String()
}

// Patterns are the bindings one by one.
func (s Subscription) Patterns() []string { return strings.Fields(s.Bindings) }

// Wants returns what tells whether a type is bound; patterns that are malformed bind nothing.
func (s Subscription) Wants() func(typ string) bool {
	var all []events.Pattern
	for _, text := range s.Patterns() {
		if p, err := events.ParsePattern(text); err == nil {
			all = append(all, p)
		}
	}
	return func(typ string) bool {
		return slices.ContainsFunc(all, func(p events.Pattern) bool { return p.Match(typ) })
	}
}

// pause is how long to wait after a failed attempt (from 1), without jitter:
// Base, then twice as long each time, up to Max.
func (s Subscription) pause(attempt int) time.Duration {
	d := s.Base
	for range attempt - 1 {
		if d >= s.Max/2 {
			return s.Max
		}
		d *= 2
	}
	return min(d, s.Max)
}
