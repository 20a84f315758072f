package consul

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/catalog/catalogtest"
	"meshlite.dev/internal/mesh"
)

// desk is a book with its time and what it published. Nothing of it waits or
// reads: the tests say what Consul answers.
type desk struct {
	*book
	now       time.Time
	published []catalog.Snapshot
}

var beginning = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func open(cfg Config) *desk {
	cfg.setDefaults(false)
	d := &desk{book: newBook(cfg), now: beginning}
	d.begin(d.now)
	d.protocolsSettled = true
	return d
}

// turn lets time pass and publishes what may be published, as Source does.
func (d *desk) turn(passed time.Duration) {
	d.now = d.now.Add(passed)
	for _, w := range d.step(d.now) {
		w.stop = func() {}
	}
	if d.ready(d.now) && d.ledger.Pending() {
		d.published = append(d.published, d.ledger.Publish())
		d.book.published = true
	}
}

// list answers the name list.
func (d *desk) list(index uint64, names ...string) {
	slices.Sort(names)
	d.book.listed(d.now, d.home, names, answer{index: index})
	d.turn(0)
}

// says answers a service's read: the instances by number.
func (d *desk) says(name string, how manner, a answer, numbers ...int) {
	d.heard(d.now, d.watches[name], entriesOf(name, numbers...), a, how, d.watches[name].in.epoch)
	d.turn(0)
}

// testifies answers the guard's question about a service.
func (d *desk) testifies(t *testing.T, name, identity string, a answer, numbers ...int) {
	t.Helper()
	if !slices.Contains(d.guard.Ask(d.now, 100), name) {
		t.Fatalf("nobody asks about %s", name)
	}
	d.confirmed(d.now, d.ask(name), entriesOf(name, numbers...), a, identity, nil)
	d.turn(settle)
}

func entriesOf(name string, numbers ...int) (d described) {
	for _, n := range numbers {
		d.endpoints = append(d.endpoints, mesh.Endpoint{ID: fmt.Sprint(name, "-", n), Address: fmt.Sprintf("10.0.0.%d", n), Port: 80, Weight: 1})
	}
	return d
}

// addresses are those of the snapshot published last, "" for none yet.
func (d *desk) addresses(name string) string {
	if len(d.published) == 0 {
		return ""
	}
	s, _ := d.published[len(d.published)-1].Services.Get(name)
	return strings.ReplaceAll(catalogtest.Addresses(s), ":80=HEALTHY", "")
}

// Nothing is published before every service has answered; one that does not
// is named as not synced after a while, never as empty.
func TestP2NoPartOfTheCatalogIsPublished(t *testing.T) {
	d := open(Config{FirstAnswer: 10 * time.Second})
	d.turn(0)
	d.list(5, "a", "b", "c")
	d.says("a", followed, answer{index: 5}, 1, 2)
	d.says("b", followed, answer{index: 5})
	d.turn(9 * time.Second)
	if len(d.published) > 0 {
		t.Fatalf("published %+v before c answered", d.published[0])
	}
	d.turn(time.Second)
	if a, b, c := d.addresses("a"), d.addresses("b"), d.addresses("c"); a != "10.0.0.1 10.0.0.2" || b != "" || c != "not synced" {
		t.Fatalf("a [%s], b [%s], c [%s]", a, b, c)
	}
	if got := d.published[0].Changed; !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("the first snapshot names %q", got)
	}
	d.says("c", followed, answer{index: 6}, 3)
	if got := d.addresses("c"); got != "10.0.0.3" {
		t.Errorf("c is [%s] after it answered", got)
	}
}

