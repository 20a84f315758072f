package compile

import (
	"cmp"
	"slices"
	"strings"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/v1alpha1"
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
	Document *policy.Document // the version in the revision; nil when none ever was
	Targets  []string         // "Mesh", "Service/orders", "TrafficRoute/orders/canary"
	Shadow   bool             // effect: shadow; checked, never in force
	// What follows sums up the targets: the gravest reason counts.
	Accepted   Reason
	Message    string // "" where Accepted says it all
	Unresolved string // what it names and is not there, "; " between; "" where all is
	Overridden bool   // it sets something, and none of it is in force for any target
	InForce    int64  // the newest generation that counts for some target; 0: none
	PerTarget  []TargetStatus
}

// TargetStatus is the state of one document for one of its targets. That of a
// refused version is the document's alone: here counts the one in the revision.
type TargetStatus struct {
	Name       string             // as in DocumentStatus.Targets
	Ref        v1alpha1.TargetRef // the service, for a TrafficRoute
	Service    string             // in whose clusters and routes it counts; "": all of the mesh, or not known
	Accepted   Reason
	Message    string
	Unresolved string
	// Overridden: it is accepted and sets something here, and more specific
	// documents override all of it.
	Overridden bool
	// InForce is the generation that counts here, an older one while a newer
	// breaks a rule (MESH0018); 0: nothing of the document does.
	InForce int64
}

func (v *view) status() []DocumentStatus {
	byLabel := map[string][]note{}
	for _, n := range v.notes() {
		byLabel[n.Document] = append(byLabel[n.Document], n)
	}
	refused := map[policy.Key]policy.Refusal{}
	for _, r := range v.refused {
		if r.Key != (policy.Key{}) {
			refused[r.Key] = r
		}
	}
	counting := v.counting()
	var out []DocumentStatus
	for _, d := range v.documents.All() {
		s := v.statusOf(d, byLabel[d.Ref().String()], counting[d.Key])
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

// statusOf sums up what is said of d, and where it counts.
func (v *view) statusOf(d *document, notes []note, in places) DocumentStatus {
	slices.SortStableFunc(notes, func(a, b note) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Message, b.Message))
	})
	s := DocumentStatus{Key: d.Key, Document: d.Document, Shadow: d.shadow}
	s.Accepted, s.Message, s.Unresolved = judge(notes)
	if d.shadow && s.Accepted == Accepted {
		s.Message = "effect shadow: checked, not in force"
	}
	s.Overridden = len(d.targets) > 0
	for _, t := range d.targets {
		one := v.statusFor(d, t, notes, in)
		s.Targets = append(s.Targets, one.Name)
		s.PerTarget = append(s.PerTarget, one)
		s.InForce = max(s.InForce, one.InForce)
		s.Overridden = s.Overridden && one.Overridden
	}
	return s
}

func (v *view) statusFor(d *document, t target, notes []note, in places) TargetStatus {
	s := TargetStatus{
		Name: t.String(), Service: v.serviceOf(d, t),
		Ref: v1alpha1.TargetRef{Kind: t.kind, Name: t.name, SectionName: t.section},
	}
	s.Accepted, s.Message, s.Unresolved = judge(slices.DeleteFunc(slices.Clone(notes), func(n note) bool {
		return n.target != "" && n.target != s.Name
	}))
	s.InForce = in.at(t, s.Service, d)
	stands := d.mesh == nil || t.kind != v1alpha1.TargetMesh || v.model.Services.Len() > 0
	s.Overridden = s.InForce == 0 && s.Accepted == Accepted && !d.shadow && len(d.settings) > 0 && stands
	return s
}

// serviceOf is the service of a target.
func (v *view) serviceOf(d *document, t target) string {
	if t.kind != v1alpha1.TargetTrafficRoute {
		return t.name
	}
	if r, ok := v.documents.Get(routeKey(d.Namespace, t.name)); ok {
		return r.route.service
	}
	return ""
}

// judge sums up findings about one document: the gravest counts.
func judge(notes []note) (reason Reason, message, unresolved string) {
	reason = Accepted
	var missing []string
	for _, n := range notes {
		if r := ReasonOf(n.Code); r.Graver(reason) && n.Severity != mesh.Info {
			reason, message = r, MessageOf(n.Finding)
		}
		if (n.Code == mesh.CodeUnresolvedRef || n.Code == mesh.CodeTargetNotFound) && n.Severity != mesh.Info {
			missing = append(missing, MessageOf(n.Finding))
		}
	}
	return reason, message, strings.Join(slices.Compact(missing), "; ")
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
	mesh.CodeNotAttachable:  Invalid,
	mesh.CodeNotPermitted:   NotPermitted,
	mesh.CodeTargetNotFound: TargetNotFound,
	mesh.CodeConflicted:     Conflicted,
}
