// Package policytest holds the contract of policy.Source: every carrier passes
// Run unchanged.
package policytest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/gather"
)

// Carrier is one carrier as its users and its source see it. Its functions fail
// the test where they cannot do what they say.
type Carrier struct {
	// Source returns a source over all that the carrier holds.
	Source func(gather.Timing, func() []*policy.Document) policy.Source
	// Put writes documents, valid or not, as users write them; a text is YAML of
	// one document.
	Put func(texts ...string)
	// Remove takes documents away.
	Remove func(keys ...policy.Key)
	// Down makes the carrier unreachable, Up reachable again; it keeps what it
	// held.
	Down, Up func()
	// Writer is the carrier's own; nil where the server's API writes nothing.
	Writer policy.Writer
	// Counts is true where the carrier gives documents their generation.
	Counts bool
}

// Run checks the contract; open returns a carrier without documents for each
// test.
func Run(t *testing.T, open func(t *testing.T) Carrier) {
	for _, tc := range []struct {
		name string
		test func(*testing.T, Carrier)
	}{
		{"an empty carrier proposes the empty set", empty},
		{"what stands at the start is proposed whole, in canonical form", whole},
		{"edits are one change set", gathered},
		{"a document with a fault is refused alone and its last good version stays", refused},
		{"a document that is removed goes", removed},
		{"a carrier that is down takes nothing away", down},
		{"a loss of most documents waits for a second reading", mostGone},
		{"most documents that come back were never gone", comeBack},
		{"a start without most of what is in force waits for a second reading", goneAtStart},
		{"five thousand documents are one set", thousands},
		{"what its writer writes is proposed", written},
		{"a document that moved is not overwritten", func(t *testing.T, c Carrier) {
			if c.Writer != nil {
				RunWriter(t, c.Writer)
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.test(t, open(t)) })
	}
}

func empty(t *testing.T, c Carrier) {
	f := follow(t, c, nil)
	if p := f.next(); len(p.Documents)+len(p.Refused) != 0 {
		t.Errorf("proposed %s", summary(p))
	}
}

// canonical are documents that say the same in several ways, or hold what a
// carrier may write in another way.
var canonical = []string{
	head("plain") + "spec:\n  targetRefs: [{kind: Service, name: plain}]\n  retry: {attempts: 3}\n",
	head("effect") + "spec:\n  effect: enforce\n  targetRefs: [{kind: Service, name: effect}]\n  timeouts: {request: 1m30s, idle: 0s}\n",
	head("shadow") + "spec:\n  effect: shadow\n  targetRefs: [{kind: Service, name: shadow}]\n  limits: {requests: 2147483647}\n",
	head("labelled") + "  labels: {team: shop}\n  annotations: {note: \"<&> \\u00fc\"}\nspec:\n  targetRefs: [{kind: Service, name: labelled}]\n  healthCheck: {type: HTTP, path: '/h?a=1&b=<2>', interval: 5s}\n",
	head("lists") + "spec:\n  targetRefs:\n  - {group: meshlite.dev, kind: Service, name: b}\n  - {kind: Service, name: a}\n  from: [{service: zulu}, {service: yankee}]\n  retry: {retryOn: [reset, connect-failure], statusCodes: [503, 429], methods: []}\n",
	head("strings") + "spec:\n  targetRefs: [{kind: Service, name: strings}]\n  outlierDetection: {successRate: {enabled: false, standardDeviationFactor: '1.9'}}\n  loadBalancing: {type: Maglev, hash: [{cookie: {name: s, ttl: 1h, path: /}}]}\n",
}

func head(name string) string {
	return "apiVersion: meshlite.dev/v1alpha1\nkind: ResiliencePolicy\nmetadata:\n  name: " + name + "\n"
}

func whole(t *testing.T, c Carrier) {
	c.Put(canonical...)
	p := follow(t, c, nil).next()
	want := policy.Decode("want", []byte(strings.Join(canonical, "---\n")))
	if len(want.Documents) != len(canonical) || len(p.Refused) != 0 {
		t.Fatalf("refused %s", summary(want)+summary(p))
	}
	if len(p.Documents) != len(want.Documents) {
		t.Fatalf("proposed %s, want %s", summary(p), summary(want))
	}
	for i, w := range want.Documents {
		d := p.Documents[i]
		if string(d.Canonical) != string(w.Canonical) || d.Hash != w.Hash || d.Key != w.Key {
			t.Errorf("%s is\n%s\nwant\n%s", w.Key, d.Canonical, w.Canonical)
		}
		if (d.Generation > 0) != c.Counts {
			t.Errorf("%s has generation %d", w.Key, d.Generation)
		}
	}
}

func gathered(t *testing.T, c Carrier) {
	f := follow(t, c, nil)
	f.next()
	for i := range 20 {
		c.Put(document(fmt.Sprint("s", i), 1))
	}
	for sets := 1; ; sets++ {
		p := f.next()
		if len(p.Documents) == 20 {
			break
		}
		if sets == 3 {
			t.Fatalf("twenty edits in a row are more than three change sets; the last is %s", summary(p))
		}
	}
	f.silent(2 * timing.Quiet)
}

func refused(t *testing.T, c Carrier) {
	f := follow(t, c, nil)
	f.next()
	c.Put(document("a", 1), document("b", 1))
	f.until("a=1 b=1")
	// Each field is as the schema wants it; together they are a contradiction.
	bad := head("a") + "spec:\n  targetRefs: [{kind: Service, name: a}]\n  retry: {perTryTimeout: 5s}\n  timeouts: {request: 3s}\n"
	c.Put(bad, document("b", 2))
	p := f.until("!a b=2")
	if fault := p.Refused[0].Faults[0]; fault.Path != "spec.retry.perTryTimeout" || fault.Key.Name != "a" || fault.Source == "" {
		t.Errorf("the fault is %+v", fault)
	}
	if got := f.inForce(); got != "a=1 b=2" {
		t.Errorf("in force is %s", got)
	}
	c.Put(document("a", 3))
	f.until("a=3 b=2")
}

func removed(t *testing.T, c Carrier) {
	c.Put(document("a", 1), document("b", 1))
	f := follow(t, c, nil)
	f.until("a=1 b=1")
	c.Remove(key("a"))
	f.until("b=1")
	c.Remove(key("b"))
	f.until("")
	if got := f.inForce(); got != "" {
		t.Errorf("in force is %s", got)
	}
}

func down(t *testing.T, c Carrier) {
	c.Put(document("a", 1), document("b", 1), document("c", 1))
	f := follow(t, c, nil)
	f.until("a=1 b=1 c=1")
	c.Down()
	f.silent(2 * time.Second)
	if p := f.problem(); p == "" {
		t.Error("nothing tells that the carrier is away")
	}
	c.Up()
	c.Put(document("a", 2))
	f.until("a=2 b=1 c=1")
	f.within(30*time.Second, "the problem is over", func() bool { return f.problem() == "" })
}

func mostGone(t *testing.T, c Carrier) {
	c.Put(document("a", 1), document("b", 1), document("c", 1), document("d", 1))
	f := follow(t, c, nil)
	f.until("a=1 b=1 c=1 d=1")
	begin := time.Now()
	c.Remove(key("a"), key("b"), key("c"))
	f.until("d=1")
	if took := time.Since(begin); took < timing.Confirm {
		t.Errorf("three of four documents were gone %s after they went", took)
	}
}

func comeBack(t *testing.T, c Carrier) {
	c.Put(document("a", 1), document("b", 1), document("c", 1), document("d", 1))
	f := follow(t, c, nil)
	f.until("a=1 b=1 c=1 d=1")
	c.Remove(key("a"), key("b"), key("c"))
	f.within(10*time.Second, "the loss is told of", func() bool { return strings.Contains(f.problem(), "3 of 4 policies") })
	c.Put(document("a", 1), document("b", 1), document("c", 1))
	f.within(10*time.Second, "the alarm ends", func() bool { return f.problem() == "" })
	f.silentBut("a=1 b=1 c=1 d=1", timing.Confirm)
	c.Put(document("d", 2))
	f.until("a=1 b=1 c=1 d=2")
}

func goneAtStart(t *testing.T, c Carrier) {
	known := policy.Decode("earlier", []byte(document("a", 1)+"---\n"+document("b", 1)+"---\n"+document("c", 1))).Documents
	c.Put(document("c", 1))
	begin := time.Now()
	f := follow(t, c, func() []*policy.Document { return known })
	f.until("c=1")
	if took := time.Since(begin); took < timing.Confirm {
		t.Errorf("two of three documents in force were gone %s after the start", took)
	}
}

func thousands(t *testing.T, c Carrier) {
	const n = 5_000
	texts := make([]string, n)
	for i := range texts {
		texts[i] = document(fmt.Sprintf("s%04d", i), i%10)
	}
	c.Put(texts...)
	begin := time.Now()
	f := follow(t, c, nil)
	if p := f.nextIn(4 * limit); len(p.Documents) != n {
		t.Fatalf("the first set has %d documents and %d refusals, want %d", len(p.Documents), len(p.Refused), n)
	}
	t.Logf("%d documents are proposed %s after the start", n, time.Since(begin).Round(time.Millisecond))
	begin = time.Now()
	c.Put(document("s2500", 9))
	p := f.next()
	if len(p.Documents) != n || *p.Documents[2500].Resilience.Retry.Attempts != 9 {
		t.Errorf("after one edit the set has %d documents", len(p.Documents))
	}
	t.Logf("an edit of one is proposed after %s, %s of quiet included", time.Since(begin).Round(time.Millisecond), timing.Quiet)
}

func written(t *testing.T, c Carrier) {
	f := follow(t, c, nil)
	f.next()
	if c.Writer == nil { // its users' own tools are all there is, and Put is those
		c.Put(document("a", 1))
		f.until("a=1")
		return
	}
	docs := policy.Decode("api", []byte(strings.Join(canonical, "---\n"))).Documents
	changes := make([]policy.Change, len(docs))
	for i, d := range docs {
		changes[i] = policy.Change{Key: d.Key, Document: d}
	}
	if err := c.Writer.Write(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
	var p policy.Proposal
	for len(p.Documents) != len(docs) {
		p = f.next()
	}
	for i, d := range p.Documents {
		if d.Hash != docs[i].Hash {
			t.Errorf("%s comes back as\n%s\nwas written as\n%s", d.Key, d.Canonical, docs[i].Canonical)
		}
	}
	gone := []policy.Change{{Key: docs[0].Key}, {Key: key("never-was")}}
	if err := c.Writer.Write(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	for len(p.Documents) != len(docs)-1 {
		p = f.next()
	}
}
