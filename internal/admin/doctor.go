package admin

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
)

// Outcomes of a check.
const (
	checkOK      = "ok"
	checkWarning = "warning"
	checkError   = "error"
)

// named is how many names a message lists before it counts the rest.
const named = 5

// doctor runs every check. The time in the answer is the server's clock, which
// the caller compares with its own.
func (a *api) doctor(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	now := a.Now()
	out := adminapi.Doctor{Time: now}
	out.Checks = append(out.Checks, a.checkServer(now))
	out.Checks = append(out.Checks, checkCatalog(a.Catalog.Status(), now)...)
	if s, ok := a.State(); ok {
		out.Checks = append(out.Checks, checkPolicies(s), checkValidation(s), checkFindings(a.found(s)))
	}
	out.Checks = append(out.Checks, a.checkRollouts(r.Context(), now)...)
	out.Checks = append(out.Checks, a.checkSubscriptions(r.Context())...)
	out.Checks = append(out.Checks, checkProxies(a.Fleet.Proxies())...)
	for _, check := range a.Checks {
		out.Checks = append(out.Checks, check(r.Context())...)
	}
	return out, nil
}

func ok(name, format string, args ...any) adminapi.Check {
	return adminapi.Check{Name: name, Status: checkOK, Message: fmt.Sprintf(format, args...)}
}

func warning(name, hint, format string, args ...any) adminapi.Check {
	return adminapi.Check{Name: name, Status: checkWarning, Message: fmt.Sprintf(format, args...), Hint: hint}
}

func fault(name, hint, format string, args ...any) adminapi.Check {
	return adminapi.Check{Name: name, Status: checkError, Message: fmt.Sprintf(format, args...), Hint: hint}
}

func (a *api) checkServer(now time.Time) adminapi.Check {
	st := a.Ready.State()
	if !st.Ready {
		return fault("server", "no proxy is served before that; the log says what stands in the way", "not ready: waiting for %s", strings.Join(st.Waiting, ", "))
	}
	s, served := a.State()
	if !served {
		return ok("server", "ready")
	}
	return ok("server", "ready; %s, revision %s, last change %s ago", plural(s.Result.Model.Services.Len(), "service"), RevisionLabel(s.Revision), since(now, s.At))
}

// checkPolicies looks for documents that are not in force as written: refused
// ones are faults, those without a target or in conflict may be meant so.
func checkPolicies(s State) adminapi.Check {
	var refused, idle []string
	docs := s.Result.Documents()
	for _, d := range docs {
		line := fmt.Sprintf("%s/%s/%s is %s: %s", mesh.ShortKind(d.Key.Kind), d.Key.Namespace, d.Key.Name, d.Accepted, d.Message)
		switch d.Accepted {
		case compile.Accepted:
		case compile.TargetNotFound, compile.Conflicted:
			idle = append(idle, line)
		default:
			refused = append(refused, line)
		}
	}
	for _, r := range s.Revision.Refused {
		if r.Key.Name == "" { // the fault hides which document it is
			var faults []string
			for _, f := range r.Faults {
				faults = append(faults, f.Reason)
			}
			refused = append(refused, r.Source+": "+strings.Join(faults, "; "))
		}
	}
	switch {
	case len(refused) > 0:
		return fault("policies", "meshctl policy validate -f shows every fault; the last good version stays in force", "%s", some(append(refused, idle...)))
	case len(idle) > 0:
		return warning("policies", "correct the target or the document that loses", "%s", some(idle))
	default:
		return ok("policies", "revision %s, %s", RevisionLabel(s.Revision), plural(len(docs), "document"))
	}
}

func checkValidation(s State) adminapi.Check {
	var bad []string
	for _, f := range s.Faults {
		bad = append(bad, fmt.Sprintf("%s %s (%s): %v", shortType(f.Type), f.Name, labels(f.Policies), f.Err))
	}
	if len(bad) > 0 {
		return fault("messages", "report it: a policy passed validation and its message did not; the last good one serves", "%s", some(bad))
	}
	return ok("messages", "all passed validation")
}

func checkFindings(found []mesh.Finding) adminapi.Check {
	count := map[mesh.Severity]int{}
	for _, f := range found {
		count[f.Severity]++
	}
	message := fmt.Sprintf("%s, %s, %s", plural(count[mesh.Error], "error"), plural(count[mesh.Warning], "warning"), plural(count[mesh.Info], "note"))
	switch {
	case count[mesh.Error] > 0:
		return fault("findings", "GET /v1/findings lists them", "%s", message)
	case count[mesh.Warning] > 0:
		return warning("findings", "GET /v1/findings lists them", "%s", message)
	default:
		return ok("findings", "%s", message)
	}
}

func statusOf(s mesh.Severity) string {
	switch s {
	case mesh.Error:
		return checkError
	case mesh.Warning:
		return checkWarning
	default:
		return checkOK
	}
}

// some joins the first few of names, in order, and counts the rest.
func some(names []string) string {
	names = slices.Sorted(slices.Values(names))
	if len(names) <= named {
		return strings.Join(names, "; ")
	}
	return fmt.Sprintf("%s; and %d more", strings.Join(names[:named], "; "), len(names)-named)
}

func plural(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "ch"):
		return fmt.Sprintf("%d %ses", n, noun)
	default:
		return fmt.Sprintf("%d %ss", n, noun)
	}
}
