package policy_test

import (
	"bytes"
	"strings"
	"testing"

	"meshlite.dev/internal/policy"
)

const head = "apiVersion: meshlite.dev/v1alpha1\nkind: ResiliencePolicy\nmetadata: {name: orders}\n"
const good = head + "spec:\n  targetRefs: [{kind: Service, name: orders}]\n"
const route = "apiVersion: meshlite.dev/v1alpha1\nkind: TrafficRoute\nmetadata: {name: orders}\nspec:\n  service: orders\n"

func TestBadDocumentsNameTheFieldTheValueAndTheCure(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     []string
	}{
		{"an unknown field suggests the one meant", good + "  retry: {atempts: 3}\n", []string{"p.yaml:6", "ResiliencePolicy/default/orders", "spec.retry.atempts", "did you mean attempts?"}},
		{"an unknown section lists the known", good + "  circuit: {}\n", []string{"spec.circuit", "known are", "limits"}},
		{"a string for a number", good + "  retry: {attempts: many}\n", []string{"spec.retry.attempts", "must be of type integer", "string"}},
		{"a number out of range", good + "  retry: {attempts: 11}\n", []string{"spec.retry.attempts", `"11"`, "less than or equal to 10"}},
		{"a duration without a unit", good + "  timeouts: {request: '5'}\n", []string{"spec.timeouts.request", `"5"`, "250ms"}},
		{"a duration with a fraction", good + "  timeouts: {request: 1.5s}\n", []string{"spec.timeouts.request", "1.5s", "whole number"}},
		{"a connect timeout of 0", good + "  timeouts: {connect: 0s}\n", []string{"spec.timeouts.connect", "over 0s"}},
		{"a retry token that Envoy would swallow", good + "  retry: {retryOn: [5xxx]}\n", []string{"spec.retry.retryOn[0]", "5xxx", "gateway-error"}},
		{"fields that contradict each other", good + "  retry: {perTryTimeout: 5s}\n  timeouts: {request: 3s}\n", []string{"spec.retry.perTryTimeout", "5s", "timeouts.request", "3s"}},
		{"a hash balancer without a hash", good + "  loadBalancing: {type: RingHash}\n", []string{"spec.loadBalancing", "hash: [{header: x-user}]"}},
		{"a hash key of two kinds", good + "  loadBalancing: {type: Maglev, hash: [{header: a, query: b}]}\n", []string{"hash[0]", "exactly one"}},
		{"from with a mesh target", head + "spec:\n  targetRefs: [{kind: Mesh}]\n  from: [{service: a}]\n", []string{"from", "Service only"}},
		{"a mesh target with a name", head + "spec:\n  targetRefs: [{kind: Mesh, name: x}]\n", []string{"targetRefs[0]", "Mesh has none"}},
		{"no target", head + "spec: {retry: {attempts: 1}}\n", []string{"spec.targetRefs", "is missing"}},
		{"no metadata", strings.Replace(route, "metadata: {name: orders}\n", "", 1) + "  rules: [{name: A}]\n", []string{"metadata", "must be an object with a name", "spec.rules[0].name", "DNS label"}},
		{"no name", strings.Replace(route, "{name: orders}", "{}", 1) + "  rules: [{name: a, backends: [{subset: x}]}]\n", []string{"metadata.name", "spec.rules[0].backends[0].subset", "no subsets"}},
		{"no spec", head, []string{"spec", "is missing"}},
		{"a reserved name", strings.Replace(good, "name: orders}\n", "name: mesh-default}\n", 1), []string{"mesh-default", "reserved"}},
		{"a name that is none", strings.Replace(good, "metadata: {name: orders}", "metadata: {name: 'Orders!'}", 1), []string{"metadata.name", "Orders!"}},
		{"another version", strings.Replace(good, "v1alpha1", "v9", 1), []string{"apiVersion", "meshlite.dev/v9", "meshlite.dev/v1alpha1"}},
		{"another kind", strings.Replace(good, "ResiliencePolicy", "Deployment", 1), []string{"kind", "Deployment", "ResiliencePolicy"}},
		{"a kind that only the server writes", strings.Replace(good, "ResiliencePolicy", "PolicyRevision", 1), []string{"kind", "PolicyRevision", "must be one of"}},
		{"a later version with fields of its own", strings.Split(head, "v1")[0] + "v1beta2\nkind: TrafficRoute\nmetadata: {name: a}\nspec: {gateway: {}, service: 5}\n", []string{"apiVersion", "v1beta2", "must be meshlite.dev/v1alpha1", "this server knows v1alpha1"}},
		{"a document of somebody else", strings.Replace(good, "meshlite.dev/v1alpha1", "apps/v1", 1), []string{"apiVersion", "apps/v1", "must be meshlite.dev/v1alpha1"}},
		{"two rules of one name", route + "  rules: [{name: a}, {name: a}]\n", []string{"p.yaml:6", "TrafficRoute/default/orders", "spec.rules[1].name", `"a"`, "is there twice"}},
		{"a word that kubectl takes for a boolean", strings.Replace(route, "service: orders", "service: on", 1), []string{"spec.service", `"on"`, "must be of type string", "put it in quotes"}},
		{"a key that kubectl takes for a boolean", route + "  subsets: [{name: s, meta: {No: b}}]\n", []string{"spec.subsets[0].meta", "the key No", "false to kubectl"}},
		{"a label that Kubernetes refuses", strings.Replace(good, "name: orders}", "name: orders, labels: {team: a b, tier: 1}}", 1), []string{"metadata.labels.team", `"a b"`, "at most 63 letters", "metadata.labels.tier", "in quotes"}},
		{"an annotation that Kubernetes refuses", strings.Replace(good, "name: orders}", "name: orders, annotations: {a b: c}}", 1), []string{"metadata.annotations.a b", "example.com/team"}},
		{"a name with an empty part", strings.Replace(good, "name: orders}", "name: orders..eu}", 1), []string{"metadata.name", "orders..eu", "around each '.'"}},
		{"faults of header and spec together", strings.Replace(good, "name: orders}", "name: Orders}", 1) + "  nope: 1\n", []string{"metadata.name", "spec.nope"}},
		{"a whole number with a fraction", good + "  retry: {attempts: 2.5}\n", []string{"spec.retry.attempts", "2.5", "must be of type integer"}},
		{"a stray field at the top", good + "data: {}\n", []string{"data", "no such field"}},
		{"the same key twice", good + "  effect: enforce\n  effect: shadow\n", []string{"spec.effect", "twice", "p.yaml:7"}},
		{"an alias", head + "spec: &a\n  targetRefs: [{kind: Mesh}]\n  retry: *a\n", []string{"spec.retry", "write the value out"}},
		{"a list instead of a document", "- a\n- b\n", []string{"must be an object", "a list"}},
		{"a file cut in half", good[:len(good)-20], []string{"p.yaml", "is not YAML"}},
		{"a deep nest", strings.Repeat("[", 100_000), []string{"levels deep"}},
		{"a deep nest in blocks", deepBlocks(200), []string{"levels deep"}},
		{"a megabyte", head + "# " + strings.Repeat("x", 1<<20), []string{"1048", "may have 524288"}},
		{"bytes that are not UTF-8", good + "# \xff\n", []string{"not UTF-8", "line 6"}},
		{"a tab as indentation", head + "spec:\n\ttargetRefs: []\n", []string{"is not YAML", "p.yaml:"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := policy.Decode("p.yaml", []byte(tc.in))
			if len(p.Documents) != 0 || len(p.Refused) == 0 {
				t.Fatalf("accepted %d, refused %d", len(p.Documents), len(p.Refused))
			}
			var all []string
			for _, f := range p.Refused[0].Faults {
				all = append(all, f.Error())
			}
			for _, want := range tc.want {
				if !strings.Contains(strings.Join(all, "\n"), want) {
					t.Errorf("faults\n%s\ndo not say %q", strings.Join(all, "\n"), want)
				}
			}
		})
	}
}

