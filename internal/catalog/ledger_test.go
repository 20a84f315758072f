package catalog_test

import (
	"slices"
	"testing"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
)

func named(name string, numbers ...int) *catalog.Service {
	return &catalog.Service{Name: name, Synced: true, Protocol: mesh.HTTP1, Endpoints: instances(name, numbers...)}
}

// The first snapshot names every service, each later one what changed since.
func TestSnapshotsNameWhatChanged(t *testing.T) {
	var l catalog.Ledger
	if !l.Pending() {
		t.Error("an empty catalog is never published")
	}
	l.Set(named("b", 1))
	l.Set(named("a", 1))
	first := l.Publish()
	if !slices.Equal(first.Changed, []string{"a", "b"}) {
		t.Errorf("the first names %q", first.Changed)
	}
	l.Set(named("a", 1)) // the same again
	if l.Pending() {
		t.Error("an equal service is a change")
	}
	l.Set(named("a", 1, 2))
	l.Delete("b")
	l.Delete("never")
	l.Set(named("c", 3))
	second := l.Publish()
	if !slices.Equal(second.Changed, []string{"a", "b", "c"}) || second.Services.Len() != 2 {
		t.Errorf("the second names %q of %d", second.Changed, second.Services.Len())
	}
	if s, _ := first.Services.Get("a"); first.Services.Len() != 2 || len(s.Endpoints) != 1 {
		t.Errorf("the first became %d services, a %+v", first.Services.Len(), s)
	}
}

func TestTheOwnDatacenterIsNewsAndIsNotForgotten(t *testing.T) {
	var l catalog.Ledger
	l.Publish()
	l.Home("dc1")
	if !l.Pending() || l.Publish().Datacenter != "dc1" {
		t.Error("the own datacenter is not published")
	}
	l.Home("")
	l.Home("dc1")
	if l.Pending() || l.Publish().Datacenter != "dc1" {
		t.Error("a source that cannot tell takes the name away")
	}
}

func TestFindingsAreReplacedBySubject(t *testing.T) {
	var l catalog.Ledger
	l.Publish()
	l.Report("a", []mesh.Finding{{Code: "X", Message: "old"}})
	l.Report("b", []mesh.Finding{{Code: "X", Message: "other"}})
	if got := l.Publish().Problems; len(got) != 2 {
		t.Errorf("problems %+v", got)
	}
	l.Report("a", []mesh.Finding{{Code: "X", Message: "new"}})
	l.Report("b", nil)
	l.Report("never", nil)
	if got := l.Publish().Problems; len(got) != 1 || got[0].Message != "new" {
		t.Errorf("problems %+v", got)
	}
	if l.Pending() {
		t.Error("nothing changed, and it is pending")
	}
}
