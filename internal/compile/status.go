package compile

import (
	"cmp"
	"slices"
	"strings"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
)

// Reason says what became of a document, over all of its targets.
type Reason string

// The reasons of condition Accepted, gravest first.
const (
	Invalid        Reason = "Invalid"
	NotPermitted   Reason = "NotPermitted"
	TargetNotFound Reason = "TargetNotFound"
	Conflicted     Reason = "Conflicted"
	Accepted       Reason = "Accepted"
)

// DocumentStatus is the state of one document.
type DocumentStatus struct {
	Key      policy.Key
	Document *policy.Document // the version in force; nil when none ever was
	Targets  []string         // "Mesh", "Service/orders"
	Shadow   bool             // effect: shadow; checked, never in force
	Accepted Reason
	Message  string // "" where Accepted says it all
}

// Documents lists every document in force or refused by Key.String, with what
// became of it. mesh-default is not a document. It costs what Findings does.
func (v *view) Documents() []DocumentStatus {
	if v == nil {
		return nil
	}
	byLabel := map[string][]mesh.Finding{}
	for _, f := range v.findings() {
		byLabel[f.Document] = append(byLabel[f.Document], f)
	}
	refused := map[policy.Key]policy.Refusal{}
	for _, r := range v.refused {
		if r.Key != (policy.Key{}) {
			refused[r.Key] = r
		}
	}
	var out []DocumentStatus
	for _, d := range v.documents.All() {
		s := statusOf(d, byLabel[d.Ref().String()])
		if r, ok := refused[d.Key]; ok {
			s.Accepted, s.Message = Invalid, "the newest version was refused: "+faultsOf(r)+"; in force stays "+d.Ref().String()
			delete(refused, d.Key)
		}
		out = append(out, s)
	}
	for key, r := range refused {
		out = append(out, DocumentStatus{Key: key, Accepted: Invalid, Message: "refused: " + faultsOf(r)})
	}
	slices.SortFunc(out, func(a, b DocumentStatus) int { return cmp.Compare(a.Key.String(), b.Key.String()) })
	return out
}

func faultsOf(r policy.Refusal) string {
	var parts []string
	for _, f := range r.Faults {
		parts = append(parts, strings.TrimPrefix(f.Path+": "+valueOf(f.Value)+f.Reason, ": "))
	}
	return strings.Join(parts, "; ")
}

// statusOf sums up what findings say of d: the gravest counts.
func statusOf(d *document, findings []mesh.Finding) DocumentStatus {
	s := DocumentStatus{Key: d.Key, Document: d.Document, Shadow: d.shadow, Accepted: Accepted}
	for _, t := range d.targets {
		s.Targets = append(s.Targets, t.String())
	}
	if d.shadow {
		s.Message = "effect shadow: checked, not in force"
	}
	for _, f := range findings {
		if reason := ReasonOf(f.Code); reason.Graver(s.Accepted) && f.Severity != mesh.Info {
			s.Accepted, s.Message = reason, MessageOf(f)
		}
	}
	return s
}

// Graver reports whether r is worse than o.
func (r Reason) Graver(o Reason) bool { return slices.Index(gravity, r) < slices.Index(gravity, o) }

// ReasonOf is what a finding makes of the document that it is about.
func ReasonOf(code string) Reason {
	if r, ok := reasonOf[code]; ok {
		return r
	}
	return Accepted
}

// MessageOf is a finding in one line: service, field, what is wrong.
func MessageOf(f mesh.Finding) string {
	parts := []string{f.Message}
	if f.Path != "" {
		parts = []string{f.Path, f.Message}
	}
	if f.Service != "" {
		parts = append([]string{"service " + f.Service}, parts...)
	}
	return strings.Join(parts, ": ")
}

var gravity = []Reason{Invalid, NotPermitted, TargetNotFound, Conflicted, Accepted}

var reasonOf = map[string]Reason{
	mesh.CodeReservedName:   Invalid,
	mesh.CodeInvalidMerge:   Invalid,
	mesh.CodeNotPermitted:   NotPermitted,
	mesh.CodeTargetNotFound: TargetNotFound,
	mesh.CodeConflicted:     Conflicted,
}
