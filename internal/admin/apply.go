package admin

import (
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
	if a.Writer == nil {
		return nil, "", fail(http.StatusConflict, "with --policy-dir the server writes policies; with --policy-source consul meshctl does, with CONSUL_HTTP_TOKEN", "this server writes no policies")
	}
	put, remove, err := changeSet(req)
	if err != nil {
		return nil, "", err
	}
	s, err := a.state()
	if err != nil {
		return nil, "", err
	}
	results := Outcome(s.Revision.Documents, put, remove)
	did := "apply " + describe(results)
	if req.DryRun {
		return adminapi.ApplyResponse{Results: results}, did + ", dry run", nil
	}
	if err := a.Writer.Write(r.Context(), put, remove); err != nil {
		return nil, "", fail(http.StatusConflict, "", "%v", err)
	}
	return adminapi.ApplyResponse{Results: results}, did, nil
}

// changeSet reads the documents of a request; its error names every fault.
func changeSet(req adminapi.ApplyRequest) (put []*policy.Document, remove []policy.Key, err error) {
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
	for _, text := range req.Delete {
		parts := strings.Split(text, "/")
		if len(parts) != 3 || slices.Contains(parts, "") {
			faults = append(faults, fmt.Sprintf("delete: %q: use KIND/NAMESPACE/NAME", text))
			continue
		}
		remove = append(remove, policy.Key{Kind: parts[0], Namespace: parts[1], Name: parts[2]})
	}
	if len(faults) > 0 {
		return nil, nil, fail(http.StatusUnprocessableEntity, "meshctl policy validate -f says the same", "%s", strings.Join(faults, "\n"))
	}
	return all.Documents, remove, nil
}

// Outcome says what a change set does to the documents in force.
func Outcome(inForce, put []*policy.Document, remove []policy.Key) []adminapi.ApplyResult {
	old := map[policy.Key]string{}
	for _, d := range inForce {
		old[d.Key] = d.Hash
	}
	results := []adminapi.ApplyResult{}
	for _, d := range put {
		result := "configured"
		switch old[d.Key] {
		case "":
			result = "created"
		case d.Hash:
			result = "unchanged"
		}
		results = append(results, adminapi.ApplyResult{Document: d.Key.String(), Result: result})
	}
	for _, k := range remove {
		result := "deleted"
		if old[k] == "" {
			result = "absent"
		}
		results = append(results, adminapi.ApplyResult{Document: k.String(), Result: result})
	}
	return results
}

func describe(results []adminapi.ApplyResult) string {
	var out []string
	for _, r := range results {
		out = append(out, r.Document+" "+r.Result)
	}
	return strings.Join(out, ", ")
}
