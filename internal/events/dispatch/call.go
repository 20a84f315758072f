package dispatch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"meshlite.dev/internal/events"
)

// The headers of a call to a handler, beside those of CloudEvents.
const (
	HeaderSubscription = "Mesh-Subscription"     // NAMESPACE/NAME
	HeaderAttempt      = "Mesh-Delivery-Attempt" // from 1
	HeaderKey          = "Idempotency-Key"       // the same each time the event comes
	headerTrace        = "traceparent"
)

const (
	replyOf = 64 << 10 // bytes of an answer that are read
	wordsOf = 200      // bytes of it that are kept as its words
)

// MaxRetryAfter bounds what a handler's Retry-After asks for.
const MaxRetryAfter = 10 * time.Minute

// outcome is what a call came to.
type outcome int

const (
	done  outcome = iota
	retry         // another attempt, after `after` at least
	dead          // no other attempt is wanted
	away          // our own proxy does not answer: it was no attempt
)

// verdict is an outcome, and why.
type verdict struct {
	outcome
	why   string
	after time.Duration
}

// call hands an event to its handler: 2xx is done, unless the body is
// {"status": "RETRY"} or {"status": "DROP"}; 410 and DROP give it up; anything
// else is tried again, no sooner than a Retry-After says.
func call(ctx context.Context, client *http.Client, s Subscription, d Delivery) verdict {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	req, err := request(ctx, s, d)
	if err != nil {
		return verdict{outcome: dead, why: err.Error()}
	}
	resp, err := client.Do(req)
	if err == nil {
		defer resp.Body.Close()
		var body []byte
		if body, err = io.ReadAll(io.LimitReader(resp.Body, replyOf)); err == nil {
			return judge(resp, body)
		}
	}
	var op *net.OpError
	switch {
	case errors.As(err, &op) && op.Op == "dial":
		return verdict{outcome: away, why: "the dispatcher's own proxy (--app-proxy) does not answer: " + op.Err.Error()}
	case ctx.Err() != nil:
		return verdict{outcome: retry, why: fmt.Sprintf("no answer within %s", s.Timeout)}
	}
	return verdict{outcome: retry, why: err.Error()}
}

func judge(resp *http.Response, body []byte) verdict {
	said := fmt.Sprint(resp.StatusCode, " ", http.StatusText(resp.StatusCode))
	if words := words(body); words != "" {
		said += ": " + words
	}
	switch {
	case resp.StatusCode/100 == 2:
		var reply struct {
			Status string `json:"status"`
		}
		_ = json.Unmarshal(body, &reply) // anything else than JSON says nothing more than 2xx
		switch reply.Status {
		case "RETRY":
			return verdict{outcome: retry, why: "the handler answered RETRY", after: retryAfter(resp.Header)}
		case "DROP":
			return verdict{outcome: dead, why: "the handler answered DROP"}
		}
		return verdict{}
	case resp.StatusCode == http.StatusGone:
		return verdict{outcome: dead, why: said}
	}
	return verdict{outcome: retry, why: said, after: retryAfter(resp.Header)}
}

func words(body []byte) string {
	return strings.ToValidUTF8(strings.TrimSpace(string(body[:min(len(body), wordsOf)])), "")
}

// retryAfter reads seconds, or a date, up to MaxRetryAfter.
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if s, err := strconv.Atoi(text); err == nil {
		return time.Duration(min(max(s, 0), int(MaxRetryAfter/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(time.Until(at), 0), MaxRetryAfter)
	}
	return 0
}

func request(ctx context.Context, s Subscription, d Delivery) (*http.Request, error) {
	body, header, err := content(s.Mode, d.Event)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.Service+s.Path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", s.Service, err)
	}
	req.Header = header
	header.Set(HeaderSubscription, s.Key())
	header.Set(HeaderAttempt, strconv.Itoa(d.Attempt))
	header.Set(HeaderKey, events.ID(d.Event.Source, d.Event.ID, "", "", nil))
	if trace, ok := d.Event.Extensions[headerTrace].(string); ok {
		header.Set(headerTrace, trace) // as CloudEvents carries it
	}
	return req, nil
}

// content is an event in the form that the handler wants.
func content(mode string, e events.Event) ([]byte, http.Header, error) {
	h := http.Header{}
	switch mode {
	case Binary:
		body, contentType, attributes := e.Binary()
		h.Set("Content-Type", contentType)
		for _, a := range attributes {
			h.Set(a.Name, a.Value)
		}
		return body, h, nil
	case Envelope:
		body, err := e.Envelope()
		h.Set("Content-Type", "application/json")
		return body, h, err
	default:
		body, err := e.MarshalJSON()
		h.Set("Content-Type", events.ContentType)
		return body, h, err
	}
}
