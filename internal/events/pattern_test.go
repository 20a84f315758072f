package events_test

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"meshlite.dev/internal/events"
)

func TestPatterns(t *testing.T) {
	for _, tc := range []struct {
		pattern string
		yes, no []string
	}{
		{"order.created", []string{"order.created"}, []string{"order", "order.created.eu", "orders.created"}},
		{"order.*", []string{"order.created"}, []string{"order", "order.a.b"}},
		{"order.#", []string{"order", "order.a", "order.a.b"}, []string{"orders"}},
		{"#", []string{"a", "a.b.c"}, nil},
		{"#.created", []string{"created", "order.created", "a.b.created"}, []string{"created.x"}},
		{"*.#.*", []string{"a.b", "a.b.c"}, []string{"a"}},
		{"a.#.#.b", []string{"a.b", "a.x.b"}, []string{"a"}},
	} {
		p, err := events.ParsePattern(tc.pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, typ := range tc.yes {
			if !p.Match(typ) {
				t.Errorf("%s does not pick %s", tc.pattern, typ)
			}
		}
		for _, typ := range tc.no {
			if p.Match(typ) {
				t.Errorf("%s picks %s", tc.pattern, typ)
			}
		}
	}
	for _, bad := range []string{"", ".", "a..b", "a.", "a b", "or*er", strings.Repeat("a", 256)} {
		if _, err := events.ParsePattern(bad); err == nil {
			t.Errorf("%q is taken for a pattern", bad)
		}
	}
}

// TestPatternsAgreeWithRegularExpressions written by the rules of AMQP.
func TestPatternsAgreeWithRegularExpressions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "*", "#"}), 1, 5).Draw(t, "pattern")
		typ := "." + strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b"}), 1, 6).Draw(t, "type"), ".")
		form := strings.NewReplacer("*", `[ab]`).Replace("." + strings.Join(words, "."))
		form = strings.ReplaceAll(strings.ReplaceAll(form, ".#", `(~[ab])*`), ".", `\.`)
		want := regexp.MustCompile("^" + strings.ReplaceAll(form, "~", `\.`) + "$").MatchString(typ)
		p, err := events.ParsePattern(strings.Join(words, "."))
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Match(typ[1:]); got != want {
			t.Errorf("%v picks %s: %t, want %t", words, typ[1:], got, want)
		}
	})
}

func TestTypesAreDescribed(t *testing.T) {
	seen := map[string]bool{}
	for _, one := range events.Types() {
		if seen[one.Name] || !strings.HasPrefix(one.Name, events.Reserved) || !strings.HasSuffix(one.When, ".") {
			t.Errorf("%+v", one)
		}
		seen[one.Name] = true
		s := events.Schema(one.Data)
		properties := s["properties"].(map[string]any)
		if len(properties) != reflect.TypeOf(one.Data).NumField() {
			t.Errorf("%s: %v", one.Name, s)
		}
		for name, p := range properties {
			if p.(map[string]any)["description"] == nil {
				t.Errorf("%s: %s has no description", one.Name, name)
			}
		}
	}
	if len(seen) < 15 {
		t.Errorf("only %d types", len(seen))
	}
}

func TestAnIDIsThatOfItsParts(t *testing.T) {
	id := events.ID("m", "t", "s", "1", []byte("x"))
	if id != events.ID("m", "t", "s", "1", []byte("x")) || len(id) != 32 {
		t.Errorf("id %q is not always the same", id)
	}
	for _, other := range []string{
		events.ID("mt", "", "s", "1", []byte("x")), events.ID("m", "t", "s1", "", []byte("x")), events.ID("m", "t", "s", "2", []byte("x")), events.ID("m", "t", "s", "1", nil),
	} {
		if other == id {
			t.Error("two facts have one id")
		}
	}
}
