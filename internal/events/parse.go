package events

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"mime"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Input is an event as it came in, over HTTP or from a queue.
type Input struct {
	ContentType string              // of Body
	Header      map[string][]string // attributes in binary mode, as ce-NAME in any case; nil: none
	Body        []byte
	ID, Source  string    // stand in where the event has none; ID "" is a hash of Body
	Received    time.Time // stands in for a missing time
}

// Parse reads an event in any of the three forms: structured CloudEvents,
// binary CloudEvents (ce- headers beside the data), or the bare envelope
// {"type", "data", "timestamp"}. Its error names every fault.
func Parse(in Input) (Event, error) {
	if len(in.Body) > MaxEvent {
		return Event{}, fmt.Errorf("the event is %d bytes: must be at most %d", len(in.Body), MaxEvent)
	}
	var e Event
	var err error
	if in.binary() {
		e, err = parseBinary(in)
	} else {
		e, err = parseJSON(in)
	}
	if err != nil {
		return Event{}, err
	}
	e.fill(in)
	if err := e.Check(); err != nil {
		return Event{}, err
	}
	return e, nil
}

// binary reports whether the attributes stand in headers.
func (in Input) binary() bool {
	for name := range in.Header {
		if strings.EqualFold(name, "ce-specversion") {
			return true
		}
	}
	return false
}

// ParseBatch reads a JSON array of structured events or bare envelopes. A fault
// names the event's place; all are told, and none is taken then.
func ParseBatch(in Input) ([]Event, error) {
	var raws []json.RawMessage
	if err := json.Unmarshal(in.Body, &raws); err != nil {
		return nil, fmt.Errorf("the batch is no JSON array: %w", err)
	}
	var faults []error
	out := make([]Event, 0, len(raws))
	for i, raw := range raws {
		e, err := Parse(Input{Body: raw, Source: in.Source, Received: in.Received})
		if err != nil {
			faults = append(faults, fmt.Errorf("event %d: %s", i, strings.ReplaceAll(err.Error(), "\n", "; ")))
			continue
		}
		out = append(out, e)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return out, nil
}

// IsBatch reports whether a content type is that of a batch.
func IsBatch(contentType string) bool {
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && t == BatchContentType
}

func (e *Event) fill(in Input) {
	if e.ID == "" {
		e.ID = in.ID
	}
	if e.ID == "" {
		sum := sha256.Sum256(in.Body)
		e.ID = hex.EncodeToString(sum[:16])
	}
	if e.Source == "" {
		e.Source = in.Source
	}
	if e.Time.IsZero() {
		e.Time = in.Received
	}
}

// parseJSON reads the structured form, or the bare envelope where specversion
// is missing.
func parseJSON(in Input) (Event, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(in.Body, &members); err != nil {
		return Event{}, fmt.Errorf("the event is no JSON object: %w", err)
	}
	if members == nil {
		return Event{}, errors.New(`the event is null: must be an object such as {"type": "order.created", "data": {}}`)
	}
	r := reader{members: members}
	version, structured := r.text("specversion"), members["specversion"] != nil
	if structured && version != "1.0" {
		r.fault("specversion", "must be \"1.0\"")
	}
	e := Event{
		ID: r.text("id"), Source: r.text("source"), Type: r.text("type"), Subject: r.text("subject"),
		DataContentType: r.text("datacontenttype"), DataSchema: r.text("dataschema"), Sequence: r.text("sequence"),
		Data: compact(members["data"]), Time: r.time(),
	}
	if raw := members["data_base64"]; raw != nil {
		if json.Unmarshal(raw, &e.DataBase64) != nil {
			r.fault("data_base64", "must be a string of base64")
		}
	}
	r.extensions(&e)
	if structured { // nothing stands in for what CloudEvents demands
		for name, value := range map[string]string{"id": e.ID, "source": e.Source} {
			if value == "" {
				r.fault(name, "must be there and not empty beside specversion; leave specversion out for the bare envelope")
			}
		}
	}
	return e, r.err()
}

// reader takes members of a JSON object one by one and gathers faults.
type reader struct {
	members map[string]json.RawMessage
	faults  []error
}

func (r *reader) fault(name, right string) {
	r.faults = append(r.faults, fmt.Errorf("%s: %.80s: %s", name, r.members[name], right))
}

func (r *reader) err() error { return errors.Join(r.faults...) }

func (r *reader) text(name string) (s string) {
	raw := r.members[name]
	if raw == nil || string(raw) == "null" {
		return ""
	}
	if json.Unmarshal(raw, &s) != nil {
		r.fault(name, "must be a string")
	}
	return s
}

// time is the event's time, else its timestamp. A timestamp may also be a
// number: seconds since 1970, or milliseconds where it is that large.
func (r *reader) time() time.Time {
	for _, name := range []string{"time", "timestamp"} {
		raw := r.members[name]
		if raw == nil || string(raw) == "null" {
			continue
		}
		var n float64
		if name == "timestamp" && json.Unmarshal(raw, &n) == nil {
			return r.number(n)
		}
		at, err := time.Parse(time.RFC3339Nano, r.text(name))
		if err != nil {
			r.fault(name, "must be as 2026-11-23T14:00:00.123Z")
		}
		return at
	}
	return time.Time{}
}

const (
	mostSeconds = 253402300799 // the end of year 9999
	fewestMilli = 1e11
)

func (r *reader) number(n float64) time.Time {
	if math.Abs(n) >= fewestMilli {
		n /= 1000
	}
	if math.Abs(n) > mostSeconds {
		r.fault("timestamp", "must be seconds or milliseconds since 1970, or as 2026-11-23T14:00:00.123Z")
		return time.Time{}
	}
	whole, fraction := math.Modf(n)
	return time.Unix(int64(whole), int64(fraction*1e9)).UTC()
}

func (r *reader) extensions(e *Event) {
	for name, raw := range r.members {
		if slices.Contains(known, name) || string(raw) == "null" {
			continue
		}
		if e.Extensions == nil {
			e.Extensions = map[string]any{}
		}
		var v any
		_ = json.Unmarshal(raw, &v) // it was valid as part of the whole
		if n, ok := v.(float64); ok && n == math.Trunc(n) && math.Abs(n) <= math.MaxInt32 {
			v = int32(n)
		}
		e.Extensions[name] = v // Check says what may stand here
	}
}

// compact is data without needless space; nil stays nil.
func compact(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return nil
	}
	var b bytes.Buffer
	_ = json.Compact(&b, raw) // it was valid as part of the whole
	return b.Bytes()
}