// In any order of answers and time, a snapshot names all that the list does
// once it was published first, each with all that was said of it or as not
// synced.
func TestP2EverySnapshotIsWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := []string{"a", "b", "c", "d"}
		said := map[string][]int{}
		d := open(Config{FirstAnswer: 10 * time.Second})
		d.turn(0)
		d.list(5, names...)
		for step := range rapid.IntRange(1, 20).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "time passes") {
				d.turn(time.Duration(rapid.IntRange(0, 6).Draw(t, "seconds")) * time.Second)
			} else {
				name := rapid.SampledFrom(names).Draw(t, "service")
				said[name] = append(said[name], step+100) // as text in the order of numbers
				d.says(name, followed, answer{index: uint64(6 + step)}, said[name]...)
			}
			if len(d.published) == 0 {
				if len(said) == len(names) || d.now.Sub(d.started) >= 10*time.Second {
					t.Fatal("everything is known, and nothing is published")
				}
				continue
			}
			for _, name := range names {
				want := "not synced"
				if _, ok := said[name]; ok {
					want = catalogtest.Addresses(&catalog.Service{Synced: true, Endpoints: entriesOf(name, said[name]...).endpoints})
				}
				if got := d.addresses(name); got != strings.ReplaceAll(want, ":80=HEALTHY", "") {
					t.Fatalf("%s is %q, want %q", name, got, want)
				}
			}
		}
	})
}

// The protocol of last known good stays while service-defaults, where it may
// come from, have not been read.
func TestP4LastKnownGoodKeepsTheProtocolUntilServiceDefaultsAnswer(t *testing.T) {
	d := open(Config{LastGood: catalog.LastGood{Services: []*catalog.Service{
		{Name: "a", Protocol: mesh.GRPC, Synced: true, Endpoints: entriesOf("a", 1).endpoints},
	}}})
	d.protocolsSettled = false
	d.turn(0)
	d.list(5, "a")
	d.says("a", followed, answer{index: 5}, 1)
	d.turn(10 * time.Second)
	protocol := func() mesh.Protocol {
		s, _ := d.published[len(d.published)-1].Services.Get("a")
		return s.Protocol
	}
	if got := protocol(); got != mesh.GRPC {
		t.Errorf("before they answer: %s", got)
	}
	d.stated(d.now, map[string]mesh.Protocol{}, false)
	d.turn(0)
	if got := protocol(); got != mesh.HTTP1 {
		t.Errorf("they say nothing of a: %s", got)
	}
}

// Young last known good stands in for a service that does not answer, and for
// the whole where Consul does not.
func TestP4LastKnownGoodStandsInForWhatDoesNotAnswer(t *testing.T) {
	good := catalog.LastGood{At: beginning.Add(-time.Hour), Services: []*catalog.Service{
		{Name: "a", Protocol: mesh.HTTP1, Synced: true, Endpoints: entriesOf("a", 1).endpoints},
		{Name: "b", Protocol: mesh.GRPC, Synced: true, Endpoints: entriesOf("b", 2).endpoints},
	}}
	d := open(Config{FirstAnswer: 10 * time.Second, LastGood: good})
	d.turn(0)
	d.turn(9 * time.Second)
	if len(d.published) > 0 {
		t.Fatal("published before Consul had its time")
	}
	d.turn(time.Second)
	d.turn(0)
	if a, b := d.addresses("a"), d.addresses("b"); a != "10.0.0.1" || b != "10.0.0.2" {
		t.Fatalf("a [%s], b [%s]", a, b)
	}
	if s := d.status(d.now, ""); !s.Stale {
		t.Errorf("status is %+v, want stale", s)
	}
	d.list(7, "a", "b")
	d.says("b", followed, answer{index: 7}) // Consul is back, and says nothing of b
	if got := d.addresses("b"); got != "10.0.0.2" {
		t.Errorf("b is [%s] before anybody confirmed its loss", got)
	}
	d.testifies(t, "b", "one", answer{index: 7})
	if got := d.addresses("b"); got != "" {
		t.Errorf("b is [%s], and its loss was confirmed", got)
	}
}

// whole is a desk that serves a and b with three instances each.
func whole(t *testing.T) *desk {
	t.Helper()
	d := open(Config{})
	d.turn(0)
	d.list(50, "a", "b")
	for _, name := range []string{"a", "b"} {
		d.says(name, followed, answer{index: 50}, 1, 2, 3)
	}
	d.home.known("one")
	if got := d.addresses("a"); got != "10.0.0.1 10.0.0.2 10.0.0.3" {
		t.Fatalf("a is [%s]", got)
	}
	return d
}

