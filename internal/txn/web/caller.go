package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"meshlite.dev/internal/httpcall"
	"meshlite.dev/internal/store"
	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/coordinator"
)

// The headers of a call to a participant.
const (
	HeaderID     = "Mesh-Transaction-Id"
	HeaderBranch = "Mesh-Transaction-Branch" // the participant's service
	HeaderOp     = "Mesh-Transaction-Op"     // prepare, commit or rollback
	HeaderKey    = "Idempotency-Key"         // the same each time a call is repeated
	headerTrace  = "traceparent"
)

const (
	firstPause = 100 * time.Millisecond // before a prepare is asked again, then twice as long
	longPause  = 2 * time.Second
	oneCall    = 15 * time.Second // of a try
	wordsOf    = 1 << 10          // bytes of an answer that are kept as its words
)

// Caller calls participants through an Envoy of the coordinator's own, so that
// discovery, ejection and timeouts are the mesh's.
type Caller struct{ client *http.Client }

// NewCaller calls through proxy, as HTTP_PROXY means it: "http://127.0.0.1:15001".
func NewCaller(proxy *url.URL) *Caller {
	return &Caller{httpcall.Through(proxy, oneCall)}
}

// Close ends connections that are not in use.
func (c *Caller) Close() { c.client.CloseIdleConnections() }

// Participant is coordinator.Config.Participant.
func (c *Caller) Participant(txn.Tx, txn.Party) coordinator.Participant { return participant{c} }

type participant struct{ *Caller }

// Prepare implements coordinator.Participant: 2xx is a yes, 409 a no in the words of
// the body, anything else is asked again until ctx ends.
func (p participant) Prepare(ctx context.Context, b coordinator.Branch) coordinator.Answer {
	said := "no answer"
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		r, err := p.call(ctx, "prepare", b)
		switch {
		case err != nil && ctx.Err() == nil:
			said = err.Error()
		case err != nil:
		case r.status/100 == 2:
			return coordinator.Answer{Vote: txn.Yes, Text: r.words}
		case r.status == http.StatusConflict:
			return coordinator.Answer{Vote: txn.No, Text: r.words}
		default:
			said = r.String()
		}
		if !store.Rest(ctx, max(r.after, pause/2+rand.N(pause))) {
			return coordinator.Answer{Vote: txn.Abstain, Text: said}
		}
	}
}

// Commit implements coordinator.Participant.
func (p participant) Commit(ctx context.Context, b coordinator.Branch) error {
	return p.tell(ctx, "commit", b)
}

// Rollback implements coordinator.Participant.
func (p participant) Rollback(ctx context.Context, b coordinator.Branch) error {
	return p.tell(ctx, "rollback", b)
}

// tell tells the decision: 2xx is done, 409 a refusal, which makes the transaction
// HEURISTIC, anything else is told again.
func (p participant) tell(ctx context.Context, op string, b coordinator.Branch) error {
	r, err := p.call(ctx, op, b)
	switch {
	case err != nil:
		return err
	case r.status/100 == 2:
		return nil
	case r.status == http.StatusConflict:
		return &coordinator.RefusedError{Text: r.words}
	}
	return fmt.Errorf("%s", r)
}

// reply is an answer of a participant.
type reply struct {
	status int
	words  string
	after  time.Duration // Retry-After, up to longPause
}

func (r reply) String() string {
	switch {
	case r.status == http.StatusTooEarly:
		return "425: it is still at it"
	case r.words == "":
		return fmt.Sprint(r.status, " ", http.StatusText(r.status))
	}
	return fmt.Sprint(r.status, ": ", r.words)
}

func (p participant) call(ctx context.Context, op string, b coordinator.Branch) (reply, error) {
	var to Participant
	if err := json.Unmarshal(b.Party.Body, &to); err != nil {
		return reply{}, fmt.Errorf("read the branch of %s: %w", b.Party.ID, err)
	}
	path := map[string]string{"prepare": to.Prepare, "commit": to.Commit, "rollback": to.Rollback}[op]
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+to.Service+path, bytes.NewReader(to.Data))
	if err != nil {
		return reply{}, fmt.Errorf("%s %s: %w", op, b.Party.ID, err)
	}
	h := req.Header
	h.Set(HeaderID, string(b.Tx.ID))
	h.Set(HeaderBranch, b.Party.ID)
	h.Set(HeaderOp, op)
	h.Set(HeaderKey, string(b.Tx.ID)+"/"+b.Party.ID+"/"+op)
	h.Set(headerTrace, trace(string(b.Tx.ID), b.Party.ID+"/"+op))
	if len(to.Data) > 0 {
		h.Set("Content-Type", "application/json")
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return reply{}, fmt.Errorf("%s %s: %w", op, b.Party.ID, err)
	}
	defer resp.Body.Close()
	words, err := io.ReadAll(io.LimitReader(resp.Body, wordsOf))
	if err != nil {
		return reply{}, fmt.Errorf("%s %s: read its answer: %w", op, b.Party.ID, err)
	}
	r := reply{status: resp.StatusCode, words: strings.ToValidUTF8(strings.TrimSpace(string(words)), "?")}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		r.after = min(time.Duration(s)*time.Second, longPause)
	}
	return r, nil
}

// trace is a traceparent (W3C Trace Context) that all calls of a transaction share,
// with a parent for each, the same when a call is repeated.
func trace(id, call string) string {
	all, one := sha256.Sum256([]byte(id)), sha256.Sum256([]byte(id+"/"+call))
	return "00-" + hex.EncodeToString(all[:16]) + "-" + hex.EncodeToString(one[:8]) + "-01"
}
