package status_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/v1alpha1"
	"meshlite.dev/internal/status"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// document is one of generation 3 for the services named, in force.
func document(services ...string) status.Document {
	d := status.Document{
		Key:        policy.Key{Kind: policy.KindResiliencePolicy, Namespace: "default", Name: "orders"},
		Generation: 3, Label: "rp/default/orders@3", Accepted: compile.Accepted,
	}
	for _, s := range services {
		t := compile.TargetStatus{Name: "Service/" + s, Ref: v1alpha1.TargetRef{Kind: "Service", Name: s}, Service: s, Accepted: compile.Accepted, InForce: 3}
		d.Targets = append(d.Targets, t)
	}
	return d
}

func fleet(u status.Uptake) func(status.Ask) status.Uptake {
	return func(status.Ask) status.Uptake { return u }
}

// lines writes a status as people read it.
func lines(conditions []policy.Condition) string {
	var out []string
	for _, c := range conditions {
		out = append(out, fmt.Sprintf("%s=%s/%s@%d", c.Type, c.Status, c.Reason, c.ObservedGeneration))
	}
	return strings.Join(out, " ")
}

func message(s policy.Status, kind string) string {
	for _, c := range s.Conditions {
		if c.Type == kind {
			return c.Message
		}
	}
	return "no condition " + kind
}

const (
	accepted = "Accepted=True/Accepted@3 ResolvedRefs=True/ResolvedRefs@3 "
	all      = accepted + "Programmed=True/Programmed@3 Enforced="
)

