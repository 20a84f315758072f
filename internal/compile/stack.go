package compile

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"meshlite.dev/internal/mesh"
)

// stack is what decides about one destination, least specific layer first and
// within one level the winner last.
type stack struct {
	layers   []*layer
	caller   string        // "" for the default; named in origins only where a layer has `from`
	protocol mesh.Protocol // the catalog's
}

// key identifies the stack: equal keys, equal merged results. The catalog's
// protocol is no part of it where a layer overrides it.
func (s stack) key() string {
	b := make([]byte, 0, 8*len(s.layers)+len(s.caller)+8)
	overridden, ofCaller := false, false
	for _, l := range s.layers {
		b = binary.LittleEndian.AppendUint64(b, l.id)
		if l.check != nil {
			b = fmt.Appendf(b, "%+v", *l.check)
		}
		overridden = overridden || l.setsProtocol
		ofCaller = ofCaller || l.level == levelServiceFrom
	}
	if !overridden {
		b = append(b, s.protocol...)
	}
	if ofCaller {
		b = append(append(b, '/'), s.caller...)
	}
	return string(b)
}

// with returns the stack and more layers.
func (s stack) with(more []*layer) stack {
	s.layers = slices.Concat(s.layers, more)
	sortLayers(s.layers)
	return s
}

// without returns the stack less one document.
func (s stack) without(d *document) stack {
	s.layers = slices.DeleteFunc(slices.Clone(s.layers), func(l *layer) bool { return l.doc == d })
	return s
}

// under returns the documents of s on what now's catalog says.
func (s stack) under(now stack) stack {
	catalog := func(l *layer) bool { return l.level == levelCatalog }
	s.layers = slices.DeleteFunc(slices.Clone(s.layers), catalog)
	if i := slices.IndexFunc(now.layers, catalog); i >= 0 {
		s.layers = append(s.layers, now.layers[i])
		sortLayers(s.layers)
	}
	s.protocol = now.protocol
	return s
}

// sortLayers orders layers as a stack wants them: by level, and within one the
// lower namespace/name last, so that it wins.
func sortLayers(layers []*layer) {
	slices.SortStableFunc(layers, func(a, b *layer) int {
		if a.level != b.level {
			return int(a.level) - int(b.level)
		}
		if a.doc == nil || b.doc == nil {
			return 0
		}
		return compareNames(b.doc, a.doc)
	})
}

func compareNames(a, b *document) int {
	return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
}
