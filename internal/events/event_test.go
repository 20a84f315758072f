package events_test

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2"

	"meshlite.dev/internal/events"
)

var noon = time.Date(2026, 11, 23, 14, 0, 0, 123e6, time.UTC)

func full() events.Event {
	return events.Event{
		ID: "9f2c", Source: "/mesh/7d1e/xds-server", Type: events.EndpointAdded, Subject: "service/web", Time: noon,
		DataSchema: "https://example.org/s", Data: json.RawMessage(`{"service":"web","note":"<&>"}`), Sequence: "0000004711",
		Extensions: map[string]any{"traceparent": "00-ab", "retries": int32(3), "urgent": true},
	}
}

func TestOneDocumentIsBothForms(t *testing.T) {
	raw, err := full().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"specversion":"1.0","id":"9f2c","source":"/mesh/7d1e/xds-server","type":"mesh.endpoint.added","subject":"service/web",` +
		`"time":"2026-11-23T14:00:00.123Z","timestamp":"2026-11-23T14:00:00.123Z","datacontenttype":"application/json",` +
		`"dataschema":"https://example.org/s","sequence":"0000004711","data":{"service":"web","note":"<&>"},` +
		`"retries":3,"traceparent":"00-ab","urgent":true}`
	if string(raw) != want {
		t.Errorf("got  %s\nwant %s", raw, want)
	}
	var envelope struct {
		Type      string
		Data      map[string]string
		Timestamp time.Time
	}
	if err := json.Unmarshal(raw, &envelope); err != nil || envelope.Type != events.EndpointAdded || envelope.Data["service"] != "web" || !envelope.Timestamp.Equal(noon) {
		t.Errorf("as an envelope: %+v, %v", envelope, err)
	}
}

// TestTheCloudEventsSDKReadsTheSame bytes, and writes what Parse reads.
func TestTheCloudEventsSDKReadsTheSame(t *testing.T) {
	raw, err := full().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	sdk := ce.NewEvent()
	if err := json.Unmarshal(raw, &sdk); err != nil {
		t.Fatal(err)
	}
	if err := sdk.Validate(); err != nil {
		t.Errorf("not valid: %v", err)
	}
	if sdk.ID() != "9f2c" || sdk.Type() != events.EndpointAdded || sdk.Subject() != "service/web" || !sdk.Time().Equal(noon) ||
		sdk.Extensions()["sequence"] != "0000004711" || sdk.Extensions()["timestamp"] != "2026-11-23T14:00:00.123Z" || string(sdk.Data()) != string(full().Data) {
		t.Errorf("the SDK reads %v", sdk)
	}
	// The SDK writes <, > and & in strings in another way.
	if err := sdk.SetData("application/json", map[string]string{"service": "web"}); err != nil {
		t.Fatal(err)
	}
	want := full()
	want.Data = json.RawMessage(`{"service":"web"}`)
	back, err := json.Marshal(sdk)
	if err != nil {
		t.Fatal(err)
	}
	got, err := events.Parse(events.Input{Body: back})
	if err != nil {
		t.Fatal(err)
	}
	got.DataContentType = "" // application/json is what none means
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Parse = %+v\nwant %+v", got, want)
	}
}

func TestTheSDKReadsDataThatIsNoJSON(t *testing.T) {
	e := full()
	e.Data, e.DataBase64, e.DataContentType = nil, []byte{0xff, 0}, "image/png"
	raw, err := e.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	sdk := ce.NewEvent()
	if err := json.Unmarshal(raw, &sdk); err != nil || sdk.Validate() != nil || string(sdk.Data()) != "\xff\x00" {
		t.Errorf("the SDK reads %v, %v", sdk, err)
	}
	got, err := events.Parse(events.Input{Body: raw})
	if err != nil || !reflect.DeepEqual(got, e) {
		t.Errorf("Parse = %+v, %v", got, err)
	}
}

func TestParse(t *testing.T) {
	received := noon.Add(time.Hour)
	header := func(pairs ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h.Add(pairs[i], pairs[i+1])
		}
		return h
	}
	for _, tc := range []struct {
		name string
		in   events.Input
		want events.Event
		err  string // part of it
	}{
		{
			name: "a bare envelope gets source and an id of its body",
			in:   events.Input{Body: []byte(`{"type":"order.created","data":{"n": 1},"timestamp":"2026-11-23T14:00:00.123Z"}`), Source: "/web"},
			want: events.Event{ID: "6ea9b6be6f8e6d2b4c7f", Source: "/web", Type: "order.created", Time: noon, Data: json.RawMessage(`{"n":1}`)},
		},
		{
			name: "the message's id stands in, and the time of receipt",
			in:   events.Input{Body: []byte(`{"type":"a"}`), ID: "m1", Source: "/web", Received: received},
			want: events.Event{ID: "m1", Source: "/web", Type: "a", Time: received},
		},
		{
			name: "a timestamp in seconds",
			in:   events.Input{Body: []byte(`{"type":"a","timestamp":1795442400.5}`), ID: "1", Source: "/web"},
			want: events.Event{ID: "1", Source: "/web", Type: "a", Time: time.Unix(1795442400, 5e8).UTC()},
		},
		{
			name: "a timestamp in milliseconds",
			in:   events.Input{Body: []byte(`{"type":"a","timestamp":1795442400500}`), ID: "1", Source: "/web"},
			want: events.Event{ID: "1", Source: "/web", Type: "a", Time: time.Unix(1795442400, 5e8).UTC()},
		},
		{
			name: "binary mode with JSON",
			in: events.Input{
				Header: header("Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/a", "Ce-Type", "x.y", "Ce-Time", "2026-11-23T14:00:00.123Z", "Ce-Subject", "caf%C3%A9", "Ce-Urgent", "true"),
				Body:   []byte(`{"n": 1}`), ContentType: "application/vnd.shop+json; charset=utf-8",
			},
			want: events.Event{ID: "1", Source: "/a", Type: "x.y", Time: noon, Subject: "café", DataContentType: "application/vnd.shop+json; charset=utf-8", Data: json.RawMessage(`{"n":1}`), Extensions: map[string]any{"urgent": "true"}},
		},
		{
			name: "binary mode with text",
			in:   events.Input{Header: header("Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/a", "Ce-Type", "x"), Body: []byte("hi"), ContentType: "text/plain", Received: noon},
			want: events.Event{ID: "1", Source: "/a", Type: "x", Time: noon, DataContentType: "text/plain", DataBase64: []byte("hi")},
		},
		{name: "not JSON", in: events.Input{Body: []byte("hello")}, err: "no JSON object"},
		{name: "null", in: events.Input{Body: []byte("null")}, err: "is null"},
		{name: "an array", in: events.Input{Body: []byte("[]")}, err: "no JSON object"},
		{name: "no type", in: events.Input{Body: []byte(`{"data":1}`), Source: "/a", Received: noon}, err: "type: is missing"},
		{name: "a type with a hole", in: events.Input{Body: []byte(`{"type":"a..b"}`), Source: "/a", Received: noon}, err: `type: "a..b": must be words`},
		{name: "another version", in: events.Input{Body: []byte(`{"specversion":"0.3","type":"a","id":"1","source":"/a"}`), Received: noon}, err: `specversion: "0.3": must be "1.0"`},
		{name: "CloudEvents need an id", in: events.Input{Body: []byte(`{"specversion":"1.0","type":"a","source":"/a"}`), ID: "m", Received: noon}, err: "id: : must be there"},
		{name: "all faults at once", in: events.Input{Body: []byte(`{"type":1,"time":"noon"}`)}, err: "type: 1: must be a string\ntime: \"noon\": must be as 2026"},
		{name: "an unknown member with structure", in: events.Input{Body: []byte(`{"type":"a","order":{"n":1}}`), Source: "/a", Received: noon}, err: "order: must be a string, true, false or a whole number"},
		{name: "an unknown member with a long name", in: events.Input{Body: []byte(`{"type":"a","orderNumber":1}`), Source: "/a", Received: noon}, err: "orderNumber: must be 1 to 20 lower-case"},
		{name: "data twice", in: events.Input{Body: []byte(`{"type":"a","data":1,"data_base64":"YQ=="}`), Source: "/a", Received: noon}, err: "stands beside data_base64"},
		{name: "no base64", in: events.Input{Body: []byte(`{"type":"a","data_base64":"?"}`), Source: "/a", Received: noon}, err: "must be a string of base64"},
		{name: "a time beyond all years", in: events.Input{Body: []byte(`{"type":"a","timestamp":1e300}`), Source: "/a"}, err: "must be seconds or milliseconds"},
		{name: "control characters", in: events.Input{Body: []byte(`{"type":"a","subject":"a\u0000b"}`), Source: "/a", Received: noon}, err: "without control characters"},
		{name: "a header twice", in: events.Input{Header: header("Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Id", "2", "Ce-Source", "/a", "Ce-Type", "x"), Received: noon}, err: "comes 2 times"},
		{name: "binary mode with a body that is no JSON", in: events.Input{Header: header("Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/a", "Ce-Type", "x"), Body: []byte("{"), ContentType: "application/json", Received: noon}, err: "the body is no JSON"},
		{name: "too large", in: events.Input{Body: make([]byte, events.MaxEvent+1)}, err: "must be at most 1048576"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := events.Parse(tc.in)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("Parse = %v, want %q in it", err, tc.err)
				}
				return
			}
			if strings.HasPrefix(tc.name, "a bare") { // any id will do that is always the same
				again, _ := events.Parse(tc.in)
				if len(got.ID) != 32 || again.ID != got.ID {
					t.Errorf("id is %q, then %q", got.ID, again.ID)
				}
				tc.want.ID = got.ID
			}
			if err != nil || !reflect.DeepEqual(got, tc.want) {
				t.Errorf("Parse = %+v, %v\nwant %+v", got, err, tc.want)
			}
		})
	}
}

func TestABatchIsTakenWholeOrNotAtAll(t *testing.T) {
	in := events.Input{Body: []byte(`[{"type":"a"},{"type":"b"}]`), Source: "/a", Received: noon}
	if all, err := events.ParseBatch(in); err != nil || len(all) != 2 || all[1].Type != "b" {
		t.Errorf("ParseBatch = %v, %v", all, err)
	}
	in.Body = []byte(`[{"type":"a"},{"type":""},7]`)
	all, err := events.ParseBatch(in)
	if err == nil || all != nil || !strings.Contains(err.Error(), "event 1: type: is missing") || !strings.Contains(err.Error(), "event 2: the event is no JSON object") {
		t.Errorf("ParseBatch = %v, %v", all, err)
	}
	if !events.IsBatch("application/cloudevents-batch+json; charset=utf-8") || events.IsBatch("application/json") {
		t.Error("IsBatch is wrong")
	}
}

// FuzzParse: whatever is taken can be written, and read again as the same.
func FuzzParse(f *testing.F) {
	whole, err := full().MarshalJSON()
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{string(whole), `{"type":"a","data":null}`, `{"type":"a","timestamp":-1.5}`, `{"type":"a","data_base64":""}`, `{"type":"a","x":1.5}`, `{"type":"a","time":"0001-01-01T00:00:00+23:59"}`} {
		f.Add([]byte(seed), "application/json", "")
		f.Add([]byte(seed), "text/plain", "1.0")
	}
	f.Fuzz(func(t *testing.T, body []byte, contentType, version string) {
		in := events.Input{Body: body, ContentType: contentType, Source: "/f", Received: noon}
		if version != "" {
			in.Header = http.Header{"Ce-Specversion": {version}, "Ce-Id": {"1"}, "Ce-Source": {"/f"}, "Ce-Type": {"t"}, "Ce-Time": {contentType}}
		}
		e, err := events.Parse(in)
		if err != nil {
			return
		}
		raw, err := e.MarshalJSON()
		if err != nil {
			t.Fatalf("what was parsed cannot be written: %v", err)
		}
		again, err := events.Parse(events.Input{Body: raw})
		if err != nil {
			t.Fatalf("what was written cannot be parsed: %v\n%s", err, raw)
		}
		twice, err := again.MarshalJSON()
		if err != nil || string(twice) != string(raw) {
			t.Fatalf("%v\n%s\n%s", err, raw, twice)
		}
		sdk := ce.NewEvent()
		if err := json.Unmarshal(raw, &sdk); err != nil {
			t.Fatalf("the SDK does not read %s: %v", raw, err)
		}
	})
}
