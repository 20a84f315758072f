package adminapi

import (
	"time"

	"meshlite.dev/internal/events/dispatch"
	"meshlite.dev/internal/events/pauses"
)

// Subscriptions is the answer of GET /v1/events/subscriptions: those in force,
// sorted by namespace and name.
type Subscriptions struct {
	Items []Subscription `json:"items"`
}

// Subscription is an EventSubscription in force, the defaults filled in, and how
// it is doing on this server. Counts are since this server took it up, or took up
// another version of it.
type Subscription struct {
	Namespace string        `json:"namespace"`
	Name      string        `json:"name"`
	State     string        `json:"state"` // Delivering, Paused, Interrupted or Conflicting
	Problem   string        `json:"problem,omitempty"`
	Paused    *pauses.Pause `json:"paused,omitempty"` // also while it is interrupted

	Exchange   string   `json:"exchange"`
	Bindings   []string `json:"bindings"`
	Filter     string   `json:"filter,omitempty"`
	Service    string   `json:"service"` // the handler's
	Path       string   `json:"path"`
	Mode       string   `json:"mode"`
	Queue      string   `json:"queue"`
	QueueType  string   `json:"queueType"`
	DeadLetter string   `json:"deadLetter"` // queue

	Concurrency int      `json:"concurrency"`
	Ordered     bool     `json:"ordered"`
	Timeout     Duration `json:"timeout"` // of a call
	Attempts    int      `json:"attempts"`
	Base        Duration `json:"base"` // pause after the first attempt
	Max         Duration `json:"max"`  // and the longest

	Depth        *Depth       `json:"depth,omitempty"` // nil: the queue does not answer
	InFlight     int          `json:"inFlight"`        // calls under way
	Delivered    uint64       `json:"delivered"`
	Failed       uint64       `json:"failed"`       // attempts
	DeadLettered uint64       `json:"deadLettered"` // events
	Skipped      uint64       `json:"skipped"`      // by the filter
	LastFailure  *CallFailure `json:"lastFailure,omitempty"`
	Unanswered   string       `json:"unanswered,omitempty"` // the last event that the filter had no answer for
}

// Key is "NAMESPACE/NAME".
func (s Subscription) Key() string { return s.Namespace + "/" + s.Name }

// Depth is what a queue holds.
type Depth struct {
	Waiting uint64 `json:"waiting"` // for their first or another attempt
	Dead    uint64 `json:"dead"`    // in the dead-letter queue
	Missed  uint64 `json:"missed"`  // gone before they were tried, as a log without a broker is bounded
}

// CallFailure is an attempt that failed.
type CallFailure struct {
	Message string    `json:"message"`
	At      time.Time `json:"at"`
}

// PauseRequest is the body of POST /v1/events/subscriptions/NAMESPACE/NAME/pause
// and resume.
type PauseRequest struct {
	By     string `json:"by,omitempty"`     // who asks
	Reason string `json:"reason,omitempty"` // shown while it is paused; up to 1024 bytes
}

// DeadLetters is the answer of GET …/deadletters: the oldest ones, without what
// they are but with why; with ?id= one, whole.
type DeadLetters struct {
	Subscription string                `json:"subscription"` // NAMESPACE/NAME
	Queue        string                `json:"queue"`
	Total        uint64                `json:"total"`
	Items        []dispatch.DeadLetter `json:"items"`
}

// DeadLetterRequest is the body of POST …/deadletters/requeue and purge: either
// some ids or all.
type DeadLetterRequest struct {
	IDs []string `json:"ids,omitempty"`
	All bool     `json:"all,omitempty"`
	By  string   `json:"by,omitempty"` // who asks
}

// DeadLetterResponse tells how many there were: less than asked for where others
// are gone already.
type DeadLetterResponse struct {
	Count int `json:"count"`
}
