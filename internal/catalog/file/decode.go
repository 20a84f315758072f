package file

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
)

// Definition is one instance as a file defines it.
type Definition struct {
	Service   string // as written; perhaps not a DNS label
	Kind      string // of a proxy or gateway; "" for a plain service
	Namespace string // Consul Enterprise's field; meta beats it
	// Datacenter is meta's, of an instance that stands in another one; "" is
	// the own.
	Datacenter string
	Path       string // "services[1]"
	Endpoint   mesh.Endpoint
	Check      *mesh.HealthCheck // the first check that Envoy can make, nil without one
	Findings   []mesh.Finding    // about checks that are not made
}

// Key is the name under which the instance is served: "orders", or of another
// datacenter "orders@dc2".
func (d *Definition) Key() string { return mesh.ServiceKey(d.Service, d.Datacenter) }

// Keys of a definition and of its checks, as Consul compares them. Those that
// Meshlite does not read are accepted so that a file serves both.
var (
	serviceKeys = keys(`id name kind tags meta address port ports tagged_addresses weights locality namespace partition
		check checks enable_tag_override token proxy connect socket_path ai`)
	checkKeys = keys(`id check_id name notes service_id token status http header method body disable_redirects tls_server_name
		tls_skip_verify tcp tcp_use_tls udp grpc grpc_use_tls h2ping h2ping_use_tls os_service args script_args shell docker_container_id
		alias_node alias_service interval timeout ttl output_max_size success_before_passing failures_before_warning failures_before_critical
		deregister_critical_service_after namespace partition`)
)

func keys(list string) []string {
	var all []string
	for key := range strings.FieldsSeq(list) {
		all = append(all, plain(key))
	}
	return all
}

// Decode reads the service definitions of one file, JSON or HCL by the ending
// of its name. With any fault it returns no definition: all faults at once,
// sorted by path.
func Decode(name string, raw []byte) ([]Definition, []Fault) {
	m, err := parse(name, raw)
	if err != nil {
		return nil, []Fault{{File: name, Cure: err.Error()}}
	}
	var faults []Fault
	top := newFields("", m, &faults)
	for key, written := range top.names {
		if key != "service" && key != "services" {
			top.fault(written, nil, "is not read here; a file holds service and services alone")
		}
	}
	var all []Definition
	for _, key := range []string{"service", "services"} {
		if !top.has(key) {
			continue
		}
		for _, f := range objects(top.values[key], top.names[key], &faults) {
			all = append(all, define(f))
		}
	}
	if len(all) == 0 && len(faults) == 0 {
		faults = append(faults, Fault{Cure: "holds no service; write service {…} or services […], or remove the file"})
	}
	faults = append(faults, twice(all)...)
	if len(faults) == 0 {
		return all, nil
	}
	for i := range faults {
		faults[i].File = name
	}
	slices.SortFunc(faults, func(a, b Fault) int { return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Cure, b.Cure)) })
	return nil, faults
}

func define(f fields) Definition {
	f.only(serviceKeys)
	d := Definition{Service: f.text("name"), Kind: f.text("kind"), Namespace: f.text("namespace"), Path: f.path}
	if d.Service == "" && !f.has("name") {
		f.fault("name", nil, "is missing; give the service a name")
	}
	port, ok := f.number("port")
	if f.has("ports") && !f.has("port") {
		port, ok = defaultPort(f)
	}
	address := f.text("address")
	switch {
	case !f.has("address"):
		f.fault("address", nil, "is missing; there is no agent here whose address could stand in")
	case d.Kind != "":
	case f.has("socketpath"):
		f.fault(f.names["socketpath"], nil, "is not served; give the instance an address and a port")
	case catalog.CheckAddress(address, 1) != "":
		f.fault(f.names["address"], address, "use the IP address that clients can call")
	case !ok && !f.has("port"):
		f.fault("port", nil, "is missing; use 1 to 65535")
	case ok && (port < 1 || port > 65535):
		f.fault(cmp.Or(f.names["port"], "ports"), port, "use 1 to 65535")
	}
	d.Endpoint = mesh.Endpoint{
		ID: cmp.Or(f.text("id"), d.Service), Address: address, Port: uint32(max(min(port, 65535), 0)), Health: mesh.Healthy,
		Weight: 1, Tags: slices.Compact(slices.Sorted(slices.Values(f.strings("tags")))), Meta: f.texts("meta"),
	}
	d.Datacenter = d.Endpoint.Meta[catalog.MetaDatacenter]
	d.Endpoint.Datacenter = d.Datacenter
	if d.Datacenter != "" && !mesh.IsServiceKey(mesh.ServiceKey("x", d.Datacenter)) {
		f.fault("meta."+catalog.MetaDatacenter, d.Datacenter, "use a name of a-z, 0-9, '-' and '_'")
	}
	if w, ok := f.object("weights"); ok {
		w.only([]string{"passing", "warning"})
		passing, said := w.number("passing")
		if _, _ = w.number("warning"); said {
			d.Endpoint.Weight = catalog.ClampWeight(passing)
		}
	}
	d.Endpoint.Locality = locality(f, d.Endpoint.Meta)
	if _, fault := catalog.Read("", nil, d.Endpoint.Meta); fault != "" {
		d.Findings = append(d.Findings, d.finding(mesh.Warning, f.at("meta.protocol"), fault, "its protocol is taken from tags, else http1"))
	}
	for _, key := range []string{"check", "checks"} {
		for _, c := range objects(f.values[key], f.at(cmp.Or(f.names[key], key)), f.faults) {
			d.addCheck(c)
		}
	}
	return d
}

// defaultPort reads the ports list of newer Consuls.
func defaultPort(f fields) (int, bool) {
	for _, p := range objects(f.values["ports"], f.at(f.names["ports"]), f.faults) {
		if isDefault, _ := p.values["default"].(bool); isDefault {
			return p.number("port")
		}
	}
	f.fault(f.names["ports"], nil, "has no default port; mark one with default = true")
	return 0, true
}

func locality(f fields, meta map[string]string) mesh.Locality {
	if l, ok := f.object("locality"); ok {
		l.only([]string{"region", "zone"})
		return mesh.Locality{Region: l.text("region"), Zone: l.text("zone")}
	}
	return mesh.Locality{Region: meta[catalog.MetaRegion], Zone: meta[catalog.MetaZone]}
}

func (d *Definition) finding(severity mesh.Severity, path, message, hint string) mesh.Finding {
	return mesh.Finding{
		Code: mesh.CodeInvalidCatalogEntry, Severity: severity, Service: d.Key(), Path: path,
		Message: fmt.Sprintf("instance %q of %q %s", d.Endpoint.ID, d.Key(), message), Hint: hint,
	}
}

// twice names instances that a file defines twice.
func twice(all []Definition) (faults []Fault) {
	seen := map[[2]string]string{}
	for _, d := range all {
		key := [2]string{d.Key(), d.Endpoint.ID}
		if before, ok := seen[key]; ok {
			faults = append(faults, Fault{Path: d.Path + ".id", Value: show(d.Endpoint.ID), Cure: fmt.Sprintf("give it another id: %s of the same service has this one", before)})
			continue
		}
		seen[key] = d.Path
	}
	return faults
}
