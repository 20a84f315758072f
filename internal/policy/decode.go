package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"meshlite.dev/internal/policy/schema"
	"meshlite.dev/internal/policy/v1alpha1"
)

// Limits of what is decoded.
const (
	MaxDocument = 512 << 10 // bytes of one document
	maxSource   = 16 << 20  // bytes of one file
)

// APIVersion of every document.
const (
	APIVersion = group + "/v1alpha1"
	group      = "meshlite.dev"
)

// Kinds of documents that users write.
const (
	KindResiliencePolicy  = "ResiliencePolicy"
	KindTrafficRoute      = "TrafficRoute"
	KindEventSubscription = "EventSubscription"
)

// Kinds lists the kinds of documents in the order in which they sort.
func Kinds() []string { return []string{KindEventSubscription, KindResiliencePolicy, KindTrafficRoute} }

// Plural is a kind as it stands in the API server's URLs: "resiliencepolicies".
func Plural(kind string) string {
	name := strings.ToLower(kind)
	if stem, ok := strings.CutSuffix(name, "y"); ok {
		return stem + "ies"
	}
	return name + "s"
}

// Decode reads every document of one source: YAML documents separated by
// lines of "---", or JSON. A document with a fault is refused, alone, with all
// its faults; the others stand. Empty documents do not count. It never
// panics, whatever data holds.
func Decode(source string, data []byte) Proposal {
	var p Proposal
	if fault := readable(data); fault != "" {
		return Proposal{Refused: []Refusal{{Source: source, Faults: []FieldError{{Source: source, Reason: fault}}}}}
	}
	parts := split(data)
	for i, part := range parts {
		place := source
		if len(parts) > 1 {
			place = fmt.Sprintf("%s#%d", source, i+1)
		}
		doc, refusal := decodeOne(place, part)
		switch {
		case refusal != nil:
			p.Refused = append(p.Refused, *refusal)
		case doc != nil:
			p.Documents = append(p.Documents, doc)
		}
	}
	return Join(p)
}

// DecodeCanonical reads back what Document.Canonical holds, as the store does.
func DecodeCanonical(source string, canonical []byte) (*Document, error) {
	doc, refusal := decodeOne(source, part{text: canonical, line: 1})
	if refusal != nil {
		return nil, fmt.Errorf("%s: %s", source, refusal.Faults[0].Error())
	}
	if doc == nil {
		return nil, fmt.Errorf("%s: holds no document", source)
	}
	return doc, nil
}

// readable says what keeps data from being text at all; "" is nothing.
func readable(data []byte) string {
	if len(data) > maxSource {
		return fmt.Sprintf("is %d bytes; a file may have %d", len(data), maxSource)
	}
	if !utf8.Valid(data) {
		at := 0
		for at < len(data) {
			r, size := utf8.DecodeRune(data[at:])
			if r == utf8.RuneError && size == 1 {
				break
			}
			at += size
		}
		return fmt.Sprintf("is not UTF-8 at byte %d, line %d; save the file as UTF-8", at, 1+bytes.Count(data[:at], []byte("\n")))
	}
	return ""
}

// part is the text of one document and the line on which it starts.
type part struct {
	text []byte
	line int
}

// split cuts at lines that start with "---", which YAML keeps for this.
func split(data []byte) []part {
	var parts []part
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	start, startLine, line := 0, 1, 0
	for pos := 0; pos < len(data); {
		line++
		end := bytes.IndexByte(data[pos:], '\n')
		next := len(data)
		if end >= 0 {
			next = pos + end + 1
		}
		if text := data[pos:next]; isSeparator(text) {
			parts = append(parts, part{data[start:pos], startLine})
			start, startLine = pos+3, line // what follows on the line belongs to the next
		}
		pos = next
	}
	parts = append(parts, part{data[start:], startLine})
	var full []part
	for _, p := range parts {
		if !blank(p.text) {
			full = append(full, p)
		}
	}
	return full
}

func isSeparator(line []byte) bool {
	return bytes.HasPrefix(line, []byte("---")) && (len(line) == 3 || strings.IndexByte(" \t\r\n", line[3]) >= 0)
}

// blank reports whether a document has nothing but comments.
func blank(text []byte) bool {
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' && !bytes.Equal(line, []byte("...")) {
			return false
		}
	}
	return true
}

func decodeOne(source string, in part) (*Document, *Refusal) {
	if len(in.text) > MaxDocument {
		return nil, &Refusal{Source: source, Faults: []FieldError{{Source: source, Line: in.line,
			Reason: fmt.Sprintf("is %d bytes; a document may have %d", len(in.text), MaxDocument)}}}
	}
	tree, faults := parse(in)
	if tree == nil && len(faults) == 0 {
		return nil, nil
	}
	d := document{source: source, tree: tree, faults: faults}
	var out *Document
	if len(faults) == 0 && d.check() {
		out = d.build()
	}
	if len(d.faults) > 0 {
		return nil, &Refusal{Key: d.key, Source: source, Faults: d.located(), Labels: words(d.metadata()["labels"])}
	}
	return out, nil
}

