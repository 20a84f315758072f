// Package web takes events from applications over HTTP: POST /v1/events on the
// address for applications, which they reach as http://events.mesh through their
// sidecars. An event is answered for once it is kept durably.
package web

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"meshlite.dev/internal/events"
)

// Path is where events are taken.
const Path = "/v1/events"

const (
	// maxInFlight bounds the requests that are read and kept at once, and with
	// events.MaxEvent their memory.
	maxInFlight = 64
	// waitForTurn is how long a request waits for others before it is sent away.
	waitForTurn = 500 * time.Millisecond
)

// Handler takes events. Make one with New.
type Handler struct {
	publish func(context.Context, []events.Event) ([]events.Event, error)
	turns   chan struct{}
}

// ErrFull reports that nothing more is taken until a broker takes some.
var ErrFull = errors.New("too many events wait for the broker")

// New returns a handler that answers once publish has kept the events durably.
func New(publish func(context.Context, []events.Event) ([]events.Event, error)) *Handler {
	return &Handler{publish: publish, turns: make(chan struct{}, maxInFlight)}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		problem(w, http.StatusMethodNotAllowed, r.Method+" cannot be used on "+Path+": use POST")
		return
	}
	if r.ContentLength > events.MaxEvent { // before it is read
		tooLarge(w)
		return
	}
	if !h.turn(r.Context()) {
		w.Header().Set("Retry-After", "1")
		problem(w, http.StatusTooManyRequests, "nothing is kept: too many events come at once; send it again")
		return
	}
	defer func() { <-h.turns }()
	h.take(w, r)
}

// turn waits for one of the few that are served at once.
func (h *Handler) turn(ctx context.Context) bool {
	wait := time.NewTimer(waitForTurn)
	defer wait.Stop()
	select {
	case h.turns <- struct{}{}:
		return true
	case <-wait.C:
	case <-ctx.Done():
	}
	return false
}

func (h *Handler) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, events.MaxEvent))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		tooLarge(w)
		return
	}
	if err != nil {
		problem(w, http.StatusBadRequest, "nothing is kept: the body cannot be read: "+err.Error())
		return
	}
	all, err := events.Take(events.Input{
		ContentType: r.Header.Get("Content-Type"), Header: r.Header, Body: body, Source: events.DefaultSource, Received: time.Now(),
	})
	if err != nil {
		problem(w, http.StatusBadRequest, "nothing is kept: the request has faults", strings.Split(err.Error(), "\n")...)
		return
	}
	kept, err := h.publish(r.Context(), all)
	switch {
	case errors.Is(err, ErrFull):
		w.Header().Set("Retry-After", "5")
		problem(w, http.StatusTooManyRequests, "nothing is kept: "+err.Error()+"; send it again")
		return
	case err != nil:
		w.Header().Set("Retry-After", "5")
		problem(w, http.StatusServiceUnavailable, "nothing is kept: "+err.Error()+"; send it again")
		return
	}
	respond(w, http.StatusAccepted, events.ReceiptsOf(kept))
}

func tooLarge(w http.ResponseWriter) {
	problem(w, http.StatusRequestEntityTooLarge, "nothing is kept: a request has at most 1048576 bytes; send references instead of contents")
}

// Failure is the body of every answer that is not 202.
type Failure struct {
	Error  string   `json:"error"`
	Faults []string `json:"faults,omitempty"` // all of them
}

func problem(w http.ResponseWriter, status int, text string, faults ...string) {
	respond(w, status, Failure{Error: text, Faults: faults})
}

func respond(w http.ResponseWriter, status int, v any) {
	raw, err := json.Marshal(v)
	if err != nil { // a bug: it is plain data
		status, raw = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be written"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(raw, '\n')) // nobody is left to tell
}
