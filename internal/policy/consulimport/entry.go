package consulimport

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"meshlite.dev/internal/mesh"
)

// entry is one config entry.
type entry struct {
	kind, name string
	body       *object
	taken      bool // documents are made of it: what nobody read of it is left over
	leftovers  []Leftover
}

// String is how documents name the entry they come from.
func (e *entry) String() string { return e.kind + "/" + e.name }

func (e *entry) leave(field, value, instead string, moves bool) {
	e.leftovers = append(e.leftovers, Leftover{Kind: e.kind, Name: e.name, Field: field, Value: value, Instead: instead, Moves: moves})
}

// Parse splits JSON as Consul gives it into entries: an object, a list of
// them, or several of either.
func Parse(raw []byte) ([]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	var all []json.RawMessage
	for {
		var v json.RawMessage
		err := dec.Decode(&v)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("is not JSON as Consul gives it: %w", err)
		}
		switch {
		case len(v) > 0 && v[0] == '{':
			all = append(all, v)
		case len(v) > 0 && v[0] == '[':
			var list []json.RawMessage
			if err := json.Unmarshal(v, &list); err != nil {
				return nil, fmt.Errorf("is not JSON as Consul gives it: %w", err)
			}
			all = append(all, list...)
		default:
			return nil, errors.New("is not JSON as Consul gives it: want an entry or a list of entries")
		}
	}
}

// read opens an entry. What cannot be imported at all, as a whole, is left
// over: ok is false.
func read(raw json.RawMessage) (e *entry, ok bool) {
	e = &entry{}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var fields map[string]any
	if err := dec.Decode(&fields); err != nil {
		e.kind = "entry"
		e.leave("", show(string(raw)), "is not a config entry in JSON", true)
		return e, false
	}
	o := e.object("", fields)
	e.kind, _ = o.value("Kind").(string)
	e.name, _ = o.value("Name").(string)
	e.body = o
	whole := func(instead string) (*entry, bool) {
		e.leave("", "", instead, true)
		return e, false
	}
	namespace, _ := o.value("Namespace").(string)
	partition, _ := o.value("Partition").(string)
	switch {
	case !slices.Contains(Kinds(), e.kind):
		return whole("is not imported: Meshlite has no counterpart of this kind, or reads it from the catalog")
	case cmp.Or(namespace, "default") != "default" || cmp.Or(partition, "default") != "default":
		return whole("is not of the default namespace and partition; import each into a Meshlite of its own")
	case e.kind != ProxyDefaults && !mesh.IsDNSLabel(e.name):
		return whole("Meshlite serves names of a-z, 0-9 and '-', up to 63 of them; register the service under such a name")
	}
	o.ignore("CreateIndex", "ModifyIndex", "Hash", "Meta", "Status")
	return e, true
}
