package admin

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// Limits of a /v1/watch stream.
const (
	watchIdle  = 15 * time.Second // an empty line after so long without an event
	watchWrite = 10 * time.Second // a write that takes longer ends the stream
)

// watch streams events as JSON lines until the client goes or is too slow. An
// empty line now and then shows both ends that the connection lives.
func (a *api) watch(w http.ResponseWriter, r *http.Request) {
	q, err := query(r, "service")
	if err != nil {
		writeFailure(w, err)
		return
	}
	events, leave := a.Hub.subscribe()
	defer leave()
	out, err := startLines(w)
	if err != nil {
		return
	}
	idle := time.NewTicker(watchIdle)
	defer idle.Stop()
	for err == nil {
		select {
		case <-r.Context().Done():
			return
		case <-idle.C:
			err = out.line(nil)
		case e, ok := <-events:
			if !ok {
				a.Log.InfoContext(r.Context(), "watch client cut off: too slow", "remote", r.RemoteAddr)
				return
			}
			if q["service"] == "" || e.Service == q["service"] {
				err = out.line(e)
			}
		}
	}
}

// lines writes one JSON document a line, each with a deadline of its own.
type lines struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

// startLines answers that lines follow, for as long as the client reads them.
func startLines(w http.ResponseWriter) (lines, error) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	out := lines{w, http.NewResponseController(w)}
	if err := out.control.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return lines{}, err
	}
	return out, out.flush()
}

// line writes v; nil is an empty line.
func (l lines) line(v any) error {
	var raw []byte
	if v != nil {
		var err error
		if raw, err = json.Marshal(v); err != nil {
			return err
		}
	}
	if err := l.extend(); err != nil {
		return err
	}
	if _, err := l.w.Write(append(raw, '\n')); err != nil {
		return err
	}
	return l.control.Flush()
}

func (l lines) flush() error {
	if err := l.extend(); err != nil {
		return err
	}
	return l.control.Flush()
}

func (l lines) extend() error {
	if err := l.control.SetWriteDeadline(time.Now().Add(watchWrite)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
