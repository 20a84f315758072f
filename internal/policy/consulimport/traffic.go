package consulimport

import (
	"slices"
	"strconv"
	"strings"

	"meshlite.dev/internal/policy/v1alpha1"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// everyMethod is what a router's retries count for.
var everyMethod = []v1alpha1.Method{"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}

// ungated are the retry conditions that count for every method anyway: of
// calls that no instance processed, and of gRPC.
var ungated = []v1alpha1.RetryToken{
	"connect-failure", "refused-stream", "cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
}

// retry reads the retries of a destination. Consul's count for every method.
func retry(o *object) *v1alpha1.Retry {
	attempts, _ := o.count("NumRetries")
	r := &v1alpha1.Retry{}
	for _, token := range o.texts("RetryOn") {
		r.RetryOn = append(r.RetryOn, v1alpha1.RetryToken(token))
	}
	if o.flag("RetryOnConnectFailure") && !slices.Contains(r.RetryOn, "connect-failure") {
		r.RetryOn = append(r.RetryOn, "connect-failure")
	}
	codes, _ := o.value("RetryOnStatusCodes").([]any)
	for _, code := range codes {
		n, err := strconv.ParseInt(show(code), 10, 32)
		if err != nil || n < 100 || n > 599 {
			o.left("RetryOnStatusCodes", "must be codes from 100 to 599")
			continue
		}
		r.StatusCodes = append(r.StatusCodes, v1alpha1.StatusCode(n))
	}
	if attempts == 0 && len(r.RetryOn)+len(r.StatusCodes) == 0 {
		return nil
	}
	attempts = max(attempts, 1) // what Envoy does without a number
	const most = 10
	if attempts > most {
		o.left("NumRetries", "10 is the most: a call that needs more has another trouble")
		attempts = most
	}
	r.Attempts = &attempts
	gated := func(t v1alpha1.RetryToken) bool { return !slices.Contains(ungated, t) }
	if len(r.StatusCodes) > 0 || slices.ContainsFunc(r.RetryOn, gated) {
		r.Methods = slices.Clone(everyMethod)
	}
	return r
}

// edits reads header modifiers.
func edits(o *object, name string) *v1alpha1.HeaderEdits {
	h := o.object(name)
	if h == nil {
		return nil
	}
	e := &v1alpha1.HeaderEdits{Set: headerValues(h, "Set"), Add: headerValues(h, "Add")}
	for _, n := range h.texts("Remove") {
		if headerName(h, "Remove", n) {
			e.Remove = append(e.Remove, v1alpha1.HeaderName(strings.ToLower(n)))
		}
	}
	slices.Sort(e.Remove)
	e.Remove = slices.Compact(e.Remove)
	if len(e.Set)+len(e.Add)+len(e.Remove) == 0 {
		return nil
	}
	return e
}

func headerValues(o *object, name string) map[string]v1alpha1.HeaderValue {
	var out map[string]v1alpha1.HeaderValue
	for n, v := range o.words(name) {
		if !headerName(o, name, n) {
			continue
		}
		literal := strings.ReplaceAll(v, "%%", "")
		if strings.Contains(literal, "%") {
			o.entry.leave(o.at(name)+"."+n, show(v), "header values are taken as they are: Envoy's %COMMANDS% are not replaced; let the service set it", false)
			continue
		}
		if out == nil {
			out = map[string]v1alpha1.HeaderValue{}
		}
		out[strings.ToLower(n)] = v1alpha1.HeaderValue(strings.ReplaceAll(v, "%%", "%"))
	}
	return out
}

// headerName reports whether a header may be edited.
func headerName(o *object, name, header string) bool {
	if strings.HasPrefix(header, ":") || strings.EqualFold(header, "host") {
		o.entry.leave(o.at(name)+"."+header, "", "use rewrite.host of the rule; other pseudo headers cannot be edited", false)
		return false
	}
	return true
}
