package admin

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"unicode/utf8"

	"meshlite.dev/internal/admin/adminapi"
)

// rolloutID is what a client may name a rollout; "undo" is a page.
var rolloutID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// maxBy bounds who asks, in bytes.
const maxBy = 256

// startRollout begins a rollout of what waits or arms the next one.
func (a *api) startRollout(r *http.Request, body []byte) (any, string, error) {
	var req adminapi.StartRequest
	if err := decode(body, &req); err != nil {
		return nil, "", err
	}
	if err := a.asked(r, req.ID, req.By, req.Options); err != nil {
		return nil, "", err
	}
	out, err := a.Rollouts.Start(r.Context(), req)
	if err != nil {
		return nil, "", rolloutFailure(err)
	}
	did := "the next rollout has options" + by(req.By)
	if out.Rollout != nil {
		did = "rollout " + out.Rollout.ID + " started" + by(req.By)
	}
	if skip := req.Options.SkipVote; skip != nil && *skip {
		did += ", its vote skipped"
	}
	return out, did, nil
}

// undoRollout goes back to an earlier revision.
func (a *api) undoRollout(r *http.Request, body []byte) (any, string, error) {
	var req adminapi.UndoRequest
	if err := decode(body, &req); err != nil {
		return nil, "", err
	}
	if err := a.asked(r, req.ID, req.By, req.Options); err != nil {
		return nil, "", err
	}
	if !valid(req.ToRevision, 64) {
		return nil, "", fail(http.StatusBadRequest, "use a number or a hash", "toRevision: %.80q names no revision", req.ToRevision)
	}
	out, err := a.Rollouts.Undo(r.Context(), req)
	if err != nil {
		return nil, "", rolloutFailure(err)
	}
	return out, fmt.Sprintf("rollout %s started, back to revision %.8s%s", out.ID, out.To.Hash, by(req.By)), nil
}

// decideRollout settles what waits for a person.
func (a *api) decideRollout(verb adminapi.RolloutVerb) change {
	return func(r *http.Request, body []byte) (any, string, error) {
		var req adminapi.DecideRequest
		if err := decode(body, &req); err != nil {
			return nil, "", err
		}
		if err := errors.Join(saidBy(req.By), said("reason", req.Reason, maxReason)); err != nil {
			return nil, "", fail(http.StatusBadRequest, "say it shorter", "%v", err)
		}
		out, err := a.Rollouts.Decide(r.Context(), r.PathValue("id"), verb, req)
		if err != nil {
			return nil, "", rolloutFailure(err)
		}
		return out, fmt.Sprintf("rollout %s: %s%s", out.ID, verb, by(req.By)), nil
	}
}

// asked checks what start and undo have in common; every fault at once.
func (a *api) asked(r *http.Request, id, by string, o adminapi.RolloutOptions) error {
	if _, err := query(r); err != nil {
		return err
	}
	all, err := a.Rollouts.Rollouts(r.Context())
	if err != nil {
		return rolloutFailure(err)
	}
	faults := []error{saidBy(by), o.Over(all.Settings).Validate()}
	if id != "" && (!rolloutID.MatchString(id) || id == "undo") {
		faults = append(faults, fmt.Errorf("id: %.80q: must be 1 to 64 letters, digits, \"-\", \".\" or \"_\", and not \"undo\"", id))
	}
	if err := errors.Join(faults...); err != nil {
		return fail(http.StatusBadRequest, "options that are absent are the server's: GET /v1/rollouts shows them", "%v", err)
	}
	return nil
}

func saidBy(who string) error { return said("by", who, maxBy) }

func said(field, text string, limit int) error {
	if !valid(text, limit) {
		return fmt.Errorf("%s: is %d bytes: must be at most %d of UTF-8", field, len(text), limit)
	}
	return nil
}

func valid(text string, limit int) bool { return len(text) <= limit && utf8.ValidString(text) }

func by(who string) string {
	if who == "" {
		return ""
	}
	return " by " + who
}
