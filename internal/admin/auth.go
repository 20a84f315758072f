package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
)

// maxBody bounds what a client may send.
const maxBody = 1 << 20

// guarded asks for the bearer token where one is configured.
func (a *api) guarded(next http.Handler) http.Handler {
	if a.Token == "" {
		return next
	}
	want := sha256.Sum256([]byte(a.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(strings.TrimSpace(token)))
		if !strings.EqualFold(scheme, "bearer") || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			if r.Method != http.MethodGet && r.Method != http.MethodHead {
				a.audit(r, http.StatusUnauthorized, "no valid token")
			}
			w.Header().Set("WWW-Authenticate", `Bearer realm="meshlite"`)
			writeFailure(w, fail(http.StatusUnauthorized, "send the token of --admin-token-file: Authorization: Bearer …; meshctl takes --token-file", "no valid token"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// write is a handler that changes something. It returns what it did in words,
// for the audit log.
type change func(r *http.Request, body []byte) (answer any, did string, err error)

// audited serves a change: it reads the body within its limit and leaves a log
// line of who asked for what and what became of it.
func (a *api) audited(do change) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, did, err := a.apply(w, r, do)
		if err != nil {
			status := http.StatusInternalServerError
			var f *failure
			if errors.As(err, &f) {
				status = f.status
			}
			a.audit(r, status, err.Error())
			writeFailure(w, err)
			return
		}
		a.audit(r, http.StatusOK, did)
		write(w, http.StatusOK, answer)
	})
}

func (a *api) apply(w http.ResponseWriter, r *http.Request, do change) (any, string, error) {
	// A page in a browser can send other types to the loopback address without
	// asking first; this one it cannot.
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return nil, "", fail(http.StatusUnsupportedMediaType, "send Content-Type: application/json", "the body must be JSON")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, "", fail(http.StatusRequestEntityTooLarge, "", "the body is over %d bytes", maxBody)
	}
	if err != nil {
		return nil, "", fail(http.StatusBadRequest, "", "read the body: %v", err)
	}
	return do(r, body)
}

func (a *api) audit(r *http.Request, status int, outcome string) {
	a.Log.InfoContext(r.Context(), "admin write", "remote", r.RemoteAddr, "method", r.Method, "path", r.URL.Path, "status", status, "outcome", outcome)
}

// decode reads one JSON document strictly.
func decode(body []byte, into any) error {
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fail(http.StatusBadRequest, "", "the body: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fail(http.StatusBadRequest, "", "the body: more than one document")
	}
	return nil
}
