package consul

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
)

// lists answers the name list of another datacenter.
func (d *desk) lists(datacenter string, index uint64, names ...string) {
	slices.Sort(names)
	d.book.listed(d.now, d.abroad[datacenter], names, answer{index: index})
	d.turn(0)
}

// wants says what routes refer to.
func (d *desk) wants(keys ...string) {
	d.want(d.now, keys)
	d.turn(0)
}

// travelled is a desk in dc1 that serves a of its own with three instances,
// and a of dc2 with two.
func travelled(t *testing.T) *desk {
	t.Helper()
	d := open(Config{})
	d.locate("dc1")
	d.turn(0)
	d.list(50, "a")
	d.says("a", followed, answer{index: 50}, 1, 2, 3)
	d.wants("a@dc2")
	d.lists("dc2", 9, "a", "other")
	d.says("a@dc2", followed, answer{index: 9}, 11, 12)
	d.home.known("one")
	d.abroad["dc2"].known("two")
	if a, b := d.addresses("a"), d.addresses("a@dc2"); a != "10.0.0.1 10.0.0.2 10.0.0.3" || b != "10.0.0.11 10.0.0.12" {
		t.Fatalf("a [%s], a@dc2 [%s]", a, b)
	}
	return d
}

func TestAWantedServiceOfAnotherDatacenterIsServedBesideTheOwn(t *testing.T) {
	d := travelled(t)
	last := d.published[len(d.published)-1]
	s, _ := last.Services.Get("a@dc2")
	if last.Services.Len() != 2 || s.Name != "a@dc2" || !s.Synced {
		t.Errorf("%d services, and %+v", last.Services.Len(), s)
	}
	if last.Datacenter != "dc1" {
		t.Errorf("the own datacenter is %q, want dc1", last.Datacenter)
	}
	var watches []string
	for _, w := range d.status(d.now, "").Watches {
		watches = append(watches, w.Service)
	}
	if !slices.Equal(watches, []string{"", "@dc2", "a", "a@dc2"}) {
		t.Errorf("watches are %q", watches)
	}
}

// Nobody waits for another datacenter, and what it has not said is not known.
func TestAnotherDatacenterNeverBlocksTheOwn(t *testing.T) {
	d := open(Config{})
	d.wants("a@dc2", "b@dc3")
	d.locate("dc1")
	d.turn(0)
	d.list(50, "a")
	d.says("a", followed, answer{index: 50}, 1)
	if len(d.published) != 1 {
		t.Fatalf("%d snapshots, want the first", len(d.published))
	}
	for _, key := range []string{"a@dc2", "b@dc3"} {
		if got := d.addresses(key); got != "not synced" {
			t.Errorf("%s is [%s]", key, got)
		}
	}
	d.lists("dc2", 9, "a")
	d.says("a@dc2", followed, answer{index: 9}, 11)
	d.lists("dc3", 7, "other")                // dc3 has no b
	d.says("b@dc3", direct, answer{index: 7}) // read again by then
	d.turn(d.cfg.Linger)
	if a, b := d.addresses("a@dc2"), d.addresses("b@dc3"); a != "10.0.0.11" || b != "none" {
		t.Errorf("a@dc2 [%s], b@dc3 [%s]", a, b)
	}
	d.lists("dc3", 8, "other", "b")
	d.says("b@dc3", direct, answer{index: 8}, 4)
	if got := d.addresses("b@dc3"); got != "10.0.0.4" {
		t.Errorf("b@dc3 is [%s] once it is registered", got)
	}
}

// Before it is known what the own datacenter is called, no key can be read.
func TestAKeyOfTheOwnDatacenterIsNoServiceOfItsOwn(t *testing.T) {
	d := open(Config{Services: []string{"a"}})
	d.wants("a@dc1")
	d.turn(0)
	d.says("a", followed, answer{index: 50}, 1, 2)
	if got := d.addresses("a@dc1"); got != "not synced" {
		t.Errorf("a@dc1 is [%s] before anybody knows where that is", got)
	}
	d.locate("dc1")
	d.turn(0)
	if got := d.addresses("a@dc1"); got != "none" || len(d.watches) != 1 || len(d.abroad) != 0 {
		t.Errorf("a@dc1 is [%s]; %d watches, %d places", got, len(d.watches), len(d.abroad))
	}
	if got := d.published[len(d.published)-1]; got.Datacenter != "dc1" || !slices.Equal(got.Changed, []string{"a@dc1"}) {
		t.Errorf("the own datacenter is %q, changed are %q", got.Datacenter, got.Changed)
	}
}

