package catalog

import (
	"maps"
	"slices"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/pmap"
)

// Ledger collects what an adapter learns until it publishes. One goroutine
// owns it. The zero value is an empty one. Publishing costs what changed, not
// what there is.
type Ledger struct {
	services pmap.Map[*Service]
	home     string // the own datacenter
	changed  map[string]bool
	findings map[string][]mesh.Finding // by service, or by file
	dirty    bool                      // findings, or the own datacenter, changed
	problems []mesh.Finding
	second   bool // something was published
}

// Set records a service. s must not be changed afterwards.
func (l *Ledger) Set(s *Service) {
	if old, ok := l.services.Get(s.Name); ok && Equal(old, s) {
		return
	}
	l.services = l.services.Set(s.Name, s)
	l.touch(s.Name)
}

// Delete removes a service.
func (l *Ledger) Delete(name string) {
	if !l.services.Has(name) {
		return
	}
	l.services = l.services.Delete(name)
	l.touch(name)
}

// Get returns what is recorded of a service.
func (l *Ledger) Get(name string) (*Service, bool) { return l.services.Get(name) }

// Home names the own datacenter; what is known is not forgotten for "".
func (l *Ledger) Home(datacenter string) {
	if datacenter != "" && datacenter != l.home {
		l.home, l.dirty = datacenter, true
	}
}

// Report replaces the findings of one subject, a service or a file.
func (l *Ledger) Report(subject string, fs []mesh.Finding) {
	if slices.Equal(l.findings[subject], fs) {
		return
	}
	if l.findings == nil {
		l.findings = map[string][]mesh.Finding{}
	}
	l.dirty = true
	if len(fs) == 0 {
		delete(l.findings, subject)
		return
	}
	l.findings[subject] = fs
}

// Pending reports whether there is anything to publish.
func (l *Ledger) Pending() bool { return !l.second || l.dirty || len(l.changed) > 0 }

// Publish returns the snapshot and starts the next list of changes. The first
// one names every service.
func (l *Ledger) Publish() Snapshot {
	snap := Snapshot{Services: l.services, Datacenter: l.home}
	if l.second {
		snap.Changed = slices.Sorted(maps.Keys(l.changed))
	} else {
		for name := range l.services.All() {
			snap.Changed = append(snap.Changed, name)
		}
	}
	if l.dirty {
		l.problems = nil
		for _, fs := range l.findings {
			l.problems = append(l.problems, fs...)
		}
		l.problems = mesh.SortFindings(l.problems)
	}
	snap.Problems = l.problems
	l.second, l.dirty, l.changed = true, false, nil
	return snap
}

func (l *Ledger) touch(name string) {
	if l.changed == nil {
		l.changed = map[string]bool{}
	}
	l.changed[name] = true
}
