package catalog_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
)

var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// instances of a service, numbered.
func instances(service string, numbers ...int) []mesh.Endpoint {
	var es []mesh.Endpoint
	for _, n := range numbers {
		es = append(es, mesh.Endpoint{ID: fmt.Sprint(service, "-", n), Address: fmt.Sprintf("10.0.%d.1", n), Port: 80, Weight: 1})
	}
	return es
}

func upTo(n int) (numbers []int) {
	for i := range n {
		numbers = append(numbers, i+1)
	}
	return numbers
}

func served(g *catalog.Guard, service string) string {
	var out []string
	for _, e := range g.Served(service) {
		out = append(out, strings.TrimPrefix(e.ID, service+"-"))
	}
	return strings.Join(out, " ")
}

func holds(g *catalog.Guard, now time.Time) string {
	var out []string
	for _, h := range g.Holds(now) {
		out = append(out, fmt.Sprintf("%s %s: %s", h.Service, strings.Join(h.Lost, ","), h.Reason))
	}
	return strings.Join(out, "; ")
}

// world is a guard over services of ten instances.
func world(services ...string) *catalog.Guard {
	g := catalog.NewGuard(catalog.GuardConfig{Settle: time.Second})
	for _, s := range services {
		g.Observe(start, catalog.Answer{Service: s, Endpoints: instances(s, upTo(10)...)})
	}
	return g
}

// A loss is kept until one read confirms it, and then goes through at once.
func TestP3GuardBelievesAConfirmedLoss(t *testing.T) {
	g := world("orders")
	without := catalog.Answer{Service: "orders", Endpoints: instances("orders", upTo(9)...), Op: 1}
	g.Observe(start, without)
	if got := served(g, "orders"); len(strings.Fields(got)) != 10 {
		t.Fatalf("before the confirming read: %s", got)
	}
	if asks := g.Ask(start, 5); !slices.Equal(asks, []string{"orders"}) {
		t.Fatalf("asks for %v", asks)
	}
	if asks := g.Ask(start, 5); len(asks) != 0 {
		t.Fatalf("asks twice at a time: %v", asks)
	}
	without.Trust = catalog.Confirmed
	g.Observe(start, without)
	g.Tick(start.Add(time.Second))
	if got := served(g, "orders"); len(strings.Fields(got)) != 9 {
		t.Errorf("after it: %s; holds %s", got, holds(g, start))
	}
}

// A read that is refused or filtered confirms nothing, however often.
func TestP3GuardRefusedReadsConfirmNothing(t *testing.T) {
	g := world("orders")
	now := start
	for range 100 {
		g.Observe(now, catalog.Answer{Service: "orders"})
		for _, name := range g.Ask(now, 5) {
			g.Observe(now, catalog.Answer{Service: name, Trust: catalog.Refused, Reason: "filtered by ACLs"})
		}
		now = now.Add(time.Minute)
		g.Tick(now)
	}
	if got := served(g, "orders"); len(strings.Fields(got)) != 10 {
		t.Fatalf("served: %s", got)
	}
	if got := holds(g, now); !strings.Contains(got, "filtered by ACLs") {
		t.Errorf("holds: %s", got)
	}
}

// loseAll makes each service lose everything, confirmed.
func loseAll(g *catalog.Guard, now time.Time, trust catalog.Trust, services ...string) {
	for i, s := range services {
		g.Observe(now, catalog.Answer{Service: s, Op: uint64(i + 1)})
		g.Ask(now, len(services))
		g.Observe(now, catalog.Answer{Service: s, Trust: trust, Op: uint64(i + 1)})
	}
	g.Tick(now.Add(time.Second))
}

