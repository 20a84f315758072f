package web

import (
	"encoding/json"
	"net/http"
	"time"

	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/coordinator"
)

// Transaction is what is answered of one.
type Transaction struct {
	ID     string     `json:"id"`
	Status txn.Status `json:"status"`           // PENDING, COMMITTED, ROLLED_BACK or HEURISTIC
	Reason string     `json:"reason,omitempty"` // of the decision; while PENDING, what it waits for
	// Settled is whether every participant has done as decided.
	Settled      bool     `json:"settled"`
	Participants []Branch `json:"participants,omitempty"`

	Started  *time.Time `json:"started,omitempty"`
	Deadline *time.Time `json:"deadline,omitempty"` // of the votes
	Decided  *time.Time `json:"decided,omitempty"`
}

// Branch is one participant's part.
type Branch struct {
	Service string `json:"service"`
	Vote    string `json:"vote"`             // unasked, asked, yes, no or abstain
	Ending  string `json:"ending,omitempty"` // owed, acked, spared, refused or resolved; "" before the decision
	Text    string `json:"text,omitempty"`   // its own words
	Tries   int    `json:"tries,omitempty"`  // of a call that is repeated
	Fault   string `json:"fault,omitempty"`  // why the last of them did not succeed
}

// Describe makes the answer of a view.
func Describe(v coordinator.View) Transaction {
	owed, refused := v.Unsettled()
	t := Transaction{
		ID: string(v.ID), Status: v.Status(), Reason: v.Reason, Settled: v.Outcome != txn.Undecided && owed+refused == 0,
		Started: moment(v.Started), Deadline: moment(v.Deadline), Decided: moment(v.Decided),
	}
	for _, p := range v.Parties {
		b := Branch{Service: p.ID, Vote: p.Vote.String(), Text: p.Text}
		if p.Ending != txn.Open {
			b.Ending = p.Ending.String()
		}
		if f, ok := v.Faults[p.ID]; ok {
			b.Tries, b.Fault = f.Tries, f.Text
		}
		t.Participants = append(t.Participants, b)
	}
	return t
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// unknown is what presumed abort makes of a transaction that nobody knows.
func unknown(id string) Transaction {
	return Transaction{ID: id, Status: txn.RolledBack, Reason: "no such transaction is known: it never began, or it ended and is forgotten", Settled: true}
}

// Problem is an answer that is no transaction, as in RFC 9457.
type Problem struct {
	Title  string   `json:"title"`
	Status int      `json:"status"`
	Detail string   `json:"detail,omitempty"`
	Faults []string `json:"faults,omitempty"` // each names a field, its value and what would be right
}

func problem(w http.ResponseWriter, status int, detail string, faults ...string) {
	w.Header().Set("Content-Type", "application/problem+json")
	respond(w, status, Problem{Title: http.StatusText(status), Status: status, Detail: detail, Faults: faults})
}

func respond(w http.ResponseWriter, status int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil { // a bug: every document is plain data
		status, body = http.StatusInternalServerError, []byte(`{"title": "the answer cannot be written as JSON"}`)
	}
	h := w.Header()
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json")
	}
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // nobody is left to tell
}