// parseBinary reads attributes from ce- headers and takes the body for the
// data.
func parseBinary(in Input) (Event, error) {
	e := Event{DataContentType: in.ContentType}
	var faults []error
	for name, values := range in.Header {
		attribute, ok := strings.CutPrefix(strings.ToLower(name), "ce-")
		if !ok {
			continue
		}
		if len(values) > 1 {
			faults = append(faults, fmt.Errorf("%s: comes %d times: must come once", name, len(values)))
			continue
		}
		value, err := url.PathUnescape(values[0])
		if err == nil {
			err = e.set(attribute, value)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %.80q: %w", name, values[0], err))
		}
	}
	for name, value := range map[string]string{"ce-id": e.ID, "ce-source": e.Source} {
		if value == "" {
			faults = append(faults, fmt.Errorf("%s: must be there and not empty beside ce-specversion", name))
		}
	}
	if len(in.Body) > 0 {
		if isJSON(in.ContentType) {
			if !json.Valid(in.Body) {
				faults = append(faults, fmt.Errorf("the body is no JSON, though its content type is %q", in.ContentType))
			} else {
				e.Data = compact(in.Body)
			}
		} else {
			e.DataBase64 = in.Body
		}
	}
	return e, errors.Join(faults...)
}

func (e *Event) set(attribute, value string) (err error) {
	switch attribute {
	case "specversion":
		if value != "1.0" {
			err = errors.New("must be 1.0")
		}
	case "id":
		e.ID = value
	case "source":
		e.Source = value
	case "type":
		e.Type = value
	case "subject":
		e.Subject = value
	case "dataschema":
		e.DataSchema = value
	case "sequence":
		e.Sequence = value
	case "time", "timestamp":
		at, failed := time.Parse(time.RFC3339Nano, value)
		if failed != nil {
			return errors.New("must be as 2026-11-23T14:00:00.123Z")
		}
		if attribute == "time" || e.Time.IsZero() {
			e.Time = at
		}
	default:
		if e.Extensions == nil {
			e.Extensions = map[string]any{}
		}
		e.Extensions[attribute] = value
	}
	return err
}

// isJSON reports whether a content type is one of JSON; none is.
func isJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && (t == jsonType || t == "text/json" || strings.HasSuffix(t, "+json"))
}
