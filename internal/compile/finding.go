package compile

import (
	"fmt"
	"slices"
	"strings"

	"meshlite.dev/internal/mesh"
)

// serviceFindings says what an operator should look at about one service. It
// is worked out when the service is compiled and kept with it.
func (c *Compiler) serviceFindings(e *entry) []mesh.Finding {
	l := lines{service: e.service.Name, said: map[mesh.Finding]bool{}}
	for _, u := range e.uses {
		switch {
		case u.role == shadowed:
			l.shadow(u, e.breaks(u.caller) || e.breaks(""))
		case u.role == broken:
			l.broken(u, e.kept(u.caller))
		case u.role.effective():
			l.remarks(u)
			l.ejection(u, e.service)
		}
		if u.role == broken || u.role == inForce {
			l.conflicts(u)
		}
	}
	for _, d := range c.targeting[e.service.Name] {
		if !d.reserved() && !d.permitted(c.root, e.service.Namespace) {
			l.add(c.notPermitted(d, e.service.Namespace))
		}
	}
	return l.out
}

// lines gathers findings without repetitions.
type lines struct {
	service string
	said    map[mesh.Finding]bool
	out     []mesh.Finding
}

// add appends f; what is only about one caller, and already said about all,
// is left out.
func (l *lines) add(f mesh.Finding) {
	f.Service = l.service
	l.put(f)
}

func (l *lines) put(f mesh.Finding) {
	if !l.said[f] {
		l.said[f] = true
		l.out = append(l.out, f)
	}
}

func (l *lines) remarks(u use) {
	for _, r := range u.findings {
		if r.meshWide {
			l.put(r.Finding)
			continue
		}
		l.add(r.Finding)
	}
}

// conflicts reports the fields that documents of the Service levels fight
// over; those of the Mesh are reported once, by the view.
func (l *lines) conflicts(u use) {
	for _, c := range u.merged.conflicts {
		if c.loser.level > levelMesh && !c.loser.doc.shadow && !c.winner.doc.shadow {
			l.add(conflicted(c))
		}
	}
}

func conflicted(c conflict) mesh.Finding {
	return mesh.Finding{
		Code: mesh.CodeConflicted, Severity: mesh.Warning,
		Document: c.loser.ref().String(), Path: c.loser.path(c.leaf),
		Message: fmt.Sprintf("%s sets this field for the same callers and wins: its namespace/name is lower", c.winner.ref()),
		Hint:    "set the field in one of the two documents, or part their callers with `from`",
	}
}

// broken reports a stack that breaks a rule across fields. kept says what is
// in force instead.
func (l *lines) broken(u use, kept string) {
	for _, f := range u.faults {
		l.add(mesh.Finding{
			Code: mesh.CodeInvalidMerge, Severity: mesh.Error,
			Document: culprit(u.merged).Ref().String(), Path: "spec." + f.Path,
			Message: fmt.Sprintf("%s%s; merged from %s%s; %s",
				valueOf(f.Value), f.Reason, named(u.effective), forCaller(u.caller), kept),
			Hint: "change one of these documents so that the fields agree",
		})
	}
}

func valueOf(v string) string {
	if v == "" {
		return ""
	}
	return v + ": "
}

func forCaller(caller string) string {
	if caller == "" {
		return ""
	}
	return " for calls from " + caller
}

// named lists the documents that took part, mesh-default first.
func named(e *mesh.Effective) string {
	names := []string{mesh.DefaultPolicyName}
	for _, d := range e.Documents {
		names = append(names, d.String())
	}
	return strings.Join(names, ", ")
}

// kept says what stays in force for caller while its stack breaks a rule.
func (e *entry) kept(caller string) string {
	for _, u := range e.uses {
		if u.caller == caller && u.role.effective() {
			return "in force stays " + named(u.effective)
		}
	}
	return ""
}

// breaks reports whether caller's stack breaks a rule without any shadow.
func (e *entry) breaks(caller string) bool {
	return slices.ContainsFunc(e.uses, func(u use) bool { return u.caller == caller && u.role == broken })
}

// shadow reports what documents in shadow would break or fight over. already
// is true where the documents in force break a rule themselves.
func (l *lines) shadow(u use, already bool) {
	const prefix = "in shadow, if enforced: "
	for _, c := range u.merged.conflicts {
		if c.loser.doc.shadow || c.winner.doc.shadow {
			f := conflicted(c)
			f.Severity, f.Message = mesh.Info, prefix+f.Message
			l.add(f)
		}
	}
	if already {
		return
	}
	for _, f := range u.faults {
		l.add(mesh.Finding{
			Code: mesh.CodeInvalidMerge, Severity: mesh.Warning,
			Document: shadowOf(u.stack).Ref().String(), Path: "spec." + f.Path,
			Message: fmt.Sprintf("%s%s%s; merged from %s%s", prefix, valueOf(f.Value), f.Reason, named(u.effective), forCaller(u.caller)),
			Hint:    "change the document before its effect becomes enforce",
		})
	}
}

// shadowOf is the most specific document in shadow.
func shadowOf(s stack) *document {
	for _, l := range slices.Backward(s.layers) {
		if l.doc != nil && l.doc.shadow {
			return l.doc
		}
	}
	return nil
}

func (c *Compiler) notPermitted(d *document, namespace string) mesh.Finding {
	return mesh.Finding{
		Code: mesh.CodeNotPermitted, Severity: mesh.Error,
		Document: d.Ref().String(), Path: "spec.targetRefs",
		Message: fmt.Sprintf("namespace %s may not target a service of namespace %s; the document is not applied to it", d.Namespace, namespace),
		Hint:    fmt.Sprintf("move the document to namespace %s or to the root namespace %s, or set the service's meta namespace", namespace, c.root),
	}
}
