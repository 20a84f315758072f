package policy_test

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"meshlite.dev/internal/policy"
)

// fullDocuments are right, and set every field of every kind.
func fullDocuments(t testing.TB) map[string]string {
	t.Helper()
	files, err := filepath.Glob("testdata/full/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	texts := map[string]string{}
	for _, file := range files {
		texts[filepath.Base(file)] = read(t, file)
	}
	return texts
}

// TestEveryFieldSurvivesTheWayThroughTheStore: what is read, kept in its
// canonical form and read again is the same, and no Go type loses a field.
func TestEveryFieldSurvivesTheWayThroughTheStore(t *testing.T) {
	kinds := map[string]bool{}
	for name, text := range fullDocuments(t) {
		p := policy.Decode(name, []byte(text))
		if len(p.Refused) > 0 {
			t.Errorf("%v", p.Refused)
		}
		for _, d := range p.Documents {
			kinds[d.Kind] = true
			again, err := policy.DecodeCanonical(name, d.Canonical)
			if err != nil {
				t.Fatal(err)
			}
			if again.Hash != d.Hash || !bytes.Equal(again.Canonical, d.Canonical) || !reflect.DeepEqual(specOf(again), specOf(d)) {
				t.Errorf("%s is not the same when it is read again:\n%s\n%s", d.Key, d.Canonical, again.Canonical)
			}
			var canonical struct{ Spec map[string]any }
			var typed map[string]any
			raw, err := json.Marshal(specOf(d))
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(raw, &typed); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(d.Canonical, &canonical); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(canonical.Spec, typed); diff != "" {
				t.Errorf("%s: the Go type differs from the document (-document +type):\n%s", d.Key, diff)
			}
		}
	}
	for _, kind := range policy.Kinds() {
		if !kinds[kind] {
			t.Errorf("no document of kind %s", kind)
		}
	}
}

func specOf(d *policy.Document) any {
	switch {
	case d.Route != nil:
		return d.Route
	case d.Subscription != nil:
		return d.Subscription
	default:
		return d.Resilience
	}
}
