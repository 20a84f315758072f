package admin

import (
	"fmt"
	"maps"
	"net/http"
	"slices"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
)

// policy shows one document, whose kind may be its short name: what became of it, which values it decides, what
// is to be looked at, and which proxies refused what it made.
func (a *api) policy(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	s, err := a.state()
	if err != nil {
		return nil, err
	}
	rows := a.documents(r.Context(), s)
	kind, namespace, name := r.PathValue("kind"), r.PathValue("namespace"), r.PathValue("name")
	at := slices.IndexFunc(rows, func(d compile.DocumentStatus) bool {
		k := d.Key
		return (kind == k.Kind || kind == mesh.ShortKind(k.Kind)) && namespace == k.Namespace && name == k.Name
	})
	if at < 0 {
		return nil, noPolicy(policy.Key{Kind: kind, Namespace: namespace, Name: name})
	}
	key := rows[at].Key
	out := adminapi.PolicyDetail{
		Policy: a.policyRow(rows[at]), Decides: decides(s.Result.Model, key), Findings: []mesh.Finding{}, Refused: []adminapi.PolicyRefusal{},
	}
	label := mesh.DocumentRef{Kind: key.Kind, Namespace: key.Namespace, Name: key.Name, Generation: out.Generation}.String()
	for _, f := range s.Result.Findings() {
		if f.Document == label {
			out.Findings = append(out.Findings, f)
		}
	}
	for _, p := range a.Fleet.Proxies() {
		for _, e := range p.Errors {
			if slices.Contains(e.Policies, label) {
				out.Refused = append(out.Refused, adminapi.PolicyRefusal{Proxy: p.ID, Rejection: adminapi.Rejection(e)})
			}
		}
	}
	return out, nil
}

// decides lists the values in force that came from a document. Services to
// which the same applies are told of once.
func decides(m mesh.Model, key policy.Key) []adminapi.Decided {
	out := []adminapi.Decided{}
	at := map[string]int{} // by what is decided
	add := func(service, caller, rule string, fields []adminapi.DecidedField) {
		if len(fields) == 0 {
			return
		}
		same := fmt.Sprint(caller, "|", rule, "|", fields)
		i, ok := at[same]
		if !ok {
			i = len(out)
			at[same] = i
			out = append(out, adminapi.Decided{Caller: caller, Rule: rule, Fields: fields})
		}
		out[i].Services = append(out[i].Services, service)
	}
	own := map[*mesh.Effective][]adminapi.DecidedField{} // shared by many services
	for name, s := range m.Services.All() {
		for _, d := range destinations(s) {
			fields, ok := own[d.Effective]
			if !ok {
				fields = decided(compile.Explain(d), key)
				own[d.Effective] = fields
			}
			add(name, d.Caller, "", fields)
			if d.Routes == nil {
				continue
			}
			for i := range d.Routes.Rules {
				rule := &d.Routes.Rules[i]
				add(name, d.Caller, rule.Name, beyond(decided(compile.ExplainRule(name, d, rule), key), fields))
			}
		}
	}
	return out
}

func destinations(s *mesh.Service) []*mesh.Destination {
	out := []*mesh.Destination{s.Default}
	for _, caller := range slices.Sorted(maps.Keys(s.ByCaller)) {
		out = append(out, s.ByCaller[caller])
	}
	return out
}

func decided(fields []compile.Field, key policy.Key) []adminapi.DecidedField {
	var out []adminapi.DecidedField
	for _, f := range fields {
		if o := f.Origin; o.Kind == key.Kind && o.Namespace == key.Namespace && o.Name == key.Name {
			out = append(out, adminapi.DecidedField{Field: f.Path, Value: f.Value, Why: f.Origin.Why})
		}
	}
	return out
}

// beyond are the values of a rule that are not those of its service.
func beyond(rule, service []adminapi.DecidedField) []adminapi.DecidedField {
	return slices.DeleteFunc(rule, func(f adminapi.DecidedField) bool {
		return slices.ContainsFunc(service, func(o adminapi.DecidedField) bool { return o.Field == f.Field && o.Value == f.Value })
	})
}
