package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Content types of the forms.
const (
	ContentType      = "application/cloudevents+json"       // one structured event
	BatchContentType = "application/cloudevents-batch+json" // a JSON array of them
	jsonType         = "application/json"
)

// What an event may have at most, in bytes. Type is also AMQP's routing key
// and ID its message id, which end at 255.
const (
	MaxType      = 255
	MaxID        = 255
	MaxAttribute = 1024
	MaxEvent     = 1 << 20 // the whole document
)

// Exchange is the topic exchange of the mesh's events, on a broker and without one.
const Exchange = "domain_events"

// DefaultSource is that of an event whose publisher names none.
const DefaultSource = "/app"

// Reserved is the prefix of the types that the mesh alone uses.
const Reserved = "mesh."

// Event is one event. The zero value is not valid; Check says what is.
type Event struct {
	ID      string // unique together with Source
	Source  string // a URI reference: who tells
	Type    string // words with dots between them: "order.created"
	Subject string // what it is about; "" where nothing is named
	Time    time.Time

	DataContentType string          // "" is application/json
	DataSchema      string          // a URI
	Data            json.RawMessage // nil where there is none
	DataBase64      []byte          // data that is no JSON; nil where Data is it

	// Sequence is the event's place in the log that it was kept in; "" before.
	Sequence string
	// Extensions are further attributes: string, bool or int32, by their name in
	// lower-case letters and digits.
	Extensions map[string]any
}

var (
	typeName      = regexp.MustCompile(`^[-A-Za-z0-9_]+(\.[-A-Za-z0-9_]+)*$`)
	attributeName = regexp.MustCompile(`^[a-z0-9]{1,20}$`)
)

// Record is an event as a log keeps it.
type Record struct {
	Sequence uint64
	Received time.Time
	JSON     json.RawMessage // the structured form, its sequence in it
}

// known are the attributes that are fields of Event, and the members of the
// JSON form that are none.
var known = []string{"specversion", "id", "source", "type", "subject", "time", "timestamp", "datacontenttype", "dataschema", "data", "data_base64", "sequence"}

// Check returns every fault of e, joined, each naming the attribute, its value
// and what would be right.
func (e *Event) Check() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	for _, a := range []struct {
		name, value string
		most        int
		needed      bool
	}{
		{"id", e.ID, MaxID, true}, {"source", e.Source, MaxAttribute, true}, {"type", e.Type, MaxType, true},
		{"subject", e.Subject, MaxAttribute, false}, {"datacontenttype", e.DataContentType, MaxAttribute, false},
		{"dataschema", e.DataSchema, MaxAttribute, false}, {"sequence", e.Sequence, MaxAttribute, false},
	} {
		switch {
		case a.value == "" && a.needed:
			fault("%s: is missing", a.name)
		case len(a.value) > a.most:
			fault("%s: is %d bytes: must be at most %d", a.name, len(a.value), a.most)
		case !plain(a.value):
			fault("%s: %.80q: must be UTF-8 without control characters", a.name, a.value)
		}
	}
	if e.Type != "" && !typeName.MatchString(e.Type) {
		fault("type: %.80q: must be words of letters, digits, - and _ with dots between them, such as order.created", e.Type)
	}
	for _, ref := range []struct{ name, value string }{{"source", e.Source}, {"dataschema", e.DataSchema}} {
		if _, err := url.Parse(ref.value); err != nil {
			fault("%s: %.80q: must be a URI, such as /shop/orders", ref.name, ref.value)
		}
	}
	if year := e.Time.UTC().Year(); e.Time.IsZero() || year < 1 || year > 9999 {
		fault("time: is %s: must be of the years 1 to 9999", e.Time.Format(time.RFC3339))
	}
	if e.Data != nil && e.DataBase64 != nil {
		fault("data: stands beside data_base64: use one of them")
	}
	if e.Data != nil && !json.Valid(e.Data) {
		fault("data: is no JSON")
	}
	for _, name := range slices.Sorted(maps.Keys(e.Extensions)) {
		if err := checkExtension(name, e.Extensions[name]); err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

func checkExtension(name string, value any) error {
	if slices.Contains(known, name) || !attributeName.MatchString(name) {
		return fmt.Errorf("%.40s: must be 1 to 20 lower-case letters and digits, as CloudEvents names attributes; what belongs to the event's content goes into data", name)
	}
	switch v := value.(type) {
	case bool, int32:
	case string:
		if len(v) > MaxAttribute || !plain(v) {
			return fmt.Errorf("%s: %.80q: must be at most %d bytes of UTF-8 without control characters", name, v, MaxAttribute)
		}
	default:
		return fmt.Errorf("%s: must be a string, true, false or a whole number of 32 bits; what belongs to the event's content goes into data", name)
	}
	return nil
}

// plain is what CloudEvents allows in strings, and HTTP and AMQP in headers.
func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return r < 0x20 || r >= 0x7f && r <= 0x9f || r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe
	})
}

// form is the JSON document without extensions; its order is what people read.
type form struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Subject         string          `json:"subject,omitempty"`
	Time            string          `json:"time"`
	Timestamp       string          `json:"timestamp"`
	DataContentType string          `json:"datacontenttype,omitempty"`
	DataSchema      string          `json:"dataschema,omitempty"`
	Sequence        string          `json:"sequence,omitempty"`
	Data            json.RawMessage `json:"data,omitempty"`
	DataBase64      []byte          `json:"data_base64,omitempty"`
}

// MarshalJSON writes the structured form, the same bytes for the same event.
func (e Event) MarshalJSON() ([]byte, error) {
	at := e.Time.UTC().Format(time.RFC3339Nano)
	f := form{"1.0", e.ID, e.Source, e.Type, e.Subject, at, at, e.DataContentType, e.DataSchema, e.Sequence, e.Data, e.DataBase64}
	if e.Data != nil && f.DataContentType == "" {
		f.DataContentType = jsonType
	}
	raw, err := encode(f)
	if err != nil {
		return nil, fmt.Errorf("write event %.80q: %w", e.ID, err)
	}
	if len(e.Extensions) == 0 {
		return raw, nil
	}
	more, err := encode(e.Extensions) // sorted by name
	if err != nil {
		return nil, fmt.Errorf("write the extensions of event %.80q: %w", e.ID, err)
	}
	return append(append(raw[:len(raw)-1], ','), more[1:]...), nil
}

// encode leaves <, > and & as they are: nobody puts events into HTML.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	w := json.NewEncoder(&b)
	w.SetEscapeHTML(false)
	if err := w.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
