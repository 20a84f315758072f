package revision_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/revision"
	"meshlite.dev/internal/store/mem"
)

// While a freeze stands, nobody who shares the store moves the pointer; what
// changes nothing is no move. The end of it lets the newest proposal in.
func TestAFreezeKeepsTheRevisionInForce(t *testing.T) {
	shared := mem.New()
	k, other := revision.New(shared), revision.New(shared)
	before, err := k.Propose(t.Context(), policy.Decode("a.yaml", []byte(frozenDocument("2"))))
	if err != nil {
		t.Fatal(err)
	}
	if err := other.SetFreeze(t.Context(), &revision.Freeze{Reason: "sale", Since: time.Unix(1, 0)}); err != nil {
		t.Fatal(err)
	}
	next := policy.Decode("a.yaml", []byte(frozenDocument("3")))
	for _, keeper := range []*revision.Keeper{k, other} {
		if _, err := keeper.Propose(t.Context(), next); !errors.Is(err, revision.ErrFrozen) || !strings.Contains(err.Error(), "sale") {
			t.Errorf("Propose = %v, want ErrFrozen with its reason", err)
		}
		if same, err := keeper.Propose(t.Context(), policy.Decode("a.yaml", []byte(frozenDocument("2")))); err != nil || same.Hash != before.Hash {
			t.Errorf("what is in force, proposed again: %v %v", same.Hash, err)
		}
	}
	if f, ok, err := revision.New(shared).Frozen(t.Context()); !ok || err != nil || f.Reason != "sale" {
		t.Errorf("a keeper that starts sees %+v %v %v", f, ok, err)
	}
	if err := k.SetFreeze(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if after, err := other.Propose(t.Context(), next); err != nil || after.Number != before.Number+1 {
		t.Errorf("after the end: revision %d, %v", after.Number, err)
	}
}

func frozenDocument(attempts string) string {
	return "apiVersion: meshlite.dev/v1alpha1\nkind: ResiliencePolicy\nmetadata: {name: a}\nspec:\n  targetRefs: [{kind: Mesh}]\n  retry: {attempts: " + attempts + "}\n"
}
