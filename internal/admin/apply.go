package admin

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/policy"
)

// applyPolicies puts and removes documents as one change set: all are valid, or
// none is written.
func (a *api) applyPolicies(r *http.Request, body []byte) (any, string, error) {
	var req adminapi.ApplyRequest
	if err := decode(body, &req); err != nil {
		return nil, "", err
	}
	if err := a.writes(); err != nil {
		return nil, "", err
	}
	changes, err := changeSet(req)
	if err != nil {
		return nil, "", err
	}
	held, err := a.Writer.Held(r.Context(), policy.KeysOf(changes))
	if err != nil {
		return nil, "", err
	}
	results := []adminapi.ApplyResult{}
	for _, c := range changes {
		results = append(results, adminapi.ApplyResult{Document: c.Key.String(), Result: string(c.Result(held))})
	}
	do, did := a.Writer.Write, "apply "+describe(results)
	if req.DryRun {
		do, did = a.Writer.Check, did+", dry run"
	}
	switch err := do(r.Context(), changes); {
	case errors.Is(err, policy.ErrChanged):
		return nil, "", fail(http.StatusConflict, "read it again, then repeat the edit", "%v", err)
	case err != nil:
		return nil, "", fail(http.StatusConflict, "", "%v", err)
	}
	return adminapi.ApplyResponse{Results: results}, did, nil
}

// writes is an error where policies are not the server's to write.
func (a *api) writes() error {
	if a.Writer == nil {
		return fail(http.StatusConflict, "with --policy-dir the server writes policies; with --policy-source consul or kube meshctl does, with your own credentials", "this server writes no policies")
	}
	return nil
}

// held shows a document for an edit.
func (a *api) held(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	key, err := keyOf(r)
	if err != nil {
		return nil, err
	}
	if err := a.writes(); err != nil {
		return nil, err
	}
	all, err := a.Writer.Held(r.Context(), []policy.Key{key})
	if err != nil {
		return nil, err
	}
	h, ok := all[key]
	if !ok {
		return nil, noPolicy(key)
	}
	return adminapi.HeldDocument{Text: string(h.Text), Version: h.Version, Owner: h.Owner}, nil
}

// keyOf reads the document that the path names.
func keyOf(r *http.Request) (policy.Key, error) {
	key, err := policy.ParseKey(r.PathValue("kind") + "/" + r.PathValue("namespace") + "/" + r.PathValue("name"))
	if err != nil {
		return key, fail(http.StatusBadRequest, "/v1/policies/ResiliencePolicy/default/orders", "%v", err)
	}
	return key, nil
}

func noPolicy(key policy.Key) error {
	return fail(http.StatusNotFound, "meshctl policy get lists them", "no policy %s", key)
}

// changeSet reads the documents of a request; its error names every fault.
func changeSet(req adminapi.ApplyRequest) ([]policy.Change, error) {
	var parts []policy.Proposal
	for i, raw := range req.Documents {
		parts = append(parts, policy.Decode(fmt.Sprintf("documents[%d]", i), raw))
	}
	all := policy.Join(parts...)
	var faults []string
	for _, r := range all.Refused {
		for _, f := range r.Faults {
			faults = append(faults, f.Error())
		}
	}
	var changes []policy.Change
	for _, d := range all.Documents {
		changes = append(changes, policy.Change{Key: d.Key, Document: d, Version: req.Expect[d.Key.String()]})
	}
	for _, text := range req.Delete {
		key, err := policy.ParseKey(text)
		if err != nil {
			faults = append(faults, "delete: "+err.Error())
			continue
		}
		changes = append(changes, policy.Change{Key: key, Version: req.Expect[text]})
	}
	faults = append(faults, unexpected(req.Expect, changes)...)
	if len(faults) > 0 {
		return nil, fail(http.StatusUnprocessableEntity, "meshctl policy validate -f says the same", "%s", strings.Join(faults, "\n"))
	}
	return changes, nil
}

// unexpected finds versions of documents that the change set does not touch,
// and documents that it touches twice.
func unexpected(expect map[string]string, changes []policy.Change) (faults []string) {
	in := map[string]bool{}
	for _, c := range changes {
		if name := c.Key.String(); in[name] {
			faults = append(faults, fmt.Sprintf("%s: is in the change set twice", name))
		}
		in[c.Key.String()] = true
	}
	for name := range expect {
		if !in[name] {
			faults = append(faults, fmt.Sprintf("expect: %q: the change set does not have it", name))
		}
	}
	slices.Sort(faults)
	return faults
}

func describe(results []adminapi.ApplyResult) string {
	var out []string
	for _, r := range results {
		out = append(out, r.Document+" "+r.Result)
	}
	return strings.Join(out, ", ")
}
