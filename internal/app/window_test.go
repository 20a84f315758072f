package app

import (
	"slices"
	"testing"
	"time"
)

func TestEndpointChangesLeaveAtOnceAndThenLessOften(t *testing.T) {
	w, start := newWindows(), time.Unix(0, 0)
	var went []time.Duration
	for ms := range 500 { // a change every millisecond
		now := start.Add(time.Duration(ms) * time.Millisecond)
		w.note("orders", false, now)
		if due, _ := w.take(now); len(due) > 0 {
			went = append(went, now.Sub(start))
		}
	}
	ms := time.Millisecond
	want := []time.Duration{0, 20 * ms, 60 * ms, 140 * ms, 240 * ms, 340 * ms, 440 * ms}
	if !slices.Equal(went, want) {
		t.Fatalf("left at %v, want %v", went, want)
	}
}

func TestOneServicesChurnDoesNotDelayAnother(t *testing.T) {
	w, now := newWindows(), time.Unix(0, 0)
	w.note("orders", false, now)
	w.take(now)
	w.note("orders", false, now)
	w.note("billing", false, now)
	if due, next := w.take(now); !slices.Equal(due, []string{"billing"}) || !next.Equal(now.Add(endpointsFirst)) {
		t.Fatalf("due %v, next %v; want billing now and orders after %v", due, next, endpointsFirst)
	}
}

func TestStructureWaitsForQuietButNotForever(t *testing.T) {
	w, start := newWindows(), time.Unix(0, 0)
	w.note("orders", true, start)
	if _, next := w.take(start); !next.Equal(start.Add(structureQuiet)) {
		t.Fatalf("one change is due at %v, want %v", next.Sub(start), structureQuiet)
	}
	for ms := range 200 {
		now := start.Add(time.Duration(ms) * time.Millisecond)
		w.note("orders", true, now)
		if due, _ := w.take(now); len(due) > 0 {
			if now.Sub(start) != structureAtMost {
				t.Fatalf("under churn structure left after %v, want %v", now.Sub(start), structureAtMost)
			}
			return
		}
	}
	t.Fatal("structure never left")
}

func TestACalmServiceStartsAnew(t *testing.T) {
	w, now := newWindows(), time.Unix(0, 0)
	for range 10 {
		w.note("orders", false, now)
		w.take(now)
		now = now.Add(endpointsWidest)
	}
	now = now.Add(endpointsCalm)
	w.note("orders", false, now)
	if due, _ := w.take(now); len(due) != 1 {
		t.Fatal("after a calm second the first change must leave at once")
	}
	w.note("orders", false, now)
	if _, next := w.take(now); !next.Equal(now.Add(endpointsFirst)) {
		t.Fatalf("next leaves after %v, want %v", next.Sub(now), endpointsFirst)
	}
}
