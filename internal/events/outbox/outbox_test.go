package outbox_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"meshlite.dev/internal/events"
	"meshlite.dev/internal/events/outbox"
	"meshlite.dev/internal/store/boltfile"
)

func open(t *testing.T, path string, limits outbox.Limits) *outbox.Outbox {
	t.Helper()
	o, err := outbox.Open(path, limits)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	return o
}

func some(ids ...string) func(uint64) []events.Event {
	return func(uint64) []events.Event {
		var out []events.Event
		for _, id := range ids {
			out = append(out, events.Event{ID: id, Source: "/t", Type: "a.b", Time: time.Unix(1, 0)})
		}
		return out
	}
}

func put(t *testing.T, o *outbox.Outbox, moved map[string][]byte, ids ...string) []events.Event {
	t.Helper()
	kept, err := o.Append(some(ids...), moved)
	if err != nil {
		t.Fatal(err)
	}
	return kept
}

// ids reads all after a place, page by page.
func ids(t *testing.T, o *outbox.Outbox, after uint64) (out []string) {
	t.Helper()
	for {
		page, err := o.Read(after, 3)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return out
		}
		for _, rec := range page {
			var e struct{ ID, Sequence string }
			if err := json.Unmarshal(rec.JSON, &e); err != nil || e.Sequence != fmt.Sprintf("%010d", rec.Sequence) || rec.Sequence != after+1 {
				t.Fatalf("%s at %d after %d: %v", rec.JSON, rec.Sequence, after, err)
			}
			after = rec.Sequence
			out = append(out, e.ID)
		}
	}
}

func TestARestartFindsLogAndCursor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox.db")
	o := open(t, path, outbox.DefaultLimits())
	kept := put(t, o, map[string][]byte{"service/a": []byte("1"), "service/b": []byte("2")}, "1", "2")
	if kept[1].Sequence != "0000000002" {
		t.Errorf("kept %+v", kept)
	}
	put(t, o, map[string][]byte{"service/a": nil}, "3", "4")
	uid := o.UID()
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	o = open(t, path, outbox.DefaultLimits())
	cursor, err := o.Cursor()
	if err != nil || len(cursor) != 1 || string(cursor["service/b"]) != "2" || o.UID() != uid || uid == "" {
		t.Errorf("cursor %q of %q, %v", cursor, o.UID(), err)
	}
	if got := ids(t, o, 0); strings.Join(got, "") != "1234" {
		t.Errorf("log %v", got)
	}
	put(t, o, nil, "5")
	if s := o.Stats(); s.First != 1 || s.Last != 5 || s.Depth() != 5 {
		t.Errorf("stats %+v", s)
	}
}

func TestTheOldestGo(t *testing.T) {
	o := open(t, filepath.Join(t.TempDir(), "outbox.db"), outbox.Limits{Events: 4, Bytes: 1 << 20})
	for i := range 10 {
		put(t, o, nil, fmt.Sprint(i))
	}
	if got := ids(t, o, o.Stats().First-1); strings.Join(got, "") != "6789" || o.Stats().Depth() != 4 {
		t.Errorf("%v kept, %+v", got, o.Stats())
	}
	small := open(t, filepath.Join(t.TempDir(), "outbox.db"), outbox.Limits{Events: 1000, Bytes: 400})
	var sizes uint64
	for i := range 20 {
		put(t, small, nil, fmt.Sprint("event-", i))
	}
	page, err := small.Read(0, 100)
	for _, rec := range page {
		sizes += uint64(len(rec.JSON))
	}
	if s := small.Stats(); err != nil || s.Bytes != sizes || sizes > 400 || len(page) == 0 || page[len(page)-1].Sequence != 20 {
		t.Errorf("%+v, %d bytes in %d events, %v", s, sizes, len(page), err)
	}
}

func TestWhenEventsWereReceived(t *testing.T) {
	o := open(t, filepath.Join(t.TempDir(), "outbox.db"), outbox.DefaultLimits())
	if after, err := o.Before(time.Now()); err != nil || after != 0 {
		t.Errorf("an empty log: %d, %v", after, err)
	}
	put(t, o, nil, "1", "2")
	page, err := o.Read(0, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		at   time.Time
		want uint64
	}{{page[0].Received.Add(-time.Hour), 0}, {page[0].Received, 0}, {page[1].Received.Add(1), 2}} {
		if after, err := o.Before(tc.at); err != nil || after != tc.want {
			t.Errorf("before %s: %d, %v; want %d", tc.at, after, err, tc.want)
		}
	}
}

