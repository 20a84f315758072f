package compile

import (
	"reflect"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy/v1alpha1"
)

// level orders the layers of a stack; a greater one is more specific.
type level uint8

const (
	levelDefault level = iota
	levelCatalog
	levelMesh
	levelService
	levelServiceFrom
	levelRoute  // a policy that targets the TrafficRoute
	levelRule   // a policy that targets one rule of it
	levelInline // the rule itself
)

// layer is what one source says about a destination. Immutable once made.
type layer struct {
	id       uint64 // unique within a Compiler; 0 for the catalog's
	level    level
	doc      *document         // nil for mesh-default and the catalog
	at       string            // where in the document the settings stand: "spec.", "spec.rules[2]."
	rule     string            // of levelRule and levelInline
	settings []setting         // in schema order
	check    *mesh.HealthCheck // of levelCatalog, instead of an id

	setsProtocol bool // connection.protocol is among settings
}

// setting is one field that a layer sets.
type setting struct {
	leaf  int           // index in schema
	value reflect.Value // shared with the document, never changed
	text  string
}

// settingsOf lists the fields that spec sets.
func settingsOf(spec *v1alpha1.ResiliencePolicySpec) []setting {
	if spec == nil {
		return nil
	}
	v := reflect.ValueOf(spec).Elem()
	var out []setting
	for i := range schema {
		if value, ok := schema[i].get(v); ok {
			out = append(out, setting{leaf: i, value: value, text: text(value)})
		}
	}
	return out
}

// ref is the label of the layer's document; zero for mesh-default and the
// catalog.
func (l *layer) ref() mesh.DocumentRef {
	if l.doc == nil {
		return mesh.DocumentRef{}
	}
	return l.doc.Ref()
}

// path is where the layer's document has field i; "" where there is none.
func (l *layer) path(i int) string {
	if l.doc == nil {
		return ""
	}
	return l.at + schema[i].path
}

// why tells a reader of `policy explain` what the layer's rank is.
func (l *layer) why(caller string) string {
	switch l.level {
	case levelDefault:
		return "built-in"
	case levelCatalog:
		return "catalog"
	case levelMesh:
		return "Mesh"
	case levelService:
		return "Service"
	case levelServiceFrom:
		return "Service, from " + caller
	case levelRoute:
		return "TrafficRoute"
	case levelRule:
		return "rule " + l.rule
	default:
		return "rule " + l.rule + ", inline"
	}
}