// document is one being checked.
type document struct {
	source string
	tree   *tree
	kind   string // as the header has it
	key    Key    // zero where the header is no good
	faults []FieldError
}

func (d *document) fault(path, value, reason string) {
	if word, ok := d.tree.words[path]; ok {
		value, reason = word, reason+"; put it in quotes, it is a boolean to kubectl"
	}
	d.faults = append(d.faults, FieldError{Path: path, Value: value, Reason: reason})
}

// check finds the faults of the header and of the schema. It reports whether
// there is a spec of a known kind to go on with.
func (d *document) check() bool {
	obj := d.tree.value
	if !d.header(obj) {
		return false
	}
	for key := range obj {
		switch key {
		case "apiVersion", "kind", "metadata", "spec", "status":
		default:
			d.fault(key, "", "no such field; a document has apiVersion, kind, metadata and spec")
		}
	}
	checked := map[string]any{"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": map[string]any{"name": d.key.Name}, "spec": obj["spec"]}
	if obj["spec"] == nil {
		d.fault("spec", "", "is missing")
		return false
	}
	for _, f := range schema.For(d.kind).Validate(checked) {
		d.fault(f.Path, f.Value, f.Reason)
	}
	return true
}

func text(v any) string {
	if v == nil {
		return ""
	}
	s := fmt.Sprint(v)
	if len(s) > 80 {
		s = strings.ToValidUTF8(s[:77], "") + "..."
	}
	return s
}

// located completes faults with the document and the line they are on, in the
// order of the lines.
func (d *document) located() []FieldError {
	for i := range d.faults {
		f := &d.faults[i]
		f.Source, f.Key = d.source, d.key
		if f.Line == 0 && d.tree != nil {
			f.Line = d.tree.line(f.Path)
		}
	}
	slices.SortStableFunc(d.faults, func(a, b FieldError) int { return a.Line - b.Line })
	return d.faults
}

// metadata is nil where the document has none that can be read.
func (d *document) metadata() map[string]any {
	if d.tree == nil {
		return nil
	}
	meta, _ := d.tree.value["metadata"].(map[string]any)
	return meta
}

// build makes the Document and applies the rules across fields. What the
// schema has faulted already may keep it from having a type at all.
func (d *document) build() *Document {
	canonical, err := json.Marshal(map[string]any{
		"apiVersion": APIVersion, "kind": d.key.Kind,
		"metadata": map[string]any{"name": d.key.Name, "namespace": d.key.Namespace},
		"spec":     canonicalSpec(d.tree.value["spec"]),
	})
	meta := d.metadata()
	out := &Document{Key: d.key, Canonical: canonical, Source: d.source, Labels: words(meta["labels"]), Annotations: words(meta["annotations"])}
	out.Kind = d.kind
	delete(out.Annotations, LastApplied)
	if err == nil {
		err = out.readSpec()
	}
	if err != nil {
		if len(d.faults) == 0 { // the types and the schema disagree
			d.fault("spec", "", err.Error())
		}
		return nil
	}
	told := map[string]bool{}
	for _, f := range d.faults {
		told[f.Path] = true
	}
	for _, f := range out.check() {
		if path := "spec." + f.Path; !told[path] {
			d.fault(path, f.Value, f.Reason)
		}
	}
	sum := sha256.Sum256(canonical)
	out.Hash = hex.EncodeToString(sum[:])
	return out
}

// canonicalSpec leaves out the one default that the API server writes into a
// document: the same text is then the same document on every carrier.
func canonicalSpec(spec any) any {
	fields, ok := spec.(map[string]any)
	if !ok || fields["effect"] != string(v1alpha1.Enforce) {
		return spec
	}
	fields = maps.Clone(fields)
	delete(fields, "effect")
	return fields
}

// readSpec fills the spec of the document's kind from its canonical form.
func (d *Document) readSpec() error {
	var spec any
	switch d.Kind {
	case KindTrafficRoute:
		d.Route = &v1alpha1.TrafficRouteSpec{}
		spec = d.Route
	case KindEventSubscription:
		d.Subscription = &v1alpha1.EventSubscriptionSpec{}
		spec = d.Subscription
	default:
		d.Resilience = &v1alpha1.ResiliencePolicySpec{}
		spec = d.Resilience
	}
	return json.Unmarshal(d.Canonical, &struct {
		Spec any `json:"spec"`
	}{spec})
}

// check applies the rules across fields of the document's kind. Paths are
// below spec.
func (d *Document) check() []FieldError {
	switch {
	case d.Route != nil:
		return CheckRoute(d.Route)
	case d.Subscription != nil:
		return CheckSubscription(d.Subscription)
	default:
		return CheckMerged(d.Resilience)
	}
}
