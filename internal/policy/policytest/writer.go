package policytest

import (
	"errors"
	"strings"
	"testing"

	"meshlite.dev/internal/policy"
)

// Put is the change that writes a ResiliencePolicy with so many attempts;
// version is what must be there.
func Put(t *testing.T, name string, attempts int, version string) policy.Change {
	t.Helper()
	p := policy.Decode("policytest", []byte(document(name, attempts)))
	if len(p.Documents) != 1 {
		t.Fatalf("%v", p.Refused)
	}
	return policy.Change{Key: p.Documents[0].Key, Document: p.Documents[0], Version: version}
}

// Held is what a writer holds of one document; the zero value is nothing.
func Held(t *testing.T, w policy.Writer, k policy.Key) policy.Held {
	t.Helper()
	all, err := w.Held(t.Context(), []policy.Key{k})
	if err != nil {
		t.Fatal(err)
	}
	return all[k]
}

// RunWriter checks that a document which moved is not overwritten, nor
// anything else of its change set. The writer's carrier is empty.
func RunWriter(t *testing.T, w policy.Writer) {
	first, other := Put(t, "orders", 1, policy.Absent), Put(t, "other", 1, "")
	if err := w.Write(t.Context(), []policy.Change{first}); err != nil {
		t.Fatal(err)
	}
	read := Held(t, w, first.Key)
	if first.Result(map[policy.Key]policy.Held{first.Key: read}) != policy.Unchanged || read.Version == "" {
		t.Fatalf("held %q, version %q", read.Text, read.Version)
	}
	if err := w.Write(t.Context(), []policy.Change{Put(t, "orders", 2, read.Version)}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]policy.Change{
		"a newer version":   Put(t, "orders", 3, read.Version),
		"it was created":    Put(t, "orders", 3, policy.Absent),
		"it was deleted":    Put(t, "gone", 3, read.Version),
		"removed, newer":    {Key: first.Key, Version: read.Version},
		"removed, appeared": {Key: first.Key, Version: policy.Absent},
	} {
		for step, err := range map[string]error{
			"Check": w.Check(t.Context(), []policy.Change{other, c}),
			"Write": w.Write(t.Context(), []policy.Change{other, c}),
		} {
			if !errors.Is(err, policy.ErrChanged) || !strings.Contains(err.Error(), c.Key.String()) || strings.Contains(err.Error(), "other") {
				t.Errorf("%s: %s: %v", name, step, err)
			}
		}
	}
	if h := Held(t, w, other.Key); h.Version != "" {
		t.Errorf("half a change set was written: %s", h.Text)
	}
	two := Put(t, "orders", 2, "")
	if now := Held(t, w, first.Key); two.Result(map[policy.Key]policy.Held{first.Key: now}) != policy.Unchanged {
		t.Errorf("overwritten: %s", now.Text)
	}
	now := Held(t, w, first.Key).Version
	if err := w.Write(t.Context(), []policy.Change{{Key: first.Key, Version: now}, {Key: other.Key, Version: policy.Absent}}); err != nil {
		t.Fatal(err)
	}
	if h := Held(t, w, first.Key); h.Version != "" {
		t.Errorf("still there: %s", h.Text)
	}
	keepsLabels(t, w)
}

// keepsLabels checks that labels and annotations come back as they were written,
// and that another one is a change.
func keepsLabels(t *testing.T, w policy.Writer) {
	c := Put(t, "labelled", 1, policy.Absent)
	c.Document.Labels, c.Document.Annotations = map[string]string{"team": "shop"}, map[string]string{"example.com/note": "a: b"}
	if err := w.Write(t.Context(), []policy.Change{c}); err != nil {
		t.Fatal(err)
	}
	held := map[policy.Key]policy.Held{c.Key: Held(t, w, c.Key)}
	p := policy.Decode("held", held[c.Key].Text)
	if len(p.Documents) != 1 || p.Documents[0].Labels["team"] != "shop" || p.Documents[0].Annotations["example.com/note"] != "a: b" || p.Documents[0].Hash != c.Document.Hash {
		t.Fatalf("held %s: %v", held[c.Key].Text, p.Refused)
	}
	if got := c.Result(held); got != policy.Unchanged {
		t.Errorf("the same again is %s", got)
	}
	if p.Documents[0].Labels["team"] = "web"; (policy.Change{Key: c.Key, Document: p.Documents[0]}).Result(held) != policy.Configured {
		t.Error("another label is no change")
	}
	if err := w.Write(t.Context(), []policy.Change{{Key: c.Key}}); err != nil {
		t.Fatal(err)
	}
}
