package filter_test

import (
	"context"
	"strings"
	"testing"

	"meshlite.dev/internal/policy/filter"
)

func event() map[string]any {
	return map[string]any{
		"type": "order.created", "subject": "eu/17",
		"data": map[string]any{"total": 120.5, "items": []any{"a", "b"}, "paid": true},
	}
}

func TestFiltersPassWhatTheySay(t *testing.T) {
	for _, tc := range []struct {
		name, expression string
		want             bool
	}{
		{"a prefix", `event.subject.startsWith("eu/")`, true},
		{"a double against an int", `event.data.total > 100`, true},
		{"a regex must match a part only", `event.type.matches("^order")`, true},
		{"a loop over a list", `event.data.items.exists(i, i == "c")`, false},
		{"a field of type bool", `event.data.paid`, true},
		{"a field that is not there", `has(event.data.vip) && event.data.vip`, false},
		{"an optional field", `event.data.?vip.orValue(true)`, true},
		{"a string function", `event.type.split(".")[1] == "created"`, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := filter.Compile(tc.expression)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := f.Match(t.Context(), event()); got != tc.want || err != nil {
				t.Errorf("Match = %v, %v; want %v", got, err, tc.want)
			}
		})
	}
}

func TestBadFiltersSayWhatIsWrong(t *testing.T) {
	for _, tc := range []struct{ name, expression, want string }{
		{"a name that is none", `evnt.type == "a"`, "column 1: undeclared reference to 'evnt'"},
		{"half an expression", `event.type ==`, "line 1, column 14"},
		{"a type that cannot match", `event.type + 5 > "a" && 5 == "a"`, "no matching overload"},
		{"no condition", `"order"`, "is string, a filter is true or false"},
		{"a regex that is none", `event.type.matches("a(b")`, "missing closing )"},
		{"a loop in a loop in a loop", `event.a.all(x, event.a.all(y, event.a.all(z, x + y == z)))`, "loop in a loop"},
		{"a nest", strings.Repeat("(", 500) + "true" + strings.Repeat(")", 500), "recursion"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := filter.Compile(tc.expression); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v does not say %q", err, tc.want)
			}
		})
	}
}

func TestWhatHasNoAnswerIsAnError(t *testing.T) {
	large := make([]any, 2_000_000)
	for i := range large {
		large[i] = i
	}
	for _, tc := range []struct {
		name, expression, want string
		event                  map[string]any
	}{
		{"a missing field", `event.data.vip`, "no such key: vip", event()},
		{"a number instead of a condition", `event.data.total`, "not true or false", event()},
		{"an event that costs too much", `event.data.all(i, i >= 0)`, "cost limit", map[string]any{"data": large}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := filter.Compile(tc.expression)
			if err != nil {
				t.Fatal(err)
			}
			if pass, err := f.Match(t.Context(), tc.event); pass || err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Match = %v, %v; want an error with %q", pass, err, tc.want)
			}
		})
	}
}

func TestAFilterEndsWithItsContext(t *testing.T) {
	f, err := filter.Compile(`event.data.all(i, i >= 0)`)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	list := make([]any, 4096)
	for i := range list {
		list[i] = i
	}
	if pass, err := f.Match(ctx, map[string]any{"data": list}); pass || err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("Match = %v, %v after ctx ended", pass, err)
	}
}

func FuzzCompile(f *testing.F) {
	for _, seed := range []string{`event.subject.startsWith("eu/")`, `event.?a.b[0] == 1u`, `[1].map(x, x)`, `{`, `"\xff"`, `event.a.all(x, x)`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, expression string) {
		compiled, err := filter.Compile(expression)
		if err != nil {
			if err.Error() == "" {
				t.Error("refused without a reason")
			}
			return
		}
		_, _ = compiled.Match(t.Context(), event()) // no panic is all that is asked
	})
}
