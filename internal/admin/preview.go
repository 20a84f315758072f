package admin

import (
	"net/http"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/admin/preview"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/xds/dump"
	"meshlite.dev/internal/xds/resource"
	"meshlite.dev/internal/xds/server"
)

// shown is how many changes an answer holds the messages of. A document for
// the whole mesh changes thousands in the same way.
const shown = 500

// preview says what a change set would change on every proxy. Whatever carrier
// the documents live in, nothing is written.
func (a *api) preview(r *http.Request, body []byte) (any, error) {
	var req adminapi.ApplyRequest
	if err := decode(body, &req); err != nil {
		return nil, err
	}
	changes, err := changeSet(req)
	if err != nil {
		return nil, err
	}
	s, err := a.state()
	if err != nil {
		return nil, err
	}
	// One at a time: each compiles the whole mesh.
	select {
	case a.previewing <- struct{}{}:
		defer func() { <-a.previewing }()
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	in := preview.Input{
		Compile: a.Compile, Messages: a.Messages, Snapshot: s.Snapshot, Revision: s.Revision, Served: s.Result.Model,
		Changes: changes, Subscribed: a.Subscribed,
	}
	for _, p := range a.Fleet.Proxies() {
		if p.Connected {
			in.Proxies = append(in.Proxies, p.Node)
		}
	}
	return previewRow(s, changes, in.Proxies, preview.Of(in))
}

func previewRow(s State, changes []policy.Change, proxies []server.Node, o preview.Outcome) (adminapi.Preview, error) {
	out := adminapi.Preview{
		Revision: RevisionLabel(s.Revision), Proxies: len(proxies), Documents: []adminapi.ApplyResult{},
		Changes: []adminapi.PreviewChange{}, Groups: []adminapi.PreviewGroup{}, Findings: []mesh.Finding{},
	}
	held := map[policy.Key]policy.Held{}
	for _, d := range s.Revision.Documents {
		held[d.Key] = policy.Held{Text: d.Canonical}
	}
	for _, c := range changes {
		out.Documents = append(out.Documents, adminapi.ApplyResult{Document: c.Key.String(), Result: string(c.Result(held))})
	}
	for i, c := range o.Changes {
		row := adminapi.PreviewChange{Type: shortType(c.Type), Name: c.Name, Caller: c.Caller, Change: verb(c), Effect: string(c.Effect)}
		if i < shown {
			var err error
			if row.Before, err = message(c.Before); err != nil {
				return out, err
			}
			if row.After, err = message(c.After); err != nil {
				return out, err
			}
		}
		out.Changes = append(out.Changes, row)
	}
	for _, g := range o.Groups {
		out.Groups = append(out.Groups, adminapi.PreviewGroup(g))
	}
	out.Findings = append(out.Findings, o.Findings...)
	for _, f := range o.Faults {
		out.Faults = append(out.Faults, shortType(f.Type)+" "+f.Name+": "+f.Err.Error())
	}
	return out, nil
}

func verb(c preview.Change) string {
	switch {
	case c.Effect == preview.Starts:
		return "needs a restart"
	case c.Before == nil:
		return "add"
	case c.After == nil:
		return "remove"
	default:
		return "change"
	}
}

func message(r *resource.Resource) ([]byte, error) {
	if r == nil {
		return nil, nil
	}
	return dump.JSON(r.Type, r.Body)
}