func TestConditions(t *testing.T) {
	running := status.Uptake{Proxies: 38, Running: 38}
	delivered := func(how *status.Delivery) func(*status.Document) {
		return func(d *status.Document) { d.Role, d.Targets[0].InForce, d.Delivery = "events", 0, how }
	}
	lost := func(reason compile.Reason, message string, inForce int64) func(*status.Document) {
		return func(d *status.Document) {
			d.Accepted, d.Message = reason, message
			d.Targets[0].Accepted, d.Targets[0].Message, d.Targets[0].InForce = reason, message, inForce
		}
	}
	for _, tc := range []struct {
		name    string
		edit    func(*status.Document)
		fleet   status.Uptake
		want    string
		inForce int64
		says    string // of Enforced
	}{
		{name: "every proxy runs it", fleet: running, want: all + "True/Enforced@3", inForce: 3, says: "38/38 proxies acknowledged revision 12"},
		{name: "one refuses it", fleet: status.Uptake{Proxies: 38, Running: 37, Refusing: 1, Refusals: []status.Refusal{{Proxy: "web-3", Message: "bad\nduration"}}},
			want: accepted + "Programmed=False/PartiallyProgrammed@3 Enforced=False/RejectedByProxies@3", inForce: 3,
			says: "37/38 proxies acknowledged revision 12; web-3: bad duration"},
		{name: "the only one refuses it", fleet: status.Uptake{Proxies: 1, Refusing: 1, Refusals: []status.Refusal{{Proxy: "web-3", Message: "bad"}}},
			want: accepted + "Programmed=False/RejectedByProxies@3 Enforced=False/RejectedByProxies@3", inForce: 3,
			says: "0/1 proxies acknowledged revision 12; web-3: bad"},
		{name: "some are late", fleet: status.Uptake{Proxies: 38, Running: 33, Waiting: []string{"a", "b", "c"}},
			want: all + "False/PartiallyEnforced@3", inForce: 3, says: "33/38 proxies acknowledged revision 12; waiting for a, b, c and 2 more"},
		{name: "nobody is there", want: all + "Unknown/NoProxies@3", inForce: 3, says: "no proxy is connected"},
		{name: "it is read at start", fleet: status.Uptake{Untracked: true}, want: all + "Unknown/ReadAtStart@3", inForce: 3},
		{name: "it is in shadow", edit: func(d *status.Document) { d.Shadow, d.Targets[0].InForce = true, 0 },
			want: accepted + "Programmed=False/Shadow@3 Enforced=False/Shadow@3"},
		{name: "others override all of it", edit: func(d *status.Document) { d.Targets[0].InForce, d.Targets[0].Overridden = 0, true }, fleet: running,
			want: accepted + "Programmed=False/Overridden@3 Enforced=False/Overridden@3"},
		{name: "it sets nothing", edit: func(d *status.Document) { d.Targets[0].InForce = 0 },
			want: accepted + "Programmed=False/NotUsed@3 Enforced=False/NotUsed@3"},
		{name: "the target is not there", edit: func(d *status.Document) {
			lost(compile.TargetNotFound, "the catalog has no service ordres", 0)(d)
			d.Targets[0].Unresolved = d.Message
		},
			want: "Accepted=False/TargetNotFound@3 ResolvedRefs=False/TargetNotFound@3 Programmed=False/TargetNotFound@3 Enforced=False/TargetNotFound@3",
			says: "the catalog has no service ordres"},
		{name: "the namespace has no right", edit: lost(compile.NotPermitted, "not yours", 0),
			want: "Accepted=False/NotPermitted@3 ResolvedRefs=True/ResolvedRefs@3 Programmed=False/NotPermitted@3 Enforced=False/NotPermitted@3"},
		{name: "a field is lost to another document", edit: lost(compile.Conflicted, "rp/default/a@1 wins", 3), fleet: running, inForce: 3,
			want: "Accepted=False/Conflicted@3 ResolvedRefs=True/ResolvedRefs@3 Programmed=False/PartiallyProgrammed@3 Enforced=True/Enforced@3"},
		{name: "a merge breaks a rule", edit: lost(compile.Invalid, "perTryTimeout over request", 2), fleet: running, inForce: 2,
			want: "Accepted=False/Invalid@3 ResolvedRefs=True/ResolvedRefs@3 Programmed=False/Invalid@3 Enforced=False/Invalid@3",
			says: "generation 2 stays in force: perTryTimeout over request"},
		{name: "a backend is not there", edit: func(d *status.Document) { d.Targets[0].Unresolved = "no service v2" }, fleet: running, inForce: 3,
			want: "Accepted=True/Accepted@3 ResolvedRefs=False/BackendNotFound@3 Programmed=True/Programmed@3 Enforced=True/Enforced@3"},
		{name: "a newer version is refused", edit: func(d *status.Document) { d.Refused = &status.Refused{Generation: 4, Message: "bad"} }, fleet: running, inForce: 3,
			want: "Accepted=False/Invalid@4 ResolvedRefs=True/ResolvedRefs@3 Programmed=True/Programmed@3 Enforced=True/Enforced@3"},
		{name: "no version was ever taken", edit: func(d *status.Document) {
			d.Refused, d.Generation, d.Label, d.Targets = &status.Refused{Message: "bad"}, 0, "", nil
		}, want: "Accepted=False/Invalid@0 ResolvedRefs=Unknown/Invalid@0 Programmed=False/Invalid@0 Enforced=False/Invalid@0"},
		{name: "nobody has the role", edit: delivered(nil),
			want: accepted + "Programmed=False/RoleDisabled@3 Enforced=False/RoleDisabled@3", says: "no xds-server delivers it: start one with --roles xds,admin,events"},
		{name: "a subscription that is delivered", edit: delivered(&status.Delivery{}), inForce: 3, want: all + "True/Enforced@3", says: "its events are delivered to orders"},
		{name: "a subscription that is paused", edit: delivered(&status.Delivery{Reason: status.ReasonPaused, Message: "the mailer moves"}), inForce: 3,
			want: accepted + "Programmed=False/Paused@3 Enforced=False/Paused@3", says: "the mailer moves"},
		{name: "a subscription without its broker", edit: delivered(&status.Delivery{Reason: status.ReasonInterrupted, Message: "the broker is away"}), inForce: 3,
			want: accepted + "Programmed=False/Interrupted@3 Enforced=False/Interrupted@3", says: "the broker is away"},
		{name: "a subscription whose queue is another's", edit: delivered(&status.Delivery{Reason: "Conflicted", Message: "its queue is that of a/b"}),
			want: accepted + "Programmed=False/Conflicted@3 Enforced=False/Conflicted@3", says: "its queue is that of a/b"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := document("orders")
			if tc.edit != nil {
				tc.edit(&d)
			}
			s := status.Of(d, fleet(tc.fleet), 12, noon)
			if got := lines(s.Conditions); got != tc.want || s.InForceGeneration != tc.inForce {
				t.Errorf("%s in force %d\nwant %s in force %d", got, s.InForceGeneration, tc.want, tc.inForce)
			}
			if got := message(s, policy.ConditionEnforced); !strings.Contains(got, tc.says) {
				t.Errorf("Enforced says %q, want %q", got, tc.says)
			}
			for _, a := range s.Ancestors {
				if got := lines(a.Conditions); got != tc.want || a.ControllerName != policy.ControllerName {
					t.Errorf("%v of %s", got, a.ControllerName)
				}
			}
		})
	}
}

