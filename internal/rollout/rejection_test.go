package rollout_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/revision"
	"meshlite.dev/internal/rollout"
)

func key(name string) policy.Key {
	return policy.Key{Kind: policy.KindResiliencePolicy, Namespace: "default", Name: name}
}

// rejected is a rejection of what a proposal has of a document.
func rejected(name string, generation int64, of policy.Proposal) rollout.Rejection {
	r := rollout.Rejection{Key: key(name), Generation: generation, Reason: "no", Rollout: "r1"}
	for _, d := range of.Documents {
		if d.Name == name {
			r.Hash = d.Hash
		}
	}
	return r
}

func TestApply(t *testing.T) {
	inForce := revision.Decide(policy.Revision{}, holding(doc("a", 1), doc("b", 1)))
	broken := holding(doc("b", 1), "kind: ResiliencePolicy\nmetadata: {name: a}\nspec: 7\napiVersion: meshlite.dev/v1alpha1\n")
	for _, tt := range []struct {
		name     string
		proposed policy.Proposal
		of       rollout.Rejection
		want     string
		kept     bool
	}{
		{"the rejected version", holding(doc("a", 7), doc("b", 2)), rejected("a", 2, holding(doc("a", 7))), "a@1=1 b@2=2", true},
		{"an edit after it", holding(doc("a", 8), doc("b", 1)), rejected("a", 4, holding(doc("a", 7))), "a@5=8 b@1=1", false},
		{"back to what is in force", holding(doc("a", 1), doc("b", 1)), rejected("a", 2, holding(doc("a", 7))), "a@1=1 b@1=1", false},
		{"taken away after it", holding(doc("b", 1)), rejected("a", 2, holding(doc("a", 7))), "b@1=1", false},
		{"a rejected deletion", holding(doc("b", 1)), rejected("a", 0, policy.Proposal{}), "a@1=1 b@1=1", true},
		{"an edit after a rejected deletion", holding(doc("a", 5), doc("b", 1)), rejected("a", 0, policy.Proposal{}), "a@2=5 b@1=1", false},
		{"a rejected new one", holding(doc("a", 1), doc("b", 1), doc("c", 7)), rejected("c", 1, holding(doc("c", 7))), "a@1=1 b@1=1", true},
		{"an edit of a rejected new one", holding(doc("a", 1), doc("b", 1), doc("c", 2)), rejected("c", 1, holding(doc("c", 7))), "a@1=1 b@1=1 c@2=2", false},
		{"an edit that cannot be read", broken, rejected("a", 2, holding(doc("a", 7))), "a@1=1 b@1=1", true},
	} {
		applied, kept := rollout.Apply(inForce, tt.proposed, []rollout.Rejection{tt.of})
		if got := pins(revision.Decide(inForce, applied)); got != tt.want || (len(kept) == 1) != tt.kept {
			t.Errorf("%s: %s, kept %v; want %s, %v", tt.name, got, kept, tt.want, tt.kept)
		}
	}
}

func TestBlame(t *testing.T) {
	before := revision.Decide(policy.Revision{}, holding(doc("a", 1), doc("b", 1), doc("c", 1)))
	after := revision.Decide(before, holding(doc("a", 2), doc("b", 2)))
	all := revision.Changed(before, after)
	for _, tt := range []struct {
		policies []string
		want     []policy.Key
	}{
		{[]string{"rp/default/a@2", "mesh-default"}, []policy.Key{key("a")}},
		{[]string{"rp/default/c@1"}, []policy.Key{key("c")}}, // it went, and was part of what was
		{[]string{"rp/default/z@1"}, all},
		{nil, all},
	} {
		if got := rollout.Blame(all, before, after, tt.policies); !slices.Equal(got, tt.want) {
			t.Errorf("%v blames %v, want %v", tt.policies, got, tt.want)
		}
	}
}

// TestRejectionsHoldAndLift: whatever is proposed in whatever order, no rejected
// version comes in force, nor another under its generation, everything else does,
// and what is applied twice stays the same.
func TestRejectionsHoldAndLift(t *testing.T) {
	names := []string{"a", "b", "c"}
	var proposals []policy.Proposal
	for n := range 64 {
		var docs []string
		for i, name := range names {
			if attempts := n >> (2 * i) & 3; attempts > 0 {
				docs = append(docs, doc(name, attempts))
			}
		}
		proposals = append(proposals, holding(docs...))
	}
	rapid.Check(t, func(t *rapid.T) {
		var inForce policy.Revision
		var rejections []rollout.Rejection
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			p := proposals[rapid.IntRange(0, len(proposals)-1).Draw(t, "proposal")]
			applied, kept := rollout.Apply(inForce, p, rejections)
			next := revision.Decide(inForce, applied)
			changes := revision.Changed(inForce, next)
			for _, d := range next.Documents {
				if !slices.Contains(changes, d.Key) {
					continue
				}
				for _, r := range rejections {
					if r.Key == d.Key && (r.Hash == d.Hash || r.Generation >= d.Generation) {
						t.Fatalf("%s would come in force, %d attempts, and rejected is generation %d", d.Ref(), *d.Resilience.Retry.Attempts, r.Generation)
					}
				}
			}
			if len(changes) > 0 && rapid.Bool().Draw(t, "refused") {
				blamed := changes[:1]
				rejections = rollout.Reject(kept, next, blamed, rollout.Rejection{Reason: "no", Rollout: "r"})
				again, _ := rollout.Apply(inForce, p, rejections)
				if left := revision.Changed(inForce, revision.Decide(inForce, again)); slices.Contains(left, blamed[0]) {
					t.Fatalf("%v is refused, and still a change", blamed)
				}
				continue
			}
			inForce, rejections = next, kept
			same, keeps := rollout.Apply(inForce, p, rejections)
			if again := revision.Decide(inForce, same); again.Hash != inForce.Hash || fmt.Sprint(keeps) != fmt.Sprint(rejections) {
				t.Fatalf("the same once more: %s, was %s; rejections %v, were %v", pins(again), pins(inForce), keeps, rejections)
			}
		}
	})
}
