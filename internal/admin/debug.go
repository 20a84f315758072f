package admin

import (
	"fmt"
	"net/http"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
)

// The documents of /debug show each stage as it is. They may change with any
// release; what scripts rely on stands in adminapi.
type (
	debugCatalog struct {
		Kind      string          `json:"kind"`
		Address   string          `json:"address"`
		Connected bool            `json:"connected"`
		Stale     bool            `json:"stale"`
		LastError string          `json:"lastError,omitempty"`
		Watches   []debugWatch    `json:"watches"`
		Holds     []adminapi.Hold `json:"holds"`
		Skipped   []debugSkipped  `json:"skipped"`
		Notes     []mesh.Finding  `json:"notes"`
		Problems  []mesh.Finding  `json:"problems"`
		Services  []debugService  `json:"services"`
	}
	debugWatch struct {
		Service   string     `json:"service"` // "": the name list
		LastRead  *time.Time `json:"lastRead,omitempty"`
		Index     uint64     `json:"index"`
		LastError string     `json:"lastError,omitempty"`
	}
	debugSkipped struct {
		Name   string `json:"name"`
		Reason string `json:"reason"`
		Hint   string `json:"hint,omitempty"`
	}
	debugService struct {
		Name      string              `json:"name"`
		Namespace string              `json:"namespace"`
		Protocol  string              `json:"protocol"`
		Synced    bool                `json:"synced"`
		Meta      map[string]string   `json:"meta,omitempty"`
		Endpoints []adminapi.Endpoint `json:"endpoints"`
	}
	debugModel struct {
		Revision string              `json:"revision"`
		At       time.Time           `json:"at"`
		Services []debugModelService `json:"services"`
		Faults   []debugFault        `json:"faults"`
	}
	debugModelService struct {
		Name      string                      `json:"name"`
		Namespace string                      `json:"namespace"`
		Synced    bool                        `json:"synced"`
		Endpoints int                         `json:"endpoints"`
		Subsets   []string                    `json:"subsets,omitempty"`
		Default   debugDestination            `json:"default"`
		Callers   map[string]debugDestination `json:"callers,omitempty"`
	}
	debugDestination struct {
		Protocol  string                  `json:"protocol"`
		Documents []string                `json:"documents"`
		Route     string                  `json:"route,omitempty"`
		Rules     []debugRule             `json:"rules,omitempty"`
		Fields    []adminapi.ExplainField `json:"fields,omitempty"` // with ?service= alone
	}
	debugRule struct {
		Name      string   `json:"name"` // "": what no rule takes
		Pools     []string `json:"pools,omitempty"`
		Documents []string `json:"documents"`
	}
	debugFault struct {
		Service  string   `json:"service"`
		Type     string   `json:"type"`
		Name     string   `json:"name"`
		Caller   string   `json:"caller,omitempty"`
		Policies []string `json:"policies"`
		Error    string   `json:"error"`
	}
)

func (a *api) debugCatalog(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	st := a.Catalog.Status()
	out := debugCatalog{
		Kind: st.Kind, Address: st.Address, Connected: st.Connected, Stale: st.Stale, LastError: st.LastError, Notes: st.Notes,
	}
	for _, w := range st.Watches {
		out.Watches = append(out.Watches, debugWatch{Service: w.Service, LastRead: moment(w.LastRead), Index: w.Index, LastError: w.LastError})
	}
	for _, h := range st.Holds {
		out.Holds = append(out.Holds, *holdRow(h))
	}
	for _, s := range st.Skipped {
		out.Skipped = append(out.Skipped, debugSkipped(s))
	}
	if s, ok := a.State(); ok {
		out.Problems = s.Snapshot.Problems
		for _, svc := range s.Snapshot.Services.All() {
			out.Services = append(out.Services, catalogService(svc))
		}
	}
	return out, nil
}

func catalogService(s *catalog.Service) debugService {
	out := debugService{Name: s.Name, Namespace: s.Namespace, Protocol: string(s.Protocol), Synced: s.Synced, Meta: s.Meta}
	for i := range s.Endpoints {
		out.Endpoints = append(out.Endpoints, endpointRow(&s.Endpoints[i]))
	}
	return out
}

func (a *api) debugModel(r *http.Request) (any, error) {
	q, err := query(r, "service")
	if err != nil {
		return nil, err
	}
	s, err := a.state()
	if err != nil {
		return nil, err
	}
	out := debugModel{Revision: RevisionLabel(s.Revision), At: s.At}
	for _, f := range s.Faults {
		out.Faults = append(out.Faults, debugFault{
			Service: f.Service, Type: shortType(f.Type), Name: f.Name, Caller: f.Caller, Policies: f.Policies, Error: f.Err.Error(),
		})
	}
	if name := q["service"]; name != "" {
		svc, err := serviceOf(s, name)
		if err != nil {
			return nil, err
		}
		out.Services = append(out.Services, modelService(svc, true))
		return out, nil
	}
	for _, svc := range s.Result.Model.Services.All() {
		out.Services = append(out.Services, modelService(svc, false))
	}
	return out, nil
}

func modelService(s *mesh.Service, fields bool) debugModelService {
	out := debugModelService{
		Name: s.Name, Namespace: s.Namespace, Synced: s.Synced, Endpoints: len(s.Endpoints),
		Default: destination(s.Default, fields),
	}
	for _, sub := range s.Subsets {
		out.Subsets = append(out.Subsets, sub.Name)
	}
	for caller, d := range s.ByCaller {
		if out.Callers == nil {
			out.Callers = map[string]debugDestination{}
		}
		out.Callers[caller] = destination(d, fields)
	}
	return out
}

func ruleRow(r *mesh.Rule) debugRule {
	out := debugRule{Name: r.Name, Documents: []string{}}
	add := func(what string, p mesh.Pool) {
		out.Pools = append(out.Pools, what+" "+p.String()+poolStates[p.State])
	}
	for _, b := range r.Backends {
		add(fmt.Sprint(b.Weight, " to"), b.Pool)
	}
	for _, p := range r.Failover {
		add("failover", p)
	}
	for _, m := range r.Mirrors {
		add("mirror", m.Pool)
	}
	for _, ref := range r.Resilience.Documents {
		out.Documents = append(out.Documents, ref.String())
	}
	return out
}

var poolStates = map[mesh.PoolState]string{mesh.Missing: ", missing", mesh.NotSynced: ", not synced"}

func destination(d *mesh.Destination, fields bool) debugDestination {
	out := debugDestination{Protocol: string(d.Protocol), Documents: []string{}}
	for _, ref := range d.Documents {
		out.Documents = append(out.Documents, ref.String())
	}
	if d.Routes != nil {
		out.Route = d.Routes.By.String()
		for i := range d.Routes.Rules {
			out.Rules = append(out.Rules, ruleRow(&d.Routes.Rules[i]))
		}
	}
	if fields {
		for _, f := range compile.Explain(d) {
			out.Fields = append(out.Fields, explainRow(f))
		}
	}
	return out
}

// debugStatus shows what statuses are made of.
func (a *api) debugStatus(r *http.Request) (any, error) {
	if _, err := query(r); err != nil {
		return nil, err
	}
	return a.Reports(), nil
}
