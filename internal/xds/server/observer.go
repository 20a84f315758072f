package server

import "time"

// Observer hears what happens on streams. Calls come from the streams' own
// goroutines, several at a time, with no lock held; an implementation counts
// or passes on and returns at once. Embed NopObserver to hear a part.
type Observer interface {
	Connected(p Proxy)
	Disconnected(proxyID string, cause string)
	// Refused counts a stream that was not let in: "not ready", "overload",
	// "draining", "unauthorized".
	Refused(cause string)
	// Sent counts a response; typ is CDS, EDS, LDS, SRDS or RDS.
	Sent(typ string, resources, removed, bytes int)
	// Acked counts an accepted response; took is the time from the publishing
	// of its newest resource to the answer.
	Acked(typ string, resources int, took time.Duration)
	// Rejected tells of a resource that went into quarantine.
	Rejected(proxyID string, r Rejection)
	// Held tells of a change that still waits at the gate's deadline.
	Held(proxyID string, h Held)
}

// NopObserver ignores everything.
type NopObserver struct{}

var _ Observer = NopObserver{}

// Connected implements Observer.
func (NopObserver) Connected(Proxy) {}

// Disconnected implements Observer.
func (NopObserver) Disconnected(string, string) {}

// Refused implements Observer.
func (NopObserver) Refused(string) {}

// Sent implements Observer.
func (NopObserver) Sent(string, int, int, int) {}

// Acked implements Observer.
func (NopObserver) Acked(string, int, time.Duration) {}

// Rejected implements Observer.
func (NopObserver) Rejected(string, Rejection) {}

// Held implements Observer.
func (NopObserver) Held(string, Held) {}