// Where the token does not show what the own datacenter is called, its key is
// read like that of any other.
func TestAKeyOfANamelessDatacenterIsRead(t *testing.T) {
	d := open(Config{})
	d.wants("a@dc1")
	d.locate("")
	d.turn(0)
	d.list(50, "a")
	d.says("a", followed, answer{index: 50}, 1)
	d.lists("dc1", 50, "a")
	d.says("a@dc1", followed, answer{index: 50}, 1)
	if got := d.addresses("a@dc1"); got != "10.0.0.1" {
		t.Errorf("a@dc1 is [%s]", got)
	}
	d.locate("dc1") // the token has more rights by now
	d.turn(0)
	if got := d.addresses("a@dc1"); got != "none" || len(d.watches) != 1 || len(d.abroad) != 0 {
		t.Errorf("a@dc1 is [%s] of %d watches; %d places", got, len(d.watches), len(d.abroad))
	}
}

// Routes may still lead to what is wanted no more: it stays for a while.
func TestWhatIsWantedNoMoreGoesLater(t *testing.T) {
	d := travelled(t)
	d.wants()
	d.turn(d.cfg.Linger - time.Second)
	if got := d.addresses("a@dc2"); got != "10.0.0.11 10.0.0.12" {
		t.Errorf("a@dc2 is [%s] at once", got)
	}
	d.wants("a@dc2")
	d.turn(d.cfg.Linger)
	if got := d.addresses("a@dc2"); got != "10.0.0.11 10.0.0.12" {
		t.Errorf("a@dc2 is [%s], and is wanted again", got)
	}
	d.wants()
	d.turn(d.cfg.Linger)
	d.turn(0)
	if got := d.addresses("a@dc2"); got != "none" || len(d.abroad) != 0 || len(d.watches) != 1 {
		t.Errorf("a@dc2 is [%s]; %d places, %d watches", got, len(d.abroad), len(d.watches))
	}
	if next := d.next(d.now); !next.IsZero() {
		t.Errorf("there is something to do in %s", next.Sub(d.now))
	}
}

func TestKeysThatNameNoDatacenterAreLeftOut(t *testing.T) {
	d := open(Config{})
	d.locate("dc1")
	d.wants("a", "A@dc2", "a@", "@dc2", "a@DC2", "a@dc2@dc3", "")
	if len(d.book.wants) != 0 || len(d.watches) != 0 {
		t.Errorf("wants %v, watches %v", d.book.wants, d.watches)
	}
}

func TestServicesLimitsNothingOfOtherDatacenters(t *testing.T) {
	d := open(Config{Services: []string{"b"}})
	d.locate("dc1")
	d.wants("a@dc2")
	d.turn(0)
	d.says("b", followed, answer{index: 5}, 1)
	d.lists("dc2", 9, "a")
	d.says("a@dc2", followed, answer{index: 9}, 11)
	if got := d.addresses("a@dc2"); got != "10.0.0.11" {
		t.Errorf("a@dc2 is [%s]", got)
	}
}

func TestTheLimitOfWatchesCountsOtherDatacenters(t *testing.T) {
	d := open(Config{MaxWatches: 2})
	d.locate("dc1")
	d.turn(0)
	d.list(50, "a")
	d.says("a", followed, answer{index: 50}, 1)
	d.wants("a@dc2", "b@dc2")
	if d.watches["a@dc2"] == nil || d.watches["b@dc2"] != nil {
		t.Errorf("watches are %v", d.watches)
	}
	st := d.status(d.now, "")
	if !slices.ContainsFunc(st.Skipped, func(s catalog.Skipped) bool { return s.Name == "b@dc2" && strings.Contains(s.Reason, "limit of 2") }) {
		t.Errorf("skipped are %+v", st.Skipped)
	}
}

// Guard, rewind and trust domain of each datacenter are its own.
func TestP3GuardARewindOfADatacenterHoldsItsOwnServicesAlone(t *testing.T) {
	d := travelled(t)
	d.says("a", followed, answer{index: 51}, 1, 2)
	d.says("a@dc2", direct, answer{index: 3}, 11)
	d.testifies(t, "a", "one", answer{index: 51}, 1, 2)
	d.turn(time.Minute)
	if a, b := d.addresses("a"), d.addresses("a@dc2"); a != "10.0.0.1 10.0.0.2" || b != "10.0.0.11 10.0.0.12" {
		t.Errorf("a [%s], a@dc2 [%s]", a, b)
	}
	if got := d.reason("a@dc2"); got != "index went backwards" {
		t.Errorf("hold on a@dc2: %q", got)
	}
	if !slices.ContainsFunc(d.status(d.now, "").Notes, func(f mesh.Finding) bool {
		return f.Path == "index@dc2" && strings.Contains(f.Message, "datacenter dc2") && f.Hint != ""
	}) {
		t.Errorf("notes are %+v", d.status(d.now, "").Notes)
	}
}