// A document is Enforced only where all of its targets are.
func TestSumOverTargets(t *testing.T) {
	for _, tc := range []struct {
		name   string
		edit   func(*status.Document)
		uptake map[string]status.Uptake
		want   string
		says   string
	}{
		{name: "both run", uptake: map[string]status.Uptake{"": {Proxies: 3, Running: 3}, "a": {Proxies: 2, Running: 2}, "b": {Proxies: 1, Running: 1}},
			want: all + "True/Enforced@3", says: "3/3 proxies acknowledged revision 12"},
		{name: "one is late", uptake: map[string]status.Uptake{"a": {Proxies: 2, Running: 2}, "b": {Proxies: 1, Waiting: []string{"x"}}},
			want: all + "False/PartiallyEnforced@3", says: "Service/b: 0/1 proxies acknowledged revision 12; waiting for x"},
		{name: "one has no proxy", uptake: map[string]status.Uptake{"a": {Proxies: 2, Running: 2}},
			want: all + "Unknown/NoProxies@3", says: "Service/b: no proxy"},
		{name: "one is refused", uptake: map[string]status.Uptake{"a": {Proxies: 2, Running: 2}, "b": {Proxies: 1, Refusing: 1}},
			want: accepted + "Programmed=False/PartiallyProgrammed@3 Enforced=False/RejectedByProxies@3"},
		{name: "one is not there", uptake: map[string]status.Uptake{"a": {Proxies: 2, Running: 2}},
			edit: func(d *status.Document) {
				d.Accepted, d.Message = compile.TargetNotFound, "no b"
				d.Targets[1].Accepted, d.Targets[1].InForce = compile.TargetNotFound, 0
			},
			want: "Accepted=False/TargetNotFound@3 ResolvedRefs=True/ResolvedRefs@3 Programmed=False/PartiallyProgrammed@3 Enforced=False/PartiallyEnforced@3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := document("a", "b")
			if tc.edit != nil {
				tc.edit(&d)
			}
			s := status.Of(d, func(a status.Ask) status.Uptake { return tc.uptake[a.Service] }, 12, noon)
			if got := lines(s.Conditions); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			if got := message(s, policy.ConditionEnforced); !strings.Contains(got, tc.says) {
				t.Errorf("Enforced says %q, want %q", got, tc.says)
			}
			if len(s.Ancestors) != 2 {
				t.Errorf("%d ancestors", len(s.Ancestors))
			}
		})
	}
}

func TestUptakeOfReplicasIsSummed(t *testing.T) {
	a := status.Uptake{Proxies: 3, Running: 1, Refusing: 2, Refusals: []status.Refusal{{Proxy: "c"}, {Proxy: "d"}}}
	b := status.Uptake{Proxies: 4, Running: 1, Refusing: 2, Refusals: []status.Refusal{{Proxy: "a"}, {Proxy: "b"}}, Waiting: []string{"x"}}
	got := a.Plus(b)
	want := "{false 7 2 4 [{a } {b } {c }] [x]}"
	if fmt.Sprint(got) != want || fmt.Sprint(b.Plus(a)) != want {
		t.Errorf("%v and %v, want %s", got, b.Plus(a), want)
	}
}

// The time of a condition moves when its status does, and a change of words
// alone is no transition.
func TestTransitions(t *testing.T) {
	first := status.Of(document("orders"), fleet(status.Uptake{Proxies: 2, Running: 2}), 12, noon)
	for _, tc := range []struct {
		name       string
		fleet      status.Uptake
		edit       func(*status.Document)
		transition bool
		words      bool
		moved      string // conditions whose time moved
	}{
		{name: "nothing", fleet: status.Uptake{Proxies: 2, Running: 2}},
		{name: "one more proxy", fleet: status.Uptake{Proxies: 3, Running: 3}},
		{name: "one proxy less runs it", fleet: status.Uptake{Proxies: 3, Running: 2}, transition: true, words: true, moved: "Enforced"},
		{name: "a new generation", edit: func(d *status.Document) { d.Generation, d.Targets[0].InForce = 4, 4 }, fleet: status.Uptake{Proxies: 2, Running: 2}, transition: true},
		{name: "another target", edit: func(d *status.Document) { d.Targets[0].Ref.Name = "x" }, fleet: status.Uptake{Proxies: 2, Running: 2}, transition: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := document("orders")
			if tc.edit != nil {
				tc.edit(&d)
			}
			next := status.Carry(first, status.Of(d, fleet(tc.fleet), 13, noon.Add(time.Hour)))
			if got := status.Transition(first, next); got != tc.transition {
				t.Errorf("Transition = %v", got)
			}
			if got := status.OtherWords(first, next); got != tc.words {
				t.Errorf("OtherWords = %v", got)
			}
			var moved []string
			for _, c := range next.Conditions {
				if !c.LastTransitionTime.Time.Equal(noon) {
					moved = append(moved, c.Type)
				}
			}
			if got := strings.Join(moved, " "); got != tc.moved {
				t.Errorf("the time of %q moved, want %q", got, tc.moved)
			}
		})
	}
}

