package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"meshlite.dev/internal/admin/adminapi"
)

// failure is an answer that is not 2xx.
type failure struct {
	status int
	adminapi.Failure
}

// Error implements error.
func (f *failure) Error() string { return f.Failure.Error }

func fail(status int, hint, format string, args ...any) error {
	return &failure{status, adminapi.Failure{Error: fmt.Sprintf(format, args...), Hint: hint}}
}

// reply serves the value that serve returns as JSON.
func reply(serve func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := serve(r)
		if err != nil {
			writeFailure(w, err)
			return
		}
		write(w, http.StatusOK, v)
	})
}

func write(w http.ResponseWriter, status int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil { // a bug: every document is plain data
		status, body = http.StatusInternalServerError, []byte(`{"error": "the answer cannot be written as JSON"}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // nobody is left to tell
}

func writeFailure(w http.ResponseWriter, err error) {
	var f *failure
	if !errors.As(err, &f) {
		f = &failure{http.StatusInternalServerError, adminapi.Failure{Error: err.Error()}}
	}
	write(w, f.status, f.Failure)
}

func notFound(w http.ResponseWriter, r *http.Request) {
	writeFailure(w, fail(http.StatusNotFound, "the API starts at /v1/services, /v1/proxies and /v1/policies", "no such page: %s", r.URL.Path))
}

// get lets GET and HEAD through.
func get(next http.Handler) http.Handler { return method(next, http.MethodGet, http.MethodHead) }

// post lets POST through.
func post(next http.Handler) http.Handler { return method(next, http.MethodPost) }

func method(next http.Handler, allowed ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(allowed, r.Method) {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			writeFailure(w, fail(http.StatusMethodNotAllowed, "use "+allowed[0], "%s cannot be used on %s", r.Method, r.URL.Path))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// query returns the parameters of r and refuses those that the page does not
// know, that come twice, or that are too long.
func query(r *http.Request, known ...string) (map[string]string, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fail(http.StatusBadRequest, "escape it as in a URL", "the query cannot be read: %v", err)
	}
	out := map[string]string{}
	for name, vs := range values {
		switch {
		case len(known) == 0:
			return nil, fail(http.StatusBadRequest, "leave it out", "parameter %q: the page takes none", name)
		case !slices.Contains(known, name):
			return nil, fail(http.StatusBadRequest, "use "+strings.Join(known, ", "), "parameter %q: the page does not know it", name)
		case len(vs) > 1:
			return nil, fail(http.StatusBadRequest, "give it once", "parameter %q: given %d times", name, len(vs))
		case len(vs[0]) > maxParameter:
			return nil, fail(http.StatusBadRequest, "shorten it", "parameter %q: longer than %d characters", name, maxParameter)
		}
		out[name] = vs[0]
	}
	return out, nil
}

const maxParameter = 1024