func deepBlocks(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func TestAllFaultsOfADocumentComeTogether(t *testing.T) {
	p := policy.Decode("p.yaml", []byte(good+"  retry: {attempts: 99, nope: 1}\n  timeouts: {request: soon}\n"))
	if len(p.Refused) != 1 || len(p.Refused[0].Faults) != 3 {
		t.Fatalf("faults: %v", p.Refused)
	}
}

func TestABadDocumentDoesNotTakeItsNeighboursDown(t *testing.T) {
	other := strings.Replace(good, "name: orders", "name: billing", 2)
	p := policy.Decode("p.yaml", []byte(other+"---\n"+good+"  nope: 1\n--- # comment\n"))
	if len(p.Documents) != 1 || p.Documents[0].Name != "billing" || len(p.Refused) != 1 {
		t.Fatalf("documents %v, refused %v", p.Documents, p.Refused)
	}
	if f := p.Refused[0].Faults[0]; f.Source != "p.yaml#2" || f.Key.Name != "orders" || f.Line != 12 {
		t.Errorf("fault at %s:%d of %s", f.Source, f.Line, f.Key)
	}
}

func TestADocumentThatIsThereTwiceIsRefusedInBothPlaces(t *testing.T) {
	p := policy.Join(policy.Decode("a.yaml", []byte(good)), policy.Decode("b.yaml", []byte(good)))
	if len(p.Documents) != 0 || len(p.Refused) != 2 {
		t.Fatalf("documents %v, refused %v", p.Documents, p.Refused)
	}
	for i, other := range []string{"b.yaml", "a.yaml"} {
		if msg := p.Refused[i].Faults[0].Error(); !strings.Contains(msg, other) {
			t.Errorf("%q does not name %s", msg, other)
		}
	}
}

func TestTheSameDocumentInYAMLAndJSONHasOneHash(t *testing.T) {
	a := policy.Decode("a.yaml", []byte(good))
	b := policy.Decode("b.json", []byte(`{"kind":"ResiliencePolicy","apiVersion":"meshlite.dev/v1alpha1","spec":{"targetRefs":[{"name":"orders","kind":"Service"}]},"metadata":{"name":"orders","namespace":"default"}}`))
	if len(a.Documents) != 1 || len(b.Documents) != 1 || a.Documents[0].Hash != b.Documents[0].Hash {
		t.Fatalf("%v\n%v", a, b)
	}
	c, err := policy.DecodeCanonical("state", a.Documents[0].Canonical)
	if err != nil || c.Hash != a.Documents[0].Hash {
		t.Fatalf("read back: %v, %v", c, err)
	}
}

func TestAnEmptyFileHoldsNothingAndIsNoFault(t *testing.T) {
	for _, in := range []string{"", "\n\n", "# nothing yet\n", "---\n---\n", "\xef\xbb\xbf"} {
		if p := policy.Decode("p.yaml", []byte(in)); len(p.Documents)+len(p.Refused) != 0 {
			t.Errorf("%q gave %v", in, p)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{good, good + "---\n" + good, "{}", "- - -", "a: &a [*a]", "? {a: b}", strings.Repeat("{a: ", 50), good + "  retry: {attempts: 0x1_0}\n"} {
		f.Add([]byte(seed))
	}
	for _, text := range fullDocuments(f) {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p := policy.Decode("fuzz", data)
		for _, d := range p.Documents {
			again, err := policy.DecodeCanonical("again", d.Canonical)
			if err != nil || again.Hash != d.Hash || !bytes.Equal(again.Canonical, d.Canonical) {
				t.Fatalf("canonical form is not stable: %v\n%s", err, d.Canonical)
			}
		}
		for _, r := range p.Refused {
			if len(r.Faults) == 0 {
				t.Fatal("refused without a reason")
			}
		}
	})
}

// TestLabelsOfWhatIsRefusedAreKnown, so that it can be chosen by them.
func TestLabelsOfWhatIsRefusedAreKnown(t *testing.T) {
	p := policy.Decode("a.yaml", []byte(strings.Replace(good, "name: orders}", "name: orders, labels: {team: shop}}", 1)+"---\n"+
		strings.NewReplacer("name: orders}", "name: bad, labels: {team: web}}", "spec:", "frob: 1\nspec:").Replace(good)))
	labels := p.Labels()
	for name, want := range map[string]string{"orders": "shop", "bad": "web"} {
		if got := labels[policy.Key{Kind: policy.KindResiliencePolicy, Namespace: "default", Name: name}]["team"]; got != want {
			t.Errorf("%s is labelled %q, want %q; refused %v", name, got, want, p.Refused)
		}
	}
	if len(p.Documents) != 1 || len(p.Refused) != 1 {
		t.Errorf("%d documents, refused %v", len(p.Documents), p.Refused)
	}
}