func TestNotesStaySmallAndSayAll(t *testing.T) {
	var asks []status.Ask
	var uptakes []status.Uptake
	for i := range 5000 {
		asks = append(asks, status.Ask{Label: fmt.Sprint("rp/default/p", i, "@1")})
		uptakes = append(uptakes, status.Uptake{Proxies: 500, Running: 500})
	}
	uptakes[7] = status.Uptake{Proxies: 20, Running: 20}
	uptakes[8] = status.Uptake{Proxies: 500, Running: 498, Refusing: 1, Refusals: []status.Refusal{{Proxy: "a", Message: "bad"}}, Waiting: []string{"b"}}
	uptakes[9] = status.Uptake{Untracked: true}
	raw, err := status.NewNote("abc", 12, 500, asks, uptakes, nil).Encode()
	if err != nil || len(raw) > 1000 {
		t.Fatalf("%d bytes for 5,000 documents, %v", len(raw), err)
	}
	n, err := status.DecodeNote(raw)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range asks {
		if got := n.Of(a, "abc", 0); !got.Equal(uptakes[i]) {
			t.Fatalf("%s: %+v, want %+v", a, got, uptakes[i])
		}
	}
	fresh := status.Ask{Label: "rp/default/p0@2"}
	if got := n.Of(fresh, "def", 13); got.Running != 0 || got.Proxies != 500 {
		t.Errorf("a version that the replica has not reached: %+v", got)
	}
	if got := n.Of(asks[0], "def", 3); got.Running != 500 {
		t.Errorf("a version older than the replica's revision: %+v", got)
	}
	if _, err := status.DecodeNote([]byte("{")); err == nil {
		t.Error("half a note was read")
	}
}

// A document that proxies lack for a moment stays Enforced; one that they
// refuse, or of a newer version, does not.
func TestPatience(t *testing.T) {
	good := status.Of(document("orders"), fleet(status.Uptake{Proxies: 2, Running: 2}), 12, noon)
	for _, tc := range []struct {
		name  string
		fleet status.Uptake
		edit  func(*status.Document)
		after time.Duration
		want  string
	}{
		{name: "late for a moment", fleet: status.Uptake{Proxies: 2, Running: 1}, after: 9 * time.Second, want: "True/Enforced@3"},
		{name: "late for long", fleet: status.Uptake{Proxies: 2, Running: 1}, after: 10 * time.Second, want: "False/PartiallyEnforced@3"},
		{name: "nobody there for a moment", after: 9 * time.Second, want: "True/Enforced@3"},
		{name: "nobody there for long", after: 10 * time.Second, want: "Unknown/NoProxies@3"},
		{name: "refused", fleet: status.Uptake{Proxies: 2, Running: 1, Refusing: 1}, want: "False/RejectedByProxies@3"},
		{name: "a newer version", fleet: status.Uptake{Proxies: 2, Running: 1}, edit: func(d *status.Document) { d.Generation, d.Targets[0].InForce = 4, 4 }, want: "False/PartiallyEnforced@4"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := document("orders")
			if tc.edit != nil {
				tc.edit(&d)
			}
			told, waits := status.Settle(good, status.Of(d, fleet(tc.fleet), 13, noon), noon, noon.Add(tc.after), status.Patience)
			for _, conditions := range [][]policy.Condition{told.Conditions, told.Ancestors[0].Conditions} {
				if got := lines(conditions); !strings.HasSuffix(got, "Enforced="+tc.want) || waits != strings.HasSuffix(tc.want, "True/Enforced@3") {
					t.Errorf("told %s, waits %v; want %s", got, waits, tc.want)
				}
			}
		})
	}
}
