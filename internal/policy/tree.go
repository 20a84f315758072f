package policy

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxDepth is how deep a document may nest; the schema needs 7.
const maxDepth = 32

// tree is one document as JSON has it, with the line of every field.
type tree struct {
	value map[string]any
	lines map[string]int    // by path
	words map[string]string // by path, what older YAML takes for a boolean: "on"
	first int
}

// line returns where path, or the nearest thing around it, stands.
func (t *tree) line(path string) int {
	for path != "" {
		if n, ok := t.lines[path]; ok {
			return n
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			break
		}
		path = path[:cut]
	}
	return t.first
}

// reader turns YAML nodes into values.
type reader struct {
	tree   *tree
	offset int // lines before the document
	faults []FieldError
}

// parse reads one document. A nil tree without faults is an empty document.
func parse(in part) (*tree, []FieldError) {
	var root yaml.Node
	if depth := nesting(in.text); depth > maxDepth {
		return nil, []FieldError{{Line: in.line, Reason: fmt.Sprintf("nests more than %d levels deep", maxDepth)}}
	}
	if err := yaml.Unmarshal(in.text, &root); err != nil {
		line, reason := position(err.Error())
		return nil, []FieldError{{Line: in.line + max(line-1, 0), Reason: "is not YAML: " + reason}}
	}
	if len(root.Content) == 0 || root.Content[0].Tag == "!!null" {
		return nil, nil
	}
	r := reader{tree: &tree{lines: map[string]int{}, words: map[string]string{}, first: in.line}, offset: in.line - 1}
	v := r.read(root.Content[0], "", 0)
	obj, ok := v.(map[string]any)
	if !ok && len(r.faults) == 0 {
		r.fault("", root.Content[0], fmt.Sprintf("must be an object with apiVersion, kind, metadata and spec, is %s", kindOf(v)))
	}
	r.tree.value = obj
	return r.tree, r.faults
}

// nesting bounds the depth of flow collections and indentation before the
// parser, which recurses, sees them. It may count too much within strings, by
// far less than a document needs.
func nesting(text []byte) int {
	depth, deepest, indent := 0, 0, 0
	var columns []int // of open block levels
	startOfLine := true
	for _, c := range text {
		switch {
		case c == '\n':
			startOfLine, indent = true, 0
			continue
		case startOfLine && (c == ' ' || c == '-' || c == '?'):
			indent++
			continue
		}
		if startOfLine {
			startOfLine = false
			for len(columns) > 0 && columns[len(columns)-1] >= indent {
				columns = columns[:len(columns)-1]
			}
			columns = append(columns, indent)
		}
		switch c {
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(depth-1, 0)
		}
		deepest = max(deepest, depth+len(columns))
	}
	return deepest
}

func (r *reader) fault(path string, n *yaml.Node, reason string) {
	r.faults = append(r.faults, FieldError{Path: path, Line: r.offset + n.Line, Reason: reason})
}

func (r *reader) read(n *yaml.Node, path string, depth int) any {
	if depth > maxDepth {
		r.fault(path, n, fmt.Sprintf("nests more than %d levels deep", maxDepth))
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		return r.object(n, path, depth)
	case yaml.SequenceNode:
		out := make([]any, 0, len(n.Content))
		for i, e := range n.Content {
			at := fmt.Sprintf("%s[%d]", path, i)
			r.tree.lines[at] = r.offset + e.Line
			out = append(out, r.read(e, at, depth+1))
		}
		return out
	case yaml.ScalarNode:
		return r.scalar(n, path)
	default:
		r.fault(path, n, "uses an anchor or alias; write the value out")
		return nil
	}
}

func (r *reader) object(n *yaml.Node, path string, depth int) map[string]any {
	out := make(map[string]any, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" {
			r.fault(path, key, "has a key that is not a plain name")
			continue
		}
		if other := elsewhere(key); other != key.Value {
			r.fault(path, key, fmt.Sprintf("has the key %s, which is %s to kubectl; put it in quotes", text(key.Value), other))
			continue
		}
		at := key.Value
		if path != "" {
			at = path + "." + key.Value
		}
		if _, twice := out[key.Value]; twice {
			r.fault(at, key, "is there twice; keep one")
			continue
		}
		r.tree.lines[at] = r.offset + key.Line
		out[key.Value] = r.read(value, at, depth+1)
		if out[key.Value] == nil {
			delete(out, key.Value) // null is absent, as kubectl has it
		}
	}
	return out
}

// yaml11 are the words that kubectl, whose YAML is older, takes for booleans,
// beside true and false.
var yaml11 = map[string]bool{"y": true, "yes": true, "on": true, "n": false, "no": false, "off": false}

// older returns what a plain word is in older YAML, when that is a boolean.
func older(n *yaml.Node) (value, ok bool) {
	if n.Style != 0 || n.ShortTag() != "!!str" || len(n.Value) > 3 {
		return false, false
	}
	low := strings.ToLower(n.Value)
	if n.Value != low && n.Value != strings.ToUpper(n.Value) && n.Value != strings.ToUpper(low[:1])+low[1:] {
		return false, false // oN is a word in every YAML
	}
	value, ok = yaml11[low]
	return value, ok
}

// elsewhere returns the name that kubectl reads for a key.
func elsewhere(key *yaml.Node) string {
	if value, ok := older(key); ok {
		return strconv.FormatBool(value)
	}
	if key.ShortTag() == "!!int" {
		if v, err := strconv.ParseInt(strings.ReplaceAll(key.Value, "_", ""), 0, 64); err == nil {
			return strconv.FormatInt(v, 10)
		}
	}
	return key.Value
}

// scalar reads a value as kubectl does: by the rules of YAML's core schema,
// which are JSON's, and some words as booleans.
func (r *reader) scalar(n *yaml.Node, path string) any {
	if value, ok := older(n); ok {
		r.tree.words[path] = n.Value
		return value
	}
	switch n.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true")
	case "!!int":
		if v, err := strconv.ParseInt(strings.ReplaceAll(n.Value, "_", ""), 0, 64); err == nil {
			return v
		}
		r.fault(path, n, fmt.Sprintf("%s is not a number that fits 64 bits", text(n.Value)))
		return nil
	case "!!float":
		if v, err := strconv.ParseFloat(strings.ReplaceAll(n.Value, "_", ""), 64); err == nil {
			if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
				return int64(v) // 5.0 and 1e3, as JSON writes them
			}
			return v
		}
		r.fault(path, n, fmt.Sprintf("%s is not a number", text(n.Value)))
		return nil
	case "!!str", "!!timestamp":
		return n.Value
	default:
		r.fault(path, n, fmt.Sprintf("has the tag %s; use plain values", n.ShortTag()))
		return nil
	}
}

var yamlPosition = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// position takes the line out of the parser's message.
func position(msg string) (line int, reason string) {
	m := yamlPosition.FindStringSubmatch(msg)
	if m == nil {
		return 0, msg
	}
	line, _ = strconv.Atoi(m[1]) // absent: 0
	return line, msg[len(m[0]):]
}

func kindOf(v any) string {
	switch v.(type) {
	case []any:
		return "a list"
	case string:
		return "a string"
	case nil:
		return "nothing"
	default:
		return fmt.Sprintf("%T", v)
	}
}