func TestP3GuardALossElsewhereNeedsAConfirmingReadToo(t *testing.T) {
	d := travelled(t)
	d.says("a@dc2", followed, answer{index: 10}, 11)
	if got := d.addresses("a@dc2"); got != "10.0.0.11 10.0.0.12" {
		t.Errorf("unconfirmed: [%s]", got)
	}
	d.guard.Ask(d.now, 1)
	d.confirmed(d.now, d.ask("a@dc2"), described{}, answer{}, "", errors.New("No path to datacenter"))
	d.turn(10 * time.Second)
	if got := d.reason("a@dc2"); got != "confirming read refused: No path to datacenter" {
		t.Errorf("hold: %q", got)
	}
	d.testifies(t, "a@dc2", "two", answer{index: 10}, 11)
	if got := d.addresses("a@dc2"); got != "10.0.0.11" {
		t.Errorf("confirmed: [%s]", got)
	}
}

func TestP4LastKnownGoodStandsInForAnotherDatacenterAtOnce(t *testing.T) {
	good := catalog.LastGood{At: beginning.Add(-time.Hour), Datacenter: "dc1", Services: []*catalog.Service{
		{Name: "a", Protocol: mesh.HTTP1, Synced: true, Endpoints: entriesOf("a", 1).endpoints},
		{Name: "a@dc2", Protocol: mesh.GRPC, Synced: true, Endpoints: entriesOf("a@dc2", 11).endpoints},
		{Name: "b@dc2", Protocol: mesh.GRPC, Synced: true, Endpoints: entriesOf("b@dc2", 12).endpoints},
	}}
	d := open(Config{LastGood: good}) // nobody has said what is wanted: what was
	d.turn(0)
	d.list(50, "a")
	d.says("a", followed, answer{index: 50}, 1, 2)
	if a, b := d.addresses("a"), d.addresses("a@dc2"); a != "10.0.0.1 10.0.0.2" || b != "10.0.0.11" {
		t.Fatalf("a [%s], a@dc2 [%s]", a, b)
	}
	if got := d.published[0].Datacenter; got != "dc1" {
		t.Errorf("the own datacenter is %q before it says so itself", got)
	}
	d.locate("dc1")
	d.turn(0)
	d.lists("dc2", 9, "a", "b")
	d.says("a@dc2", direct, answer{index: 9})
	if got := d.addresses("a@dc2"); got != "10.0.0.11" {
		t.Errorf("a@dc2 is [%s] before anybody confirmed its loss", got)
	}
	d.testifies(t, "a@dc2", "two", answer{index: 9})
	if got := d.addresses("a@dc2"); got != "" {
		t.Errorf("a@dc2 is [%s], and its loss was confirmed", got)
	}
	d.wants("a@dc2")
	d.turn(d.cfg.Linger)
	if got := d.addresses("b@dc2"); got != "none" {
		t.Errorf("b@dc2 is [%s], and is not wanted", got)
	}
}

func TestADatacenterThatDoesNotAnswerIsToldOf(t *testing.T) {
	for _, tc := range []struct{ err, hint string }{
		{"read the list of services: Unexpected response code: 500 (No path to datacenter)", "catalog datacenters"},
		{"read the list of services: Unexpected response code: 403 (ACL not found)", "token"},
		{"read the list of services: Unexpected response code: 500 (rpc error: EOF)", "members -wan"},
	} {
		d := open(Config{})
		d.locate("dc1")
		d.turn(0)
		d.list(50, "a")
		d.wants("a@dc2")
		d.abroad["dc2"].list.err = tc.err
		notes := d.status(d.now, "").Notes
		if len(notes) != 1 || !strings.Contains(notes[0].Message, "datacenter dc2") || !strings.Contains(notes[0].Message, tc.err) || !strings.Contains(notes[0].Hint, tc.hint) {
			t.Errorf("%s: notes are %+v", tc.err, notes)
		}
		d.home.list.err = "connection refused"
		if notes := d.status(d.now, "").Notes; len(notes) != 0 {
			t.Errorf("%s: the agent itself is away, and the notes are %+v", tc.err, notes)
		}
	}
}

// In a federation the service-defaults of one datacenter hold in all.
func TestServiceDefaultsStateTheProtocolElsewhere(t *testing.T) {
	d := travelled(t)
	d.stated(d.now, map[string]mesh.Protocol{"a": mesh.GRPC}, false)
	d.turn(0)
	for _, name := range []string{"a", "a@dc2"} {
		if s, _ := d.published[len(d.published)-1].Services.Get(name); s.Protocol != mesh.GRPC {
			t.Errorf("%s speaks %s", name, s.Protocol)
		}
	}
}
