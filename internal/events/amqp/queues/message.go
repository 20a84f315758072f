package queues

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/dispatch"
)

// Headers of messages that a subscription had before, or gave up.
const (
	headerAttempt      = "mesh-attempt"      // made before, of those that wait for another one
	headerReason       = "mesh-reason"       // why it was given up
	headerAttempts     = "mesh-attempts"     // made before it was
	headerSubscription = "mesh-subscription" // whose it was: NAMESPACE/NAME
	headerDeadAt       = "mesh-dead-at"      // when: RFC 3339
)

// eventOf reads a message in any form of an event; fault says why it is none.
func eventOf(m amqp091.Delivery) (e events.Event, fault string) {
	in := events.Input{ContentType: m.ContentType, Body: m.Body, ID: m.MessageId, Source: events.DefaultSource, Received: m.Timestamp}
	if in.Received.IsZero() {
		in.Received = time.Now()
	}
	if !strings.HasPrefix(m.ContentType, "application/cloudevents") { // which says that all is in the body
		in.Header = attributes(m.Headers)
	}
	e, err := events.Parse(in)
	if err != nil {
		return events.Event{}, strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return e, ""
}

// attributes are headers of the binary form as HTTP has them. AMQP's binding has
// them as cloudEvents:NAME or cloudEvents_NAME, not encoded; some send ce-NAME.
func attributes(headers amqp091.Table) map[string][]string {
	out := map[string][]string{}
	for name, value := range headers {
		text, ok := textOf(value)
		if !ok {
			continue
		}
		attribute, binding := strings.CutPrefix(name, "cloudEvents:")
		if !binding {
			attribute, binding = strings.CutPrefix(name, "cloudEvents_")
		}
		switch {
		case binding:
			out["ce-"+attribute] = []string{url.PathEscape(text)}
		case strings.HasPrefix(strings.ToLower(name), "ce-"):
			out[name] = []string{text}
		}
	}
	return out
}

func textOf(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case []byte:
		return string(v), true
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano), true
	case bool, int8, uint8, int16, uint16, int32, uint32, int64, int, float32, float64:
		return fmt.Sprint(v), true
	}
	return "", false
}

// number reads a header that may be of any kind of number; 0 where it is none.
func number(headers amqp091.Table, name string) int {
	text, _ := textOf(headers[name])
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		return 0
	}
	return int(n)
}

// attemptOf is which attempt a message is handed out for.
func attemptOf(m amqp091.Delivery) int {
	return min(number(m.Headers, headerAttempt), math.MaxInt32-1) + 1
}

// again is a message as it is published once more, persistent: without what
// brokers add to it, and what would send it elsewhere or end it.
func again(m amqp091.Delivery, e events.Event, headers amqp091.Table) amqp091.Publishing {
	out := amqp091.Publishing{
		Headers: amqp091.Table{}, ContentType: m.ContentType, ContentEncoding: m.ContentEncoding, DeliveryMode: amqp091.Persistent,
		Priority: m.Priority, CorrelationId: m.CorrelationId, ReplyTo: m.ReplyTo, MessageId: m.MessageId, Timestamp: m.Timestamp,
		Type: m.Type, AppId: m.AppId, Body: m.Body,
	}
	if out.MessageId == "" {
		out.MessageId = idOf(e, m.Body)
	}
	if out.Timestamp.IsZero() {
		out.Timestamp = e.Time // also of one that has none but that of receipt
	}
	for name, value := range m.Headers {
		if !brokers(name) {
			out.Headers[name] = value
		}
	}
	maps.Copy(out.Headers, headers)
	return out
}

// brokers reports whether a header is the broker's or ours.
func brokers(name string) bool {
	switch name {
	case "CC", "BCC", "x-delivery-count", headerAttempt, headerReason, headerAttempts, headerSubscription, headerDeadAt:
		return true
	}
	return strings.HasPrefix(name, "x-death") || strings.HasPrefix(name, "x-first-death-") || strings.HasPrefix(name, "x-last-death-")
}

// idOf is an event's id, or the hash of what is none.
func idOf(e events.Event, body []byte) string {
	if e.ID != "" {
		return e.ID
	}
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:16])
}

// deadLetterOf reads a message of a dead-letter queue.
func deadLetterOf(m amqp091.Delivery) dispatch.DeadLetter {
	e, _ := eventOf(m)
	d := dispatch.DeadLetter{
		ID: idOf(e, m.Body), Type: e.Type, Source: e.Source, Subject: e.Subject,
		Reason: "the broker gave it up", Attempts: number(m.Headers, headerAttempts),
	}
	if reason, ok := textOf(m.Headers[headerReason]); ok {
		d.Reason = reason
	} else if why, ok := textOf(m.Headers["x-first-death-reason"]); ok {
		d.Reason += ": " + why
	}
	at, _ := textOf(m.Headers[headerDeadAt])
	d.At, _ = time.Parse(time.RFC3339, at) // zero: another one than us put it there
	whole, err := e.MarshalJSON()
	switch {
	case e.ID != "" && err == nil:
		d.Event = whole
	case json.Valid(m.Body):
		d.Event = m.Body
	default:
		d.Body = m.Body
	}
	return d
}
