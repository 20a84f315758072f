package admin

import (
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/catalog"
)

// checkCatalog looks at the source: reachable, fresh, believed, complete.
func checkCatalog(st catalog.Status, now time.Time) []adminapi.Check {
	var out []adminapi.Check
	where := st.Kind + " " + st.Address
	switch {
	case st.Stale:
		out = append(out, warning("catalog", "calls go on with what was known; new instances are not seen until it answers", "%s has not answered since the start; serving last known good: %s", where, st.LastError))
	case !st.Connected:
		out = append(out, warning("catalog", "calls go on with what was known; new instances are not seen until it answers", "%s does not answer: %s", where, st.LastError))
	default:
		out = append(out, ok("catalog", "%s answers; %s", where, plural(len(st.Watches), "watch")))
	}
	out = append(out, checkWatches(st.Watches, now))
	if len(st.Holds) == 0 {
		out = append(out, ok("guard", "nothing is held back"))
	}
	for _, h := range st.Holds {
		out = append(out, warning("guard", "if they are really gone: meshctl service accept "+h.Service,
			"%s: %s held back from removal for %s: %s", h.Service, plural(len(h.Lost), "instance"), since(now, h.Since), h.Reason))
	}
	for _, n := range st.Notes {
		out = append(out, adminapi.Check{Name: "catalog rights and limits", Status: statusOf(n.Severity), Message: n.Message, Hint: n.Hint})
	}
	if len(st.Skipped) > 0 {
		var names []string
		for _, s := range st.Skipped {
			names = append(names, s.Name+" ("+s.Reason+")")
		}
		out = append(out, warning("catalog names", st.Skipped[0].Hint, "%d not served: %s", len(names), some(names)))
	}
	return out
}

func checkWatches(ws []catalog.Watch, now time.Time) adminapi.Check {
	var late []string
	for _, w := range ws {
		name := w.Service
		if name == "" {
			name = "the name list"
		}
		switch {
		case w.LastError != "":
			late = append(late, name+" ("+w.LastError+")")
		case w.LastRead.IsZero():
			late = append(late, name+" (no answer yet)")
		}
	}
	if len(late) > 0 {
		return warning("catalog watches", "their instances are those of the last answer", "%d of %d have trouble: %s", len(late), len(ws), some(late))
	}
	oldest := time.Duration(0)
	for _, w := range ws {
		oldest = max(oldest, now.Sub(w.LastRead))
	}
	return ok("catalog watches", "oldest answer %s ago", oldest.Round(time.Second))
}
