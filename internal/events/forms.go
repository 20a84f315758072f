package events

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// envelope is the bare form.
type envelope struct {
	Type      string          `json:"type"`
	Data      json.RawMessage `json:"data"`
	Timestamp string          `json:"timestamp"`
}

// Envelope writes the bare form {"type", "data", "timestamp"}; data that is no
// JSON is a string of base64.
func (e *Event) Envelope() ([]byte, error) {
	out := envelope{e.Type, e.Data, e.Time.UTC().Format(time.RFC3339Nano)}
	var err error
	if e.DataBase64 != nil {
		if out.Data, err = encode(e.DataBase64); err != nil {
			return nil, fmt.Errorf("write event %.80q: %w", e.ID, err)
		}
	}
	return encode(out)
}

// Attribute is one header of the binary form.
type Attribute struct{ Name, Value string }

// Binary returns the binary form of CloudEvents over HTTP: the data, its content
// type, and the attributes as ce- headers, percent-encoded as the binding asks
// (https://github.com/cloudevents/spec, HTTP protocol binding 1.0, 3.1.3.2).
func (e *Event) Binary() (body []byte, contentType string, attributes []Attribute) {
	at := e.Time.UTC().Format(time.RFC3339Nano)
	put := func(name, value string) {
		if value != "" {
			attributes = append(attributes, Attribute{"ce-" + name, headerText(value)})
		}
	}
	put("specversion", "1.0")
	put("id", e.ID)
	put("source", e.Source)
	put("type", e.Type)
	put("subject", e.Subject)
	put("time", at)
	put("timestamp", at)
	put("dataschema", e.DataSchema)
	put("sequence", e.Sequence)
	for _, name := range slices.Sorted(maps.Keys(e.Extensions)) {
		put(name, fmt.Sprint(e.Extensions[name]))
	}
	if e.DataBase64 != nil {
		return e.DataBase64, cmp.Or(e.DataContentType, "application/octet-stream"), attributes
	}
	return e.Data, cmp.Or(e.DataContentType, jsonType), attributes
}

// headerText encodes what no header may hold, and % itself.
func headerText(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
