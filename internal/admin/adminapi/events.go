package adminapi

// PublishResponse is the answer to POST /v1/events: what was kept, in the order
// in which it came. GET /v1/events answers with the events themselves, as JSON
// lines of CloudEvents 1.0.
type PublishResponse struct {
	Events []PublishedEvent `json:"events"`
}

// PublishedEvent is one event that was kept durably.
type PublishedEvent struct {
	ID       string `json:"id"`
	Source   string `json:"source"`
	Type     string `json:"type"`
	Sequence string `json:"sequence"` // its place in the log
}
