package compile

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"meshlite.dev/internal/mesh"
)

// remark is a finding about a merged result, true for every service under it.
type remark struct {
	mesh.Finding
	meshWide bool // the document at fault targets the mesh: said once, not for each service
}

// Bounds over which a budget is wide for a policy that retries answers: under
// an outage each call in flight may then cost that many more.
const (
	wideBudgetPercent = 25
	wideBudgetMinimum = 5
)

// Retry tokens and what they mean to the checks below.
var (
	answerTokens   = []string{"5xx", "gateway-error", "retriable-4xx", "retriable-status-codes", "cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"}
	serverErrors   = []string{"5xx", "gateway-error", "reset"} // the upstream may have acted
	timeoutTokens  = []string{"5xx", "gateway-error", "reset", "deadline-exceeded"}
	safeMethods    = []string{"GET", "HEAD", "OPTIONS", "TRACE"} // RFC 9110, 9.2.1
	repeatable     = []string{"PUT", "DELETE"}                   // idempotent, RFC 9110, 9.2.2
	statusTimedOut = uint32(504)
)

// remarks looks for what a merged result does that its author hardly wants.
func remarks(m *merged) []remark {
	if m.protocol == mesh.TCP {
		return nil
	}
	var out []remark
	for _, check := range []func(*merged) (remark, bool){
		triesExceedTimeout, unsafeRetry, timeoutOnLongLived, timedOutTryRetried, answersWideBudget,
	} {
		if r, ok := check(m); ok {
			out = append(out, r)
		}
	}
	return out
}

// about starts a remark on the most specific of the fields, or false where
// all of them are the built-in ones.
func (m *merged) about(code string, severity mesh.Severity, paths ...string) (remark, bool) {
	var blamed *layer
	var at int
	for _, p := range paths {
		i := mustLeaf(p)
		if l := m.winners[i]; l != nil && l.doc != nil && (blamed == nil || l.level > blamed.level) {
			blamed, at = l, i
		}
	}
	if blamed == nil {
		return remark{}, false
	}
	return remark{
		Finding:  mesh.Finding{Code: code, Severity: severity, Document: blamed.ref().String(), Path: blamed.path(at)},
		meshWide: blamed.level <= levelMesh,
	}, true
}

// triesExceedTimeout: the last tries can never be made.
func triesExceedTimeout(m *merged) (remark, bool) {
	r, t := m.effective.Retry, m.effective.Timeouts
	if r.Attempts == 0 || r.PerTryTimeout == 0 || t.Request == 0 {
		return remark{}, false
	}
	need := r.PerTryTimeout * time.Duration(r.Attempts+1)
	for i := range r.Attempts {
		need += min(r.BackoffBase<<i, r.BackoffMax)
	}
	if need <= t.Request {
		return remark{}, false
	}
	f, ok := m.about(mesh.CodeTriesExceedTimeout, mesh.Warning, "retry.perTryTimeout", "retry.attempts", "timeouts.request")
	f.Message = fmt.Sprintf("%d tries of %s with back-off may take %s; the request timeout ends the call after %s",
		r.Attempts+1, duration(r.PerTryTimeout), need, duration(t.Request))
	f.Hint = "raise timeouts.request, or lower retry.perTryTimeout or retry.attempts"
	return f, ok
}

// unsafeRetry: an answer 5xx does not say that nothing was done.
func unsafeRetry(m *merged) (remark, bool) {
	r := m.effective.Retry
	tokens := intersect(r.RetryOn, serverErrors)
	for _, code := range r.StatusCodes {
		if code >= 500 {
			tokens = append(tokens, fmt.Sprint(code))
		}
	}
	unsafe := slices.DeleteFunc(slices.Clone(r.Methods), func(s string) bool { return slices.Contains(safeMethods, s) })
	if r.Attempts == 0 || len(tokens) == 0 || len(unsafe) == 0 {
		return remark{}, false
	}
	severity := mesh.Info
	if len(intersect(unsafe, repeatable)) < len(unsafe) {
		severity = mesh.Warning
	}
	f, ok := m.about(mesh.CodeUnsafeRetry, severity, "retry.methods", "retry.retryOn", "retry.statusCodes")
	f.Message = fmt.Sprintf("%s is retried after %s, though the first try may have been carried out",
		strings.Join(unsafe, ", "), strings.Join(tokens, ", "))
	f.Hint = "take these methods out of retry.methods unless the service recognises a repeated request"
	return f, ok
}

// timeoutOnLongLived: a stream that may stay open longer than the request
// timeout lets it. Accepted upgrades have no request timeout.
func timeoutOnLongLived(m *merged) (remark, bool) {
	t := m.effective.Timeouts
	if t.Request == 0 {
		return remark{}, false
	}
	for _, field := range []struct {
		path  string
		value time.Duration
	}{{"timeouts.maxStreamDuration", t.MaxStreamDuration}, {"timeouts.streamIdle", t.StreamIdle}} {
		if field.value <= t.Request {
			continue
		}
		if f, ok := m.about(mesh.CodeTimeoutOnLongLived, mesh.Info, field.path); ok {
			f.Message = fmt.Sprintf("%s of %s is longer than the request timeout of %s, which ends a stream first (upgrades excepted)",
				field.path, duration(field.value), duration(t.Request))
			f.Hint = "set timeouts.request to 0s for a service that streams"
			return f, true
		}
	}
	return remark{}, false
}

// timedOutTryRetried: without a per-try timeout the first try may use up all
// the time there is.
func timedOutTryRetried(m *merged) (remark, bool) {
	r := m.effective.Retry
	tokens := intersect(r.RetryOn, timeoutTokens)
	if slices.Contains(r.StatusCodes, statusTimedOut) {
		tokens = append(tokens, "504")
	}
	if r.Attempts == 0 || r.PerTryTimeout > 0 || len(tokens) == 0 {
		return remark{}, false
	}
	f, ok := m.about(mesh.CodeTimedOutTryRetried, mesh.Warning, "retry.retryOn", "retry.statusCodes", "retry.perTryTimeout")
	f.Message = fmt.Sprintf("%s retries a try that timed out, but no try has a timeout of its own", strings.Join(tokens, ", "))
	f.Hint = "set retry.perTryTimeout to what one good answer may take at most"
	return f, ok
}

// answersWideBudget: an outage answers every try, so each call is tried again
// as far as the budget goes.
func answersWideBudget(m *merged) (remark, bool) {
	r := m.effective.Retry
	tokens := intersect(r.RetryOn, answerTokens)
	for _, code := range r.StatusCodes {
		tokens = append(tokens, fmt.Sprint(code))
	}
	wide := r.BudgetMinConcurrency > wideBudgetMinimum || r.BudgetPercent > wideBudgetPercent
	if r.Attempts == 0 || len(tokens) == 0 || !wide {
		return remark{}, false
	}
	f, ok := m.about(mesh.CodeAnswersWideBudget, mesh.Warning,
		"retry.retryOn", "retry.statusCodes", "retry.budget.percent", "retry.budget.minConcurrency")
	f.Message = fmt.Sprintf("answers (%s) are retried under a budget of %v %% and at least %d at once: an outage of the service multiplies its load",
		strings.Join(tokens, ", "), r.BudgetPercent, r.BudgetMinConcurrency)
	f.Hint = "set retry.budget to {percent: 20, minConcurrency: 3}"
	return f, ok
}

func intersect(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return !slices.Contains(b, s) })
}
