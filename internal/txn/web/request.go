package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/coordinator"
)

// Limits of a transaction that an application begins.
const (
	MaxParticipants = 100
	MaxBody         = 192 << 10 // bytes of a request
	MaxData         = 16 << 10  // bytes of one participant's data
	DefaultTimeout  = 10 * time.Second
	MaxTimeout      = 5 * time.Minute
)

// Kind is that of an application's transactions.
const Kind = "application"

// Request is the body of POST /v1/transactions.
type Request struct {
	ID           string        `json:"id"` // of the caller's choice: repeating it asks again and begins nothing
	Participants []Participant `json:"participants"`
	Timeout      string        `json:"timeout,omitempty"` // of all votes, as in "10s"; "" is DefaultTimeout
}

// Participant is one service with the paths that it is called at, and what it is
// told each time.
type Participant struct {
	Service  string          `json:"service"`
	Prepare  string          `json:"prepare"`
	Commit   string          `json:"commit"`
	Rollback string          `json:"rollback"`
	Data     json.RawMessage `json:"data,omitempty"` // any JSON
}

// OptedIn tells the path prefix under which a service lets itself be called; an
// error says why it does not, in words that end a sentence about it.
type OptedIn func(service string) (prefix string, err error)

// faulty lists everything that is wrong with a request.
type faulty []string

// Error implements error.
func (f faulty) Error() string { return strings.Join(f, "\n") }

func (f *faulty) add(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

// errTooLarge reports a body over MaxBody.
var errTooLarge = errors.New("the request is too large")

// decode reads one JSON document; fields that are not known are a fault, because a
// mistyped one would be a promise that nobody keeps.
func decode(body io.Reader) (Request, error) {
	raw, err := io.ReadAll(io.LimitReader(body, MaxBody+1))
	switch {
	case err != nil:
		return Request{}, fmt.Errorf("read the request: %w", err)
	case len(raw) > MaxBody:
		return Request{}, errTooLarge
	}
	var r Request
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return Request{}, faulty{"the body is not the JSON of a transaction: " + strings.TrimPrefix(err.Error(), "json: ")}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Request{}, faulty{"the body goes on after the transaction: send one JSON object"}
	}
	return r, nil
}

// begin makes what the coordinator takes, or tells everything that is wrong.
func (r Request) begin(opted OptedIn) (coordinator.Request, error) {
	var faults faulty
	if err := txn.ID(r.ID).Validate(); err != nil {
		faults.add("%v", err)
	}
	timeout := DefaultTimeout
	if r.Timeout != "" {
		var err error
		if timeout, err = time.ParseDuration(r.Timeout); err != nil || timeout <= 0 || timeout > MaxTimeout {
			faults.add("timeout: %.40q: must be a duration over 0s and up to %s, as in \"10s\"", r.Timeout, MaxTimeout)
		}
	}
	out := coordinator.Request{ID: txn.ID(r.ID), Kind: Kind, Rule: txn.AllYes{}, Timeout: timeout, Body: []byte(timeout.String())}
	if n := len(r.Participants); n < 1 || n > MaxParticipants {
		faults.add("participants: are %d: must be 1 to %d", n, MaxParticipants)
		return out, faults
	}
	seen := map[string]int{}
	for i, p := range r.Participants {
		at := fmt.Sprintf("participants[%d]", i)
		if first, twice := seen[p.Service]; twice {
			faults.add("%s.service: %.80q: is that of participants[%d] too: give it once, with the data of both", at, p.Service, first)
		}
		seen[p.Service] = i
		p.check(at, opted, &faults)
		body, err := json.Marshal(p)
		if err != nil {
			faults.add("%s.data: %v", at, err)
		}
		out.Parties = append(out.Parties, txn.Party{ID: p.Service, Body: body})
	}
	if len(faults) > 0 {
		return out, faults
	}
	return out, nil
}

// check adds what is wrong with one participant.
func (p Participant) check(at string, opted OptedIn, faults *faulty) {
	if len(p.Data) > MaxData {
		faults.add("%s.data: has %d bytes: must be at most %d", at, len(p.Data), MaxData)
	}
	if p.Service == "" {
		faults.add("%s.service: is missing: name a service of the mesh", at)
		return
	}
	prefix, err := opted(p.Service)
	if err != nil {
		faults.add("%s.service: %.80q: %v", at, p.Service, err)
		return
	}
	for _, f := range []struct{ name, path string }{{"prepare", p.Prepare}, {"commit", p.Commit}, {"rollback", p.Rollback}} {
		switch {
		case f.path == "":
			faults.add("%s.%s: is missing: must be a path under %s", at, f.name, prefix)
		case !below(prefix, f.path):
			faults.add("%s.%s: %.120q: must be a path under %s, where %s lets transactions in, without query", at, f.name, f.path, prefix, p.Service)
		}
	}
}

// below reports whether p is a clean path that is prefix or under it.
func below(prefix, p string) bool {
	if len(p) > 1024 || path.Clean(p) != p || strings.ContainsAny(p, "?#%\\ \t\r\n") {
		return false
	}
	for _, c := range p {
		if c < ' ' || c > '~' {
			return false
		}
	}
	prefix = strings.TrimSuffix(prefix, "/")
	return p == prefix || strings.HasPrefix(p, prefix+"/")
}
