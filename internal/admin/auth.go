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

// What a client may send, in bytes: a change set may be a folder of thousands
// of documents.
const (
	maxBody     = 1 << 20
	maxPolicies = 32 << 20
)

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
func (a *api) audited(limit int64, do change) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var answer any
		var did string
		body, err := bodyOf(w, r, limit)
		if err == nil {
			answer, did, err = do(r, body)
		}
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

// asking serves a question with a body; it changes nothing.
func asking(limit int64, answer func(r *http.Request, body []byte) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := bodyOf(w, r, limit)
		var v any
		if err == nil {
			v, err = answer(r, body)
		}
		if err != nil {
			writeFailure(w, err)
			return
		}
		write(w, http.StatusOK, v)
	})
}

// bodyOf reads a JSON body within its limit.
func bodyOf(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	// A page in a browser can send other types to the loopback address without
	// asking first; this one it cannot.
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return nil, fail(http.StatusUnsupportedMediaType, "send Content-Type: application/json", "the body must be JSON")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, fail(http.StatusRequestEntityTooLarge, "", "the body is over %d bytes", limit)
	}
	if err != nil {
		return nil, fail(http.StatusBadRequest, "", "read the body: %v", err)
	}
	return body, nil
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