func (d *desk) reason(name string) string {
	for _, h := range d.status(d.now, "").Holds {
		if h.Service == name {
			return h.Reason
		}
	}
	return ""
}

// Only a read that is direct, unfiltered, and of the Consul known so far
// confirms a loss.
func TestP3GuardWhatConfirmsALoss(t *testing.T) {
	for what, tc := range map[string]struct {
		tell func(*testing.T, *desk)
		lost bool
		hold string
	}{
		"a followed answer":             {func(_ *testing.T, d *desk) { d.says("a", followed, answer{index: 60}, 1, 2) }, false, "waiting"},
		"a direct answer of a stranger": {func(_ *testing.T, d *desk) { d.says("a", direct, answer{index: 60}, 1, 2) }, false, "waiting"},
		"a confirming read": {func(t *testing.T, d *desk) {
			d.says("a", followed, answer{index: 60}, 1, 2)
			d.testifies(t, "a", "one", answer{index: 60}, 1, 2)
		}, true, ""},
		"a filtered one": {func(t *testing.T, d *desk) {
			d.says("a", followed, answer{index: 60}, 1, 2)
			d.testifies(t, "a", "one", answer{index: 60, filtered: true}, 1, 2)
		}, false, "filtered by ACLs"},
		"one of another Consul": {func(t *testing.T, d *desk) {
			d.says("a", followed, answer{index: 60}, 1, 2)
			d.testifies(t, "a", "two", answer{index: 60}, 1, 2)
		}, false, "index went backwards"},
		"one with an older index": {func(t *testing.T, d *desk) {
			d.says("a", followed, answer{index: 60}, 1, 2)
			d.testifies(t, "a", "one", answer{index: 20}, 1, 2)
		}, false, "index went backwards"},
		"a direct answer with an older index": {func(_ *testing.T, d *desk) { d.says("a", direct, answer{index: 20}, 1, 2) }, false, "index went backwards"},
		"one that a newer answer overtook": {func(t *testing.T, d *desk) {
			d.says("a", followed, answer{index: 60}, 1, 2)
			d.guard.Ask(d.now, 1)
			q := d.ask("a")
			d.says("a", followed, answer{index: 70}, 1, 2)
			d.confirmed(d.now, q, entriesOf("a", 1, 2), answer{index: 60}, "one", nil)
		}, false, "waiting"},
	} {
		t.Run(what, func(t *testing.T) {
			d := whole(t)
			tc.tell(t, d)
			d.turn(2 * time.Second)
			want := "10.0.0.1 10.0.0.2 10.0.0.3"
			if tc.lost {
				want = "10.0.0.1 10.0.0.2"
			}
			if got := d.addresses("a"); got != want {
				t.Errorf("a is [%s], want [%s]", got, want)
			}
			if got := d.reason("a"); (got == "") != (tc.hold == "") || !strings.Contains(got, tc.hold) {
				t.Errorf("hold %q, want %q", got, tc.hold)
			}
		})
	}
}

// After the index went backwards, the first direct answer of every service is
// in doubt, also where its own index looks right.
func TestP3GuardARewindHoldsEveryService(t *testing.T) {
	d := whole(t)
	d.says("a", direct, answer{index: 20}, 1)
	d.says("b", direct, answer{index: 55}, 1)
	d.turn(time.Minute)
	for _, name := range []string{"a", "b"} {
		if got := d.addresses(name); got != "10.0.0.1 10.0.0.2 10.0.0.3" {
			t.Errorf("%s is [%s]", name, got)
		}
		if got := d.reason(name); got != "index went backwards" {
			t.Errorf("hold on %s: %q", name, got)
		}
	}
	d.says("b", followed, answer{index: 56}, 1, 2, 3)
	if got := d.reason("b"); got != "" {
		t.Errorf("all of b is back, held for %q", got)
	}
	if got := d.guard.Accept([]string{"a"}, false); !slices.Equal(got, []string{"a"}) {
		t.Errorf("accepted %q", got)
	}
	d.compose(d.now, "a")
	d.turn(0)
	if got := d.addresses("a"); got != "10.0.0.1" {
		t.Errorf("a is [%s] after it was accepted", got)
	}
}
