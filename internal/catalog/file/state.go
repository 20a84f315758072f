package file

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
)

// contents remembers what each file held when it was last right. A file that
// is broken keeps that until it is right again or gone.
type contents struct {
	files map[string]*content
}

type content struct {
	raw      []byte // as decoded last, right or not
	read     bool   // raw was decoded
	good     []Definition
	everGood bool
	faults   []Fault // of the latest reading; nil: it is right
}

// take brings the contents to a reading of the folder.
func (c *contents) take(f folder) {
	if c.files == nil {
		c.files = map[string]*content{}
	}
	for name := range c.files {
		if f.files[name] == nil && f.faults[name] == nil {
			delete(c.files, name)
		}
	}
	for name, raw := range f.files {
		file := c.file(name)
		if file.read && bytes.Equal(file.raw, raw) {
			continue
		}
		file.raw, file.read = raw, true
		defs, faults := Decode(name, raw)
		if file.faults = faults; faults == nil {
			file.good, file.everGood = defs, true
		}
	}
	for name, err := range f.faults {
		file := c.file(name)
		file.raw, file.read = nil, false
		file.faults = []Fault{{File: name, Cure: "cannot be read: " + err.Error()}}
	}
}

func (c *contents) file(name string) *content {
	file := c.files[name]
	if file == nil {
		file = &content{}
		c.files[name] = file
	}
	return file
}

// blank reports files that have never been right, sorted: nobody knows what
// they define.
func (c *contents) blank() []string {
	var names []string
	for name, file := range c.files {
		if !file.everGood {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// defined is one service as all files together define it.
type defined struct {
	endpoints []mesh.Endpoint // arranged
	namespace string
	check     *mesh.HealthCheck
	findings  []mesh.Finding
}

// catalogue is what a folder says.
type catalogue struct {
	services map[string]*defined
	skipped  []catalog.Skipped
	findings []mesh.Finding // about files and names, not about one service
}

// combine makes services of the definitions in force. only, when not empty,
// names those of the own datacenter that are served.
func (c *contents) combine(only []string) catalogue {
	out := catalogue{services: map[string]*defined{}}
	unnamed := map[string]bool{}
	owners := map[[2]string]string{}
	for _, name := range slices.Sorted(maps.Keys(c.files)) {
		file := c.files[name]
		for _, f := range file.faults {
			out.findings = append(out.findings, faulty(f, file.everGood))
		}
		for _, d := range file.good {
			switch skip, finding, ok := catalog.CheckName(d.Service); {
			case !ok:
				if !unnamed[d.Service] {
					out.skipped, out.findings = append(out.skipped, skip), append(out.findings, finding)
				}
				unnamed[d.Service] = true
			case d.Kind != "":
				out.skipped = append(out.skipped, catalog.Skipped{Name: d.Service, Reason: fmt.Sprintf("it is a %s, not a service", d.Kind)})
			case !served(d.Key(), only):
			default:
				out.add(name, d, owners)
			}
		}
	}
	for name, s := range out.services {
		var twice []mesh.Finding
		s.endpoints, twice = catalog.Arrange(name, s.endpoints)
		s.findings = append(s.findings, twice...)
	}
	return out
}

// served reports whether a service is, where only some of the own datacenter
// are.
func served(key string, only []string) bool {
	_, datacenter := mesh.SplitServiceKey(key)
	return len(only) == 0 || datacenter != "" || slices.Contains(only, key)
}

// add puts one instance into its service; the file that comes first owns an
// id.
func (c *catalogue) add(file string, d Definition, owners map[[2]string]string) {
	s := c.services[d.Key()]
	if s == nil {
		s = &defined{}
		c.services[d.Key()] = s
	}
	key := [2]string{d.Key(), d.Endpoint.ID}
	if owner, taken := owners[key]; taken {
		f := d.finding(mesh.Warning, d.Path+".id", "is defined in "+owner+" too; that one is used", "give it another id")
		f.Document = file
		s.findings = append(s.findings, f)
		return
	}
	owners[key] = file
	s.endpoints = append(s.endpoints, d.Endpoint)
	s.namespace = cmp.Or(s.namespace, d.Namespace)
	for _, f := range d.Findings {
		f.Document = file
		s.findings = append(s.findings, f)
	}
	switch {
	case d.Check == nil:
	case s.check == nil:
		s.check = d.Check
	case *s.check != *d.Check:
		f := d.finding(mesh.Warning, d.Path+".check", "has another check than the service's first instance, whose check is used for all", "give all instances the same check")
		f.Document = file
		s.findings = append(s.findings, f)
	}
}

func faulty(f Fault, kept bool) mesh.Finding {
	hint := f.Cure
	consequence := "; what the file held last stays in force"
	if !kept {
		consequence = "; nothing of the file is in force"
	}
	return mesh.Finding{
		Code: mesh.CodeInvalidCatalogEntry, Severity: mesh.Error, Document: f.File, Path: f.Path,
		Message: f.Error() + consequence, Hint: hint,
	}
}
