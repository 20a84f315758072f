package consulimport

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
)

// importer holds the entries while documents are made of them.
type importer struct {
	chains
	entries  []*entry
	defaults map[string]*defaults
	protocol string          // of proxy-defaults, "" none
	services []string        // all that are known, sorted
	catalog  map[string]bool // those with instances; nil: nobody knows
	out      Result
}

// Import makes documents of entries as Consul's HTTP API gives them. services
// are the names in the catalog beside, nil where they are not known: what a
// caller sets for all of its upstreams is written for those, and routes of
// other names are reported. The order of neither matters, and no input makes it
// panic.
func Import(entries []json.RawMessage, services []string) Result {
	m := importer{
		chains:   chains{map[string]*router{}, map[string]*splitter{}, map[string]*resolver{}},
		defaults: map[string]*defaults{},
	}
	for _, raw := range entries {
		e, ok := read(raw)
		m.entries = append(m.entries, e)
		if ok {
			m.take(e)
		}
	}
	m.know(services)
	m.policies()
	m.routes()
	for _, e := range m.entries {
		if e.taken {
			e.body.unread()
		}
	}
	for _, e := range m.entries {
		m.out.Leftovers = append(m.out.Leftovers, e.leftovers...)
	}
	m.check()
	m.out.Leftovers = sortLeftovers(m.out.Leftovers)
	return m.out
}

// take reads an entry. The second of one kind and name counts for nothing.
func (m *importer) take(e *entry) {
	if slices.ContainsFunc(m.entries[:len(m.entries)-1], func(o *entry) bool { return o.String() == e.String() }) {
		e.leave("", "", "is there twice; the first one counts", true)
		return
	}
	e.taken = true
	switch e.kind {
	case ServiceDefaults:
		m.defaults[e.name] = readDefaults(e)
	case ServiceRouter:
		m.routers[e.name] = readRouter(e)
	case ServiceSplitter:
		m.splitters[e.name] = readSplitter(e)
	case ServiceResolver:
		m.resolvers[e.name] = readResolver(e)
	case ProxyDefaults:
		m.protocol = readProxy(e)
	}
}

// know lists all services: those of the catalog, and those that entries name.
func (m *importer) know(services []string) {
	known := map[string]bool{}
	for _, s := range services {
		if m.catalog == nil {
			m.catalog = map[string]bool{}
		}
		known[s], m.catalog[s] = s != "consul", true
	}
	for _, e := range m.entries {
		known[e.name] = e.kind != ProxyDefaults
	}
	for _, d := range m.defaults {
		for name := range d.upstreams {
			known[name] = true
		}
	}
	var lost trail
	for _, r := range m.routers {
		for _, rt := range r.routes {
			known[rt.service] = true
		}
	}
	for _, s := range m.splitters {
		for _, sp := range s.splits {
			known[sp.service] = true
		}
	}
	for name, r := range m.resolvers {
		known[m.resolve(pool{service: name}, &lost).service] = true
		for key := range r.failover {
			for _, p := range m.failover(pool{service: name, subset: key}, &lost) {
				known[p.service] = true
			}
		}
	}
	for name, is := range known {
		if is && mesh.IsDNSLabel(name) {
			m.services = append(m.services, name)
		}
	}
	slices.Sort(m.services)
}

// speaks is the protocol of a service as Consul knows it: tcp where nothing
// says another.
func (m *importer) speaks(service string) string {
	if d := m.defaults[service]; d != nil && d.protocol != "" {
		return d.protocol
	}
	if m.protocol != "" {
		return m.protocol
	}
	return "tcp"
}

func validName(o *object, name string) bool {
	if !mesh.IsDNSLabel(name) {
		o.left("Name", "Meshlite serves names of a-z, 0-9 and '-', up to 63 of them")
		return false
	}
	return true
}

// add takes a document. A name that is taken, by a service called
// orders-from-web, gets a number.
func (m *importer) add(d Document) {
	name := d.Name
	for i := 2; slices.ContainsFunc(m.out.Documents, func(o Document) bool { return o.Kind == d.Kind && o.Name == d.Name }); i++ {
		d.Name = named(name, strconv.Itoa(i))
	}
	m.out.Documents = append(m.out.Documents, d)
}

// check keeps the documents that the server would take. What it refuses, such
// as more rules than one document may have, is left over.
func (m *importer) check() {
	slices.SortFunc(m.out.Documents, func(a, b Document) int {
		return strings.Compare(a.Kind+"/"+a.Name, b.Kind+"/"+b.Name)
	})
	var kept []Document
	for _, d := range m.out.Documents {
		raw, err := d.JSON()
		var p policy.Proposal
		if err == nil {
			p = policy.Decode(d.Kind+"/"+d.Name, raw)
		}
		if err == nil && len(p.Refused) == 0 && len(p.Documents) == 1 {
			kept = append(kept, d)
			continue
		}
		from := d.From[0]
		kind, name, _ := strings.Cut(from, "/")
		l := Leftover{Kind: kind, Name: name, Instead: "its " + d.Kind + " was left out", Moves: true}
		for _, r := range p.Refused {
			for _, f := range r.Faults {
				l.Instead += "; " + f.Path + " " + f.Reason
			}
		}
		m.out.Leftovers = append(m.out.Leftovers, l)
	}
	m.out.Documents = kept
}

// sorted returns the keys of a set.
func sorted(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }
