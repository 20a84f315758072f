package inject

import (
	"slices"

	"go.yaml.in/yaml/v3"
)

// child returns the value of key in a mapping, nil where there is none.
func child(m *yaml.Node, key string) *yaml.Node {
	if m == nil || m.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return m.Content[i+1]
		}
	}
	return nil
}

// text returns the scalar at key, "" where there is none.
func text(m *yaml.Node, key string) string {
	if v := child(m, key); v != nil && v.Kind == yaml.ScalarNode && v.Tag != "!!null" {
		return v.Value
	}
	return ""
}

// items returns the elements of a sequence.
func items(s *yaml.Node) []*yaml.Node {
	if s == nil || s.Kind != yaml.SequenceNode {
		return nil
	}
	return s.Content
}

// ensure returns the mapping or sequence at key, made where it is missing or
// null. A flow-style one becomes block style, as it grows.
func ensure(m *yaml.Node, key string, kind yaml.Kind) *yaml.Node {
	v := child(m, key)
	if v == nil || v.Kind != kind {
		v = &yaml.Node{Kind: kind}
		set(m, key, v)
	}
	v.Style = 0
	return v
}

func set(m *yaml.Node, key string, value *yaml.Node) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			m.Content[i+1] = value
			return
		}
	}
	m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, value)
}

func remove(m *yaml.Node, key string) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			m.Content = slices.Delete(m.Content, i, i+2)
			return
		}
	}
}

// named returns the element of a sequence whose name is name.
func named(s *yaml.Node, name string) *yaml.Node {
	for _, e := range items(s) {
		if text(e, "name") == name {
			return e
		}
	}
	return nil
}

// put replaces the element of the same name where it stands, or adds it at the
// end, or at the front.
func put(s, element *yaml.Node, front bool) {
	name := text(element, "name")
	for i, e := range s.Content {
		if text(e, "name") == name {
			s.Content[i] = element
			return
		}
	}
	if front {
		s.Content = slices.Insert(s.Content, 0, element)
		return
	}
	s.Content = append(s.Content, element)
}

func drop(s *yaml.Node, name string) {
	s.Content = slices.DeleteFunc(s.Content, func(e *yaml.Node) bool { return text(e, "name") == name })
}

// node turns a plain value into YAML.
func node(v any) *yaml.Node {
	var n yaml.Node
	if err := n.Encode(v); err != nil {
		panic("inject: " + err.Error()) // the values are this package's own
	}
	return &n
}
