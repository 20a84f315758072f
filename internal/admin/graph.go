package admin

import (
	"net/http"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/xds/load"
)

func (a *api) graph(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	out := adminapi.Graph{Window: load.Window.String(), Edges: []adminapi.Edge{}}
	if a.Graph == nil {
		return out, nil
	}
	for _, e := range a.Graph(a.Now()) {
		out.Edges = append(out.Edges, adminapi.Edge{
			From: e.From, To: e.To, Successes: e.Successes, Errors: e.Errors, Dropped: e.Dropped, InProgress: e.InProgress, Rate: e.Rate,
		})
	}
	return out, nil
}

func (a *api) version(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	return a.Version, nil
}

// healthz says that the process runs. It asks nothing and nobody: restarting
// the server does not heal what is outside.
func healthz(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok\n") }

// readyz says whether the replica may be sent proxies, and what it waits for.
func (a *api) readyz(w http.ResponseWriter, _ *http.Request) {
	s := a.Ready.State()
	status, body := http.StatusOK, "ready\n"
	if !s.Ready {
		status, body = http.StatusServiceUnavailable, "not ready\n"
	}
	for _, part := range s.Waiting {
		body += "waiting for " + part + "\n"
	}
	for _, alarm := range s.Alarms {
		body += "alarm: " + alarm + "\n"
	}
	text(w, status, body)
}

func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // nobody is left to tell
}

// since tells an age in whole seconds, for people.
func since(now, then time.Time) string { return now.Sub(then).Round(time.Second).String() }
