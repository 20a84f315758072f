package admin

import (
	"errors"
	"net/http"

	"meshlite.dev/internal/admin/adminapi"
)

// rolloutPages adds the pages of rollouts and revisions to mux.
func (a *api) rolloutPages(mux *http.ServeMux) {
	add := func(path string, page http.Handler) { mux.Handle(path, a.guarded(a.keeping(page))) }
	for path, serve := range map[string]func(*http.Request) (any, error){
		"/v1/rollouts/{id}":        a.rollout,
		"/v1/rollouts/{id}/votes":  a.rolloutVotes,
		"/v1/rollouts/{id}/log":    a.rolloutLog,
		"/v1/revisions":            a.revisions,
		"/v1/revisions/{revision}": a.revision,
	} {
		add(path, get(reply(serve)))
	}
	add("GET /v1/rollouts", get(reply(a.rollouts)))
	add("POST /v1/rollouts", post(a.audited(maxBody, a.startRollout)))
	add("/v1/rollouts", method(nil, http.MethodGet, http.MethodPost))
	add("/v1/rollouts/undo", post(a.audited(maxBody, a.undoRollout)))
	add("/v1/rollouts/{id}/watch", get(http.HandlerFunc(a.watchRollout)))
	for _, verb := range []adminapi.RolloutVerb{adminapi.VerbCommit, adminapi.VerbConfirm, adminapi.VerbAbort, adminapi.VerbResolve} {
		add("/v1/rollouts/{id}/"+string(verb), post(a.audited(maxBody, a.decideRollout(verb))))
	}
}

// keeping lets through where rollouts are kept.
func (a *api) keeping(next http.Handler) http.Handler {
	if a.Rollouts != nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeFailure(w, fail(http.StatusNotImplemented, "policies come in force as soon as they are accepted; meshctl policy get shows them", "this server keeps no rollouts"))
	})
}

// rolloutFailure gives an error of the manager its status.
func rolloutFailure(err error) error {
	switch {
	case errors.Is(err, adminapi.ErrNoRollout):
		return fail(http.StatusNotFound, "meshctl rollout list shows those kept", "%v", err)
	case errors.Is(err, adminapi.ErrNoRevision):
		return fail(http.StatusNotFound, "meshctl rollout list --revisions shows those kept", "%v", err)
	case errors.Is(err, adminapi.ErrNotNow):
		return fail(http.StatusConflict, "meshctl rollout status shows where it stands", "%v", err)
	case errors.Is(err, adminapi.ErrElsewhere):
		return fail(http.StatusServiceUnavailable, "try again, or ask the replica that leads", "%v", err)
	case errors.Is(err, adminapi.ErrUnsure):
		return fail(http.StatusGatewayTimeout, "meshctl rollout status shows whether it was done", "%v", err)
	}
	return err
}

func (a *api) rollouts(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	out, err := a.Rollouts.Rollouts(r.Context())
	if err != nil {
		return nil, rolloutFailure(err)
	}
	if out.Items == nil {
		out.Items = []adminapi.Rollout{}
	}
	return out, nil
}

// rolloutOf reads the rollout that the path names.
func (a *api) rolloutOf(r *http.Request) (adminapi.RolloutDetail, error) {
	if _, err := query(r); err != nil {
		return adminapi.RolloutDetail{}, err
	}
	out, err := a.Rollouts.Rollout(r.Context(), r.PathValue("id"))
	if err != nil {
		return adminapi.RolloutDetail{}, rolloutFailure(err)
	}
	if out.Log == nil {
		out.Log = []adminapi.RolloutEntry{}
	}
	if out.Proxies == nil {
		out.Proxies = []adminapi.ProxyVote{}
	}
	return out, nil
}

func (a *api) rollout(r *http.Request) (any, error) {
	return a.rolloutOf(r)
}

func (a *api) rolloutVotes(r *http.Request) (any, error) {
	d, err := a.rolloutOf(r)
	if err != nil {
		return nil, err
	}
	return adminapi.RolloutVotes{
		ID: d.ID, State: d.State, Votes: d.Votes, Items: d.Proxies, Unlisted: max(d.Votes.Voters-len(d.Proxies), 0),
	}, nil
}

func (a *api) rolloutLog(r *http.Request) (any, error) {
	d, err := a.rolloutOf(r)
	if err != nil {
		return nil, err
	}
	return adminapi.RolloutLog{ID: d.ID, State: d.State, Items: d.Log}, nil
}

// revisions lists what came in force by a rollout that is still kept.
func (a *api) revisions(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	all, err := a.Rollouts.Rollouts(r.Context())
	if err != nil {
		return nil, rolloutFailure(err)
	}
	out := adminapi.Revisions{Items: []adminapi.Revision{}}
	for _, item := range all.Items {
		if item.To.Number == 0 || item.Decided == nil {
			continue
		}
		out.Items = append(out.Items, adminapi.Revision{
			RevisionRef: item.To, InForce: item.To == all.InForce, Rollout: item.ID,
			Source: item.Source, By: item.By, At: *item.Decided, Changes: item.Changes,
		})
	}
	return out, nil
}

func (a *api) revision(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	out, err := a.Rollouts.Revision(r.Context(), r.PathValue("revision"))
	if err != nil {
		return nil, rolloutFailure(err)
	}
	if out.Documents == nil {
		out.Documents = []adminapi.RevisionDocument{}
	}
	return out, nil
}
