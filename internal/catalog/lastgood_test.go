package catalog_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/pmap"
)

// anyService draws a service as a source may publish it.
func anyService(t *rapid.T, name string) *catalog.Service {
	text := rapid.SampledFrom([]string{"", "a", "ü \"<\u2028", "region-1"})
	s := &catalog.Service{
		Name: name, Namespace: text.Draw(t, "namespace"), Synced: true,
		Protocol: rapid.SampledFrom([]mesh.Protocol{mesh.HTTP1, mesh.HTTP2, mesh.GRPC, mesh.TCP}).Draw(t, "protocol"),
	}
	if rapid.Bool().Draw(t, "has check") {
		s.HealthCheck = &mesh.HealthCheck{Type: mesh.HealthCheckHTTP, Path: "/" + text.Draw(t, "path"), Interval: 3 * time.Second, Timeout: time.Second, UnhealthyAfter: 2, HealthyAfter: 1}
		s.Meta = map[string]string{catalog.MetaTransactions: text.Draw(t, "transactions")}
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "endpoints") {
		e := mesh.Endpoint{
			ID: fmt.Sprint(name, "-", i), Address: fmt.Sprintf("10.0.0.%d", i+1), Port: uint32(rapid.IntRange(1, 65535).Draw(t, "port")),
			Health: rapid.SampledFrom([]mesh.Health{mesh.Healthy, mesh.Unhealthy, mesh.Draining}).Draw(t, "health"),
			Weight: uint32(rapid.IntRange(1, 128).Draw(t, "weight")), Node: text.Draw(t, "node"), Datacenter: text.Draw(t, "dc"),
			Locality: mesh.Locality{Region: text.Draw(t, "region"), Zone: text.Draw(t, "zone")},
		}
		if rapid.Bool().Draw(t, "has tags") {
			e.Tags, e.Meta = []string{"blue", text.Draw(t, "tag")}, map[string]string{"version": text.Draw(t, "version")}
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

// What was kept comes back whole: every field of every service, and the same
// bytes for the same content.
func TestP4LastKnownGoodComesBackWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := map[string]*catalog.Service{}
		for i := range rapid.IntRange(0, 5).Draw(t, "services") {
			name := fmt.Sprint("s", i)
			want[name] = anyService(t, name)
		}
		at := time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "at"), 0)
		home := rapid.SampledFrom([]string{"", "dc1"}).Draw(t, "own datacenter")
		raw := encode(t, catalog.Keep(catalog.Snapshot{Services: pmap.From(want), Datacenter: home}, at))
		good, err := catalog.Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := good.Snapshot().Datacenter; got != home {
			t.Fatalf("the own datacenter is %q, was %q", got, home)
		}
		if !good.At.Equal(at) {
			t.Errorf("at %s, want %s", good.At, at)
		}
		snap := good.Snapshot()
		if got := slices.Sorted(maps.Keys(want)); !slices.Equal(snap.Changed, got) || snap.Services.Len() != len(want) {
			t.Fatalf("changed %q of %d, want %q", snap.Changed, snap.Services.Len(), got)
		}
		for name, s := range want {
			if got, _ := snap.Services.Get(name); !catalog.Equal(got, s) {
				t.Errorf("came back as %+v, want %+v", got, s)
			}
		}
		if again := encode(t, good); !bytes.Equal(again, raw) {
			t.Errorf("other bytes for the same content:\n%s\n%s", raw, again)
		}
	})
}

func encode(t rapid.TB, g catalog.LastGood) []byte {
	t.Helper()
	raw, err := catalog.Encode(g)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// A service that has never answered is no knowledge: kept as empty it would
// take a service away after the restart.
func TestP4LastKnownGoodLeavesOutWhatNeverAnswered(t *testing.T) {
	good := catalog.Keep(catalog.Snapshot{Services: pmap.From(map[string]*catalog.Service{
		"asked":    {Name: "asked", Protocol: mesh.HTTP1},
		"answered": {Name: "answered", Protocol: mesh.HTTP1, Synced: true},
	})}, start)
	if len(good.Services) != 1 || good.Services[0].Name != "answered" {
		t.Errorf("kept %+v", good.Services)
	}
}

// A file that is cut off, or says what no source could, is refused as a whole.
func TestP4LastKnownGoodIsWholeOrRefused(t *testing.T) {
	good := encode(t, catalog.LastGood{At: start, Services: []*catalog.Service{
		{Name: "a", Protocol: mesh.GRPC, Synced: true, Endpoints: instances("a", 1, 2)},
		{Name: "b", Protocol: mesh.HTTP1, Synced: true, Endpoints: instances("b", 3)},
	}})
	for n := range good {
		if _, err := catalog.Decode(good[:n]); err == nil {
			t.Errorf("the first %d of %d bytes are accepted", n, len(good))
		}
	}
	for what, change := range map[string][2]string{
		"an unknown protocol":   {`"grpc"`, `"smtp"`},
		"a name for no host":    {`"name":"b"`, `"name":"B_"`},
		"a service twice":       {`"name":"b"`, `"name":"a"`},
		"a host name":           {`"10.0.3.1"`, `"db.example.com"`},
		"an address of nobody":  {`"10.0.3.1"`, `"0.0.0.0"`},
		"a port out of range":   {`"port":80`, `"port":0`},
		"a health of no source": {`"HEALTHY"`, `"FINE"`},
	} {
		raw := bytes.Replace(good, []byte(change[0]), []byte(change[1]), 1)
		if bytes.Equal(raw, good) {
			t.Fatalf("%s: %s is not in %s", what, change[0], good)
		}
		got, err := catalog.Decode(raw)
		if err == nil || !strings.Contains(err.Error(), "last known good") || len(got.Services) > 0 {
			t.Errorf("%s: %v, %d services", what, err, len(got.Services))
		}
	}
}

// A field that a later release adds does not make the file unreadable.
func TestLastKnownGoodOfALaterReleaseIsRead(t *testing.T) {
	raw := encode(t, catalog.LastGood{At: start, Services: []*catalog.Service{{Name: "a", Protocol: mesh.HTTP1, Synced: true, Endpoints: instances("a", 1)}}})
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	m["new"] = true
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	good, err := catalog.Decode(raw)
	if err != nil || len(good.Services) != 1 || len(good.Services[0].Endpoints) != 1 {
		t.Errorf("%v: %+v", err, good)
	}
}
