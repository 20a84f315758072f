package adminapi

// ReplayRequest is the body of POST /v1/events/replay: events of the log to
// publish to the broker again, under the same ids.
type ReplayRequest struct {
	After uint64 `json:"after"`           // sequence number before the first; 0 is all that are kept
	Until uint64 `json:"until,omitempty"` // sequence number of the last; 0 is the newest
	Since string `json:"since,omitempty"` // received since then: "10m", or RFC 3339; with After the later counts
	Type  string `json:"type,omitempty"`  // a pattern; "" is every type
}

// ReplayResponse says how far one request went: some thousand events of the log.
// Unless it is done the next one goes on after Next, to Until.
type ReplayResponse struct {
	Published int    `json:"published"`
	Next      uint64 `json:"next"`
	Until     uint64 `json:"until"`
	Done      bool   `json:"done"`
}