func TestNewsOfTheLog(t *testing.T) {
	o := open(t, filepath.Join(t.TempDir(), "outbox.db"), outbox.DefaultLimits())
	news := o.News()
	put(t, o, map[string][]byte{"x": []byte("1")})
	select {
	case <-news:
		t.Error("the cursor alone is no news")
	default:
	}
	put(t, o, nil, "1")
	select {
	case <-news:
	default:
		t.Error("no news of an event")
	}
}

func TestWhatWaitsForTheBrokerIsKept(t *testing.T) {
	path, limits := filepath.Join(t.TempDir(), "outbox.db"), outbox.Limits{Events: 4, Bytes: 1 << 20, Broker: true}
	before := open(t, path, outbox.DefaultLimits())
	put(t, before, nil, "old")
	if err := before.Close(); err != nil {
		t.Fatal(err)
	}
	o := open(t, path, limits)
	if o.Published() != 1 {
		t.Errorf("a new broker begins after %d", o.Published())
	}
	put(t, o, nil, "1", "2", "3", "4") // the old one goes
	if _, err := o.Append(some("5"), map[string][]byte{"s": []byte("1")}); !errors.Is(err, outbox.ErrFull) {
		t.Fatalf("Append = %v, want ErrFull", err)
	}
	if cursor, err := o.Cursor(); err != nil || len(cursor) != 0 {
		t.Errorf("cursor %q, %v", cursor, err)
	}
	for _, sequence := range []uint64{3, 2} { // an older word changes nothing
		if err := o.Publish(sequence); err != nil {
			t.Fatal(err)
		}
	}
	put(t, o, nil, "5", "6")
	if _, err := o.Append(some("7"), nil); !errors.Is(err, outbox.ErrFull) {
		t.Errorf("Append = %v, want ErrFull", err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	o = open(t, path, limits)
	if got := ids(t, o, o.Published()); strings.Join(got, "") != "3456" {
		t.Errorf("%v wait", got)
	}
}

func TestManyWriteAtOnce(t *testing.T) {
	o := open(t, filepath.Join(t.TempDir(), "outbox.db"), outbox.DefaultLimits())
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 10 {
				if _, err := o.Append(some(fmt.Sprint(w, "-", i)), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, id := range ids(t, o, 0) {
		seen[id] = true
	}
	if len(seen) != 80 {
		t.Errorf("%d of 80 kept", len(seen))
	}
}

func TestAWriteThatFailsLeavesNothing(t *testing.T) {
	o := open(t, filepath.Join(t.TempDir(), "outbox.db"), outbox.DefaultLimits())
	bad := func(uint64) []events.Event {
		return []events.Event{{ID: "1", Extensions: map[string]any{"x": func() {}}}}
	}
	if _, err := o.Append(bad, map[string][]byte{"s": []byte("1")}); err == nil {
		t.Fatal("what cannot be written is kept")
	}
	cursor, err := o.Cursor()
	if err != nil || len(cursor) != 0 || o.Stats().Depth() != 0 {
		t.Errorf("cursor %q, %+v, %v", cursor, o.Stats(), err)
	}
	if kept := put(t, o, nil, "2"); kept[0].Sequence != "0000000001" {
		t.Errorf("a place is lost: %+v", kept)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Append(some("3"), nil); err == nil {
		t.Error("a closed file is written")
	}
}

func TestWhatIsNoOutboxIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("no outbox\n", 5_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := outbox.Open(path, outbox.DefaultLimits()); err == nil || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("Open = %v", err)
	}
	path = filepath.Join(t.TempDir(), "outbox.db")
	db, err := boltfile.Open(path, "")
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte("events-meta"))
		return errors.Join(err, b.Put([]byte("format"), []byte{0, 0, 0, 0, 0, 0, 0, 9}))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := outbox.Open(path, outbox.DefaultLimits()); err == nil || !strings.Contains(err.Error(), "is 9, this release reads 1") {
		t.Errorf("Open = %v", err)
	}
	open(t, filepath.Join(t.TempDir(), "outbox.db"), outbox.DefaultLimits())
}

func BenchmarkAppend(b *testing.B) {
	o, err := outbox.Open(filepath.Join(b.TempDir(), "outbox.db"), outbox.DefaultLimits())
	if err != nil {
		b.Fatal(err)
	}
	defer o.Close()
	b.Run("one writer", func(b *testing.B) {
		for b.Loop() {
			if _, err := o.Append(some("1"), nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("64 writers", func(b *testing.B) {
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := o.Append(some("1"), nil); err != nil {
					b.Error(err)
				}
			}
		})
	})
}