// Three services that lose all at once are held although a read confirms it;
// what the source adds meanwhile is served; the hold ends by a confirming read
// after ten minutes, or at once by hand.
func TestP3GuardHoldsAMassLoss(t *testing.T) {
	names := []string{"a", "b", "c"}
	for _, by := range []string{"time", "hand"} {
		g := world(names...)
		loseAll(g, start, catalog.Confirmed, names...)
		for _, n := range names {
			if got := len(g.Served(n)); got != 10 {
				t.Fatalf("%s serves %d", n, got)
			}
		}
		if got := holds(g, start.Add(time.Second)); strings.Count(got, "mass loss") != 3 {
			t.Fatalf("holds: %s", got)
		}
		g.Observe(start, catalog.Answer{Service: "a", Endpoints: instances("a", 11)})
		if got := served(g, "a"); !strings.Contains(got, "11") || len(strings.Fields(got)) != 11 {
			t.Errorf("a new instance beside held ones: %s", got)
		}
		if by == "hand" {
			if got := g.Accept([]string{"b", "nobody"}, false); !slices.Equal(got, []string{"b"}) || len(g.Served("b")) != 0 || len(g.Served("c")) != 10 {
				t.Errorf("accepted %v; b serves %d, c %d", got, len(g.Served("b")), len(g.Served("c")))
			}
			continue
		}
		late := start.Add(11 * time.Minute)
		if got := g.Ask(late, 5); !slices.Equal(got, names) {
			t.Fatalf("after ten minutes it asks for %v", got)
		}
		for _, n := range names {
			g.Observe(late, catalog.Answer{Service: n, Trust: catalog.Confirmed})
		}
		g.Tick(late.Add(time.Second))
		if len(g.Served("b"))+len(g.Served("c")) != 0 {
			t.Errorf("after ten minutes and a confirming read: %s", holds(g, late))
		}
	}
}

// An index that went backwards holds any loss, one instance too.
func TestP3GuardHoldsWhatARestoredSourceLost(t *testing.T) {
	g := world("orders", "stock")
	g.Observe(start, catalog.Answer{Service: "orders", Endpoints: instances("orders", upTo(9)...), Trust: catalog.Rewound})
	g.Tick(start.Add(time.Minute))
	if got := served(g, "orders"); len(strings.Fields(got)) != 10 {
		t.Errorf("served: %s", got)
	}
	if got := holds(g, start.Add(time.Minute)); got != "orders orders-10: index went backwards" {
		t.Errorf("holds: %s", got)
	}
}

// Small and separate losses are nobody's business: they go through one by one,
// also a whole service that is scaled to zero.
func TestP3GuardLetsTrueLossesThrough(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e", "f"}
	g := world(names...)
	now := start
	for i, n := range names {
		now = now.Add(20 * time.Second)
		without := catalog.Answer{Service: n, Endpoints: instances(n, upTo(9)...), Op: uint64(i + 1)}
		g.Observe(now, without)
		g.Ask(now, 9)
		without.Trust = catalog.Confirmed
		g.Observe(now, without)
		g.Tick(now.Add(time.Second))
		if got := len(g.Served(n)); got != 9 {
			t.Errorf("%s serves %d: %s", n, got, holds(g, now))
		}
	}
	now = now.Add(time.Minute)
	loseAll(g, now, catalog.Confirmed, "a")
	if got := len(g.Served("a")); got != 0 {
		t.Errorf("scaled to zero, %d are served: %s", got, holds(g, now))
	}
}

// A loss that comes back was none.
func TestP3GuardForgetsALossThatComesBack(t *testing.T) {
	g := world("orders")
	g.Observe(start, catalog.Answer{Service: "orders"})
	g.Observe(start, catalog.Answer{Service: "orders", Endpoints: instances("orders", upTo(10)...)})
	if g.Suspect("orders") || len(g.Ask(start.Add(time.Hour), 5)) != 0 || holds(g, start.Add(time.Hour)) != "" {
		t.Error("the guard still suspects it")
	}
}

// Whatever unconfirmed and refused answers say, and in whatever order, nothing
// that was served goes.
func TestP3GuardNothingGoesUnconfirmed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := world("a", "b", "c")
		now := start
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 900).Draw(t, "seconds")) * time.Second)
			name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "service")
			before := g.Served(name)
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				g.Tick(now)
			case 1:
				for _, ask := range g.Ask(now, 2) {
					g.Observe(now, catalog.Answer{Service: ask, Trust: catalog.Refused, Reason: "no"})
				}
			case 2:
				g.Doubt(now, func(string) bool { return true })
			default:
				keep := rapid.SliceOfDistinct(rapid.IntRange(1, 12), rapid.ID).Draw(t, "instances")
				g.Observe(now, catalog.Answer{Service: name, Endpoints: instances(name, keep...), Op: rapid.Uint64().Draw(t, "op")})
			}
			after := map[string]bool{}
			for _, e := range g.Served(name) {
				after[e.ID] = true
			}
			for _, e := range before {
				if !after[e.ID] {
					t.Fatalf("%s went", e.ID)
				}
			}
		}
	})
}
