package admin

import (
	"net/http"
	"unicode/utf8"

	"meshlite.dev/internal/admin/adminapi"
)

// maxReason bounds what is stored and shown, in bytes.
const maxReason = 1024

func (a *api) frozen(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	return a.Frozen(), nil
}

// freeze stops everything but endpoints, or lets it go on.
func (a *api) freeze(r *http.Request, body []byte) (any, string, error) {
	var req adminapi.Freeze
	if err := decode(body, &req); err != nil {
		return nil, "", err
	}
	if len(req.Reason) > maxReason || !utf8.ValidString(req.Reason) {
		return nil, "", fail(http.StatusBadRequest, "say it shorter", "reason: is %d bytes; 1024 of UTF-8 may be", len(req.Reason))
	}
	if err := a.Freeze(r.Context(), req.On, req.Reason); err != nil {
		return nil, "", fail(http.StatusServiceUnavailable, "the store of the revisions must answer", "%v", err)
	}
	did := "freeze off"
	if req.On {
		did = "freeze on: " + req.Reason
	}
	return a.Frozen(), did, nil
}
