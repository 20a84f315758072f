package app

import (
	"time"

	"meshlite.dev/internal/catalog"
)

// freeze lets only endpoints through until it is ended; what else changed
// meanwhile then comes at once.
func (in *inbox) freeze(on bool, now time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.frozen == on {
		return
	}
	in.frozen = on
	if on || !in.built {
		return
	}
	for name, s := range in.services.All() {
		if before, _ := in.given.Get(name); before != s {
			in.windows.note(name, true, now)
		}
	}
	for name := range in.given.All() {
		if !in.services.Has(name) {
			in.windows.note(name, true, now)
		}
	}
	in.signal()
}

// give brings what was given out to what is newest, as far as a freeze allows.
// What is there at the start is given out whole: there is nothing to keep.
func (in *inbox) give(due []string) {
	if !in.built {
		in.given, in.built = in.services, true
		return
	}
	in.given = in.given.Edit(func(set func(string, *catalog.Service), del func(string)) {
		for _, name := range due {
			if name == revisionKey {
				continue
			}
			before, _ := in.given.Get(name)
			now, _ := in.services.Get(name)
			if in.frozen {
				now = endpointsOnly(before, now)
			}
			if now == nil {
				del(name)
				continue
			}
			set(name, now)
		}
	})
}

// endpointsOnly is a service as it was, with the endpoints that it has now. One
// that is new is held back, one that is gone stays without endpoints.
func endpointsOnly(before, now *catalog.Service) *catalog.Service {
	switch {
	case before == nil:
		return nil
	case now == nil:
		kept := *before
		kept.Endpoints = nil
		return &kept
	case !now.Synced:
		return before
	case !before.Synced || sameButEndpoints(before, now):
		return now // its first answer, or nothing but endpoints
	}
	kept := *before
	kept.Endpoints = now.Endpoints
	return &kept
}
