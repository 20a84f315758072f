package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/v1alpha1"
)

// defaultKind is the kind under which mesh-default is shown.
const defaultKind = "ResiliencePolicy"

func (a *api) policies(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	s, err := a.state()
	if err != nil {
		return nil, err
	}
	builtin, err := meshDefault()
	if err != nil {
		return nil, err
	}
	out := adminapi.Policies{Revision: RevisionLabel(s.Revision), Carrier: a.Carrier, Items: []adminapi.Policy{builtin}}
	for _, d := range a.documents(r.Context(), s) {
		out.Items = append(out.Items, a.policyRow(d))
	}
	return out, nil
}

// documents are those in force or refused, and those that a rollout refused before
// any version of them was in force.
func (a *api) documents(ctx context.Context, s State) []compile.DocumentStatus {
	rows := s.Result.Documents()
	if a.Rollouts == nil {
		return rows
	}
	all, err := a.Rollouts.Rollouts(ctx)
	if err != nil {
		return rows
	}
	known := map[string]bool{}
	for _, d := range rows {
		known[d.Key.String()] = true
	}
	for _, p := range all.Pinned {
		if key, err := policy.ParseKey(p.Document); err == nil && !known[p.Document] && p.Hash != "" {
			rows = append(rows, compile.DocumentStatus{Key: key, Accepted: compile.Accepted, Message: "no version is in force: rollout " + p.Rollout + ": " + p.Reason})
		}
	}
	slices.SortStableFunc(rows, func(a, b compile.DocumentStatus) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	return rows
}

func (a *api) policyRow(d compile.DocumentStatus) adminapi.Policy {
	row := adminapi.Policy{
		Kind: d.Key.Kind, Namespace: d.Key.Namespace, Name: d.Key.Name,
		Targets: d.Targets, Accepted: string(d.Accepted), Message: d.Message,
	}
	if d.Document != nil {
		row.Generation, row.Source, row.Document = d.Document.Generation, d.Document.Source, d.Document.Canonical
	}
	if row.Targets == nil {
		row.Targets = []string{}
	}
	if a.Labels != nil {
		row.Labels = a.Labels(d.Key)
	}
	if a.Status == nil {
		return row
	}
	if s, ok := a.Status(d.Key); ok {
		row.InForceGeneration, row.Conditions = s.InForceGeneration, conditionRows(s.Conditions)
		for _, t := range s.Ancestors {
			row.Ancestors = append(row.Ancestors, adminapi.Ancestor{Target: targetName(t.AncestorRef), Conditions: conditionRows(t.Conditions)})
		}
	}
	return row
}

func conditionRows(conditions []policy.Condition) []adminapi.Condition {
	out := make([]adminapi.Condition, len(conditions))
	for i, c := range conditions {
		out[i] = adminapi.Condition{
			Type: c.Type, Status: string(c.Status), Reason: c.Reason, Message: c.Message,
			ObservedGeneration: c.ObservedGeneration, LastTransitionTime: c.LastTransitionTime.Time,
		}
	}
	return out
}

func targetName(ref v1alpha1.TargetRef) string {
	name := ref.Kind
	for _, part := range []string{ref.Name, ref.SectionName} {
		if part != "" {
			name += "/" + part
		}
	}
	return name
}

// meshDefault is the built-in policy in the shape of a document.
func meshDefault() (adminapi.Policy, error) {
	doc, err := json.Marshal(map[string]any{
		"apiVersion": "meshlite.dev/v1alpha1", "kind": defaultKind,
		"metadata": map[string]string{"name": mesh.DefaultPolicyName}, "spec": policy.MeshDefault(),
	})
	if err != nil {
		return adminapi.Policy{}, fmt.Errorf("write mesh-default: %w", err)
	}
	return adminapi.Policy{
		Kind: defaultKind, Name: mesh.DefaultPolicyName, Source: "built-in", Targets: []string{"Mesh"},
		Accepted: string(compile.Accepted), Document: doc,
	}, nil
}

// RevisionLabel is a revision as people see it: "12 (3f9c2a1b)".
func RevisionLabel(r policy.Revision) string {
	if r.Hash == "" {
		return fmt.Sprintf("%d (%s)", r.Number, mesh.DefaultPolicyName)
	}
	return fmt.Sprintf("%d (%.8s)", r.Number, r.Hash)
}

// explain lists the effective fields of a destination with their origins.
func (a *api) explain(r *http.Request) (any, error) {
	q, err := query(r, "service", "caller", "path", "field")
	if err != nil {
		return nil, err
	}
	s, err := a.state()
	if err != nil {
		return nil, err
	}
	if q["service"] == "" {
		return nil, fail(http.StatusBadRequest, "/v1/explain?service=orders", "parameter %q: must be set", "service")
	}
	if p := q["path"]; p != "" && !strings.HasPrefix(p, "/") {
		return nil, fail(http.StatusBadRequest, "begin it with a slash", "parameter %q: %q is no path", "path", p)
	}
	svc, err := serviceOf(s, q["service"])
	if err != nil {
		return nil, err
	}
	out := adminapi.Explain{
		Service: svc.Name, Caller: q["caller"], Path: q["path"], Revision: RevisionLabel(s.Revision), Fields: []adminapi.ExplainField{},
	}
	for _, f := range explained(svc, q["caller"], q["path"], &out) {
		if inField(f.Path, q["field"]) {
			out.Fields = append(out.Fields, explainRow(f))
		}
	}
	if len(out.Fields) == 0 {
		return nil, fail(http.StatusBadRequest, "leave it out to see all fields", "parameter %q: no field %q", "field", q["field"])
	}
	return out, nil
}

// explained lists the fields that a request of caller gets: those of the rule
// that it falls to where a path is asked for, which out then names.
func explained(svc *mesh.Service, caller, path string, out *adminapi.Explain) []compile.Field {
	d := svc.For(caller)
	if path == "" || d.Routes == nil {
		return compile.Explain(d)
	}
	rule, sooner := compile.RuleFor(d, path)
	for _, r := range sooner {
		out.Sooner = append(out.Sooner, r.Name)
	}
	out.Route = d.Routes.By.String()
	if rule == nil {
		return compile.Explain(d)
	}
	out.Rule = rule.Name
	return compile.ExplainRule(svc.Name, d, rule)
}

// inField reports whether path is field or below it; "" holds every path. The
// field may begin with "spec.", as in a document.
func inField(path, field string) bool {
	field = strings.TrimPrefix(field, "spec.")
	return field == "" || path == field || strings.HasPrefix(path, field+".")
}

func explainRow(f compile.Field) adminapi.ExplainField {
	out := adminapi.ExplainField{
		Field: f.Path, Value: f.Value, Why: f.Origin.Why, Origin: originRow(f.Origin.DocumentRef, f.Origin.Path, f.Origin.Why),
	}
	for _, l := range f.Origin.Lost {
		out.Lost = append(out.Lost, adminapi.ExplainLost{Origin: originRow(l.DocumentRef, l.Path, l.Why), Value: l.Value, Why: l.Why})
	}
	return out
}

func originRow(ref mesh.DocumentRef, path, why string) adminapi.ExplainOrigin {
	if ref.IsDefault() {
		name := mesh.DefaultPolicyName
		if strings.HasPrefix(why, "catalog") {
			name = "catalog"
		}
		return adminapi.ExplainOrigin{Name: name}
	}
	return adminapi.ExplainOrigin{Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name, Generation: ref.Generation, Path: path}
}

func (a *api) findings(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	s, err := a.state()
	if err != nil {
		return nil, err
	}
	out := adminapi.Findings{Items: a.found(s)}
	if out.Items == nil {
		out.Items = []mesh.Finding{}
	}
	return out, nil
}
