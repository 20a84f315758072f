package load

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var start = time.Unix(1_800_000_000, 0)

func TestTheWindowSlides(t *testing.T) {
	tab := newTable(10)
	var before map[string]sample
	for i := range 3 {
		after := map[string]sample{"orders": {successes: 10, errors: 2, dropped: 1, inProgress: 4, rate: 1.3}}
		tab.record("web", start.Add(time.Duration(i)*4*time.Minute), before, after)
		before = after
	}
	for _, tc := range []struct {
		name  string
		after time.Duration
		want  []Edge
	}{
		{"all reports are within it", 8 * time.Minute, []Edge{{
			From: "web", To: "orders", Successes: 30, Errors: 6, Dropped: 3,
			TotalSuccesses: 30, TotalErrors: 6, TotalDropped: 3, InProgress: 4, Rate: 1.3}}},
		{"the oldest has left it, totals stay", 12 * time.Minute, []Edge{{
			From: "web", To: "orders", Successes: 20, Errors: 4, Dropped: 2,
			TotalSuccesses: 30, TotalErrors: 6, TotalDropped: 3, InProgress: 4, Rate: 1.3}}},
		{"an edge without a call for a whole window is forgotten", 18 * time.Minute, []Edge{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, tab.graph(start.Add(tc.after))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestProxiesOfOneServiceAddUpAndAGoneOneTakesItsGaugesAlong(t *testing.T) {
	tab := newTable(10)
	one := map[string]sample{"orders": {successes: 5, inProgress: 2, rate: 0.5}}
	two := map[string]sample{"orders": {errors: 3, inProgress: 1, rate: 0.3}}
	tab.record("web", start, nil, one)
	tab.record("web", start, nil, two)
	tab.record("web", start, one, nil)
	want := []Edge{{From: "web", To: "orders", Successes: 5, Errors: 3, TotalSuccesses: 5, TotalErrors: 3, InProgress: 1, Rate: 0.3}}
	if diff := cmp.Diff(want, tab.graph(start), cmpopts.EquateApprox(0, 1e-9)); diff != "" {
		t.Error(diff)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	tab := newTable(3)
	for i := range 10 {
		tab.record("web", start, nil, map[string]sample{fmt.Sprintf("s%d", i): {successes: 1}})
	}
	if got := len(tab.graph(start)); got != 3 || tab.ignored != 7 {
		t.Fatalf("%d edges kept and %d samples ignored, want 3 and 7", got, tab.ignored)
	}
	later := start.Add(Window)
	tab.record("web", later, nil, map[string]sample{"new": {successes: 1}})
	tab.record("web", later.Add(step), nil, map[string]sample{"new": {successes: 1}})
	if got := tab.graph(later.Add(step)); len(got) != 1 || got[0].To != "new" {
		t.Fatalf("edges after a window of silence: %v; want the new one alone", got)
	}
	for i := range 1000 {
		tab.record("web", later.Add(time.Duration(i)*step), nil, map[string]sample{"new": {successes: 1}})
	}
	if n := len(tab.edges[pair{"web", "new"}].buckets); n > int(Window/step) {
		t.Fatalf("%d buckets, want at most %d", n, Window/step)
	}
}
