package web

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/coordinator"
)

// Path is where transactions are taken and told of.
const Path = "/v1/transactions"

// Handler serves transactions. Fields are not changed once it serves.
type Handler struct {
	// Coordinator returns the coordinator that runs here; nil while there is none,
	// or another replica has it.
	Coordinator func() *coordinator.Coordinator
	OptedIn     OptedIn
}

// ServeHTTP implements http.Handler.
func (h Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, one := strings.CutPrefix(r.URL.Path, Path+"/")
	switch {
	case r.URL.Path == Path && r.Method == http.MethodPost:
		h.begin(w, r)
	case one && !strings.Contains(id, "/") && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		h.inquire(w, r, id)
	case r.URL.Path == Path, one && !strings.Contains(id, "/"):
		allow := http.MethodPost
		if one {
			allow = http.MethodGet
		}
		w.Header().Set("Allow", allow)
		problem(w, http.StatusMethodNotAllowed, r.Method+" cannot be used on "+r.URL.Path+": use "+allow)
	default:
		problem(w, http.StatusNotFound, "transactions begin with POST "+Path+" and are told of by GET "+Path+"/ID")
	}
}

// begin takes a transaction and answers with its outcome: 200 committed, 409 rolled
// back, or 202 at once where the caller prefers that. A caller that hangs up leaves
// the transaction to its end; the same request tells later.
func (h Handler) begin(w http.ResponseWriter, r *http.Request) {
	in, err := decode(r.Body)
	var request coordinator.Request
	if err == nil {
		request, err = in.begin(h.OptedIn)
	}
	if err != nil {
		reject(w, err)
		return
	}
	c := h.Coordinator()
	if c == nil {
		elsewhere(w)
		return
	}
	v, err := c.Begin(r.Context(), request)
	if err == nil && !prefersAsync(r) {
		v, err = c.Await(r.Context(), request.ID, coordinator.Decided)
	}
	if err != nil {
		reject(w, err)
		return
	}
	w.Header().Set("Location", Path+"/"+in.ID)
	respond(w, statusOf(v.State), Describe(v))
}

// inquire tells how a transaction ended: what a participant in doubt asks.
func (h Handler) inquire(w http.ResponseWriter, r *http.Request, id string) {
	if err := txn.ID(id).Validate(); err != nil {
		problem(w, http.StatusBadRequest, "there can be no such transaction", err.Error())
		return
	}
	c := h.Coordinator()
	if c == nil {
		elsewhere(w)
		return
	}
	v, err := c.Get(r.Context(), txn.ID(id))
	switch {
	case errors.Is(err, coordinator.ErrUnknown):
		respond(w, http.StatusOK, unknown(id))
	case err != nil:
		reject(w, err)
	default:
		respond(w, http.StatusOK, Describe(v))
	}
}

// statusOf is the HTTP status of an outcome. HEURISTIC goes by the decision.
func statusOf(s txn.State) int {
	switch s.Outcome {
	case txn.Commit:
		return http.StatusOK
	case txn.Abort:
		return http.StatusConflict
	}
	return http.StatusAccepted
}

// prefersAsync reads RFC 7240.
func prefersAsync(r *http.Request) bool {
	for _, line := range r.Header.Values("Prefer") {
		for p := range strings.SplitSeq(line, ",") {
			name, _, _ := strings.Cut(p, ";")
			if strings.EqualFold(strings.TrimSpace(name), "respond-async") {
				return true
			}
		}
	}
	return false
}

func reject(w http.ResponseWriter, err error) {
	var faults faulty
	switch {
	case errors.As(err, &faults):
		problem(w, http.StatusBadRequest, "nothing has begun: the request has faults", faults...)
	case errors.Is(err, errTooLarge):
		problem(w, http.StatusRequestEntityTooLarge, "nothing has begun: a request has at most 196608 bytes; send references instead of contents")
	case errors.Is(err, coordinator.ErrMismatch):
		problem(w, http.StatusUnprocessableEntity, "this id is that of a transaction with other content, which goes on: use a new id for another one")
	case errors.Is(err, coordinator.ErrBusy):
		w.Header().Set("Retry-After", "1")
		problem(w, http.StatusTooManyRequests, "nothing has begun: too many transactions are open")
	case errors.Is(err, coordinator.ErrStopped), errors.Is(err, coordinator.ErrUnknown),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		elsewhere(w) // it may have begun: a 400 would say that it has not
	default:
		problem(w, http.StatusBadRequest, err.Error())
	}
}

// elsewhere answers where no coordinator runs: what it does not know may be known
// elsewhere, so that it must not be taken for rolled back.
func elsewhere(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	problem(w, http.StatusServiceUnavailable, "this server does not coordinate transactions just now: ask again")
}
