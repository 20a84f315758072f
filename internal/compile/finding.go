package compile

import (
	"fmt"
	"slices"
	"strings"

	"meshlite.dev/internal/mesh"
)

// serviceFindings says what an operator should look at about one service. It
// is worked out when the service is linked and kept with it.
func (c *Compiler) serviceFindings(e *entry) []note {
	plain, datacenter := mesh.SplitServiceKey(e.service.Name)
	l := lines{service: e.service.Name, said: map[note]bool{}}
	likeHere := datacenter != "" && c.services[plain] != nil // what is about both is said there
	for _, u := range e.uses {
		l.route = e.routeName(u.role)
		if u.rule == "" && u.role.effective() {
			l.ejection(u, e.service)
		}
		switch {
		case u.role == broken:
			l.broken(u, e.kept(u))
		case likeHere:
			continue
		case u.role == shadowed:
			l.shadow(u, e.breaks(u.caller) || e.breaks("") || u.rule != "" && e.shadowBreaks(u.caller))
		case u.role.effective():
			l.remarks(u)
		}
		if !likeHere && (u.role == broken || u.role == inForce) {
			l.conflicts(u)
		}
	}
	if likeHere {
		return l.out
	}
	for _, d := range slices.Concat(c.targeting[plain], c.routes[plain]) {
		if !d.reserved() && !d.permitted(c.root, e.namespace) {
			l.add(note{Finding: c.notPermitted(d, e.namespace), target: "Service/" + plain})
		}
	}
	if datacenter == "" {
		c.routeFindings(&l, e)
	}
	if host := plain + ".mesh"; mesh.ReservedHost(host) {
		l.add(note{Finding: mesh.Finding{
			Code: mesh.CodeReservedName, Severity: mesh.Warning,
			Message: host + " is answered by the control plane itself: the service is called by its other names alone",
			Hint:    fmt.Sprintf("call it %s or %s.service.consul, or give it another name", plain, plain),
		}})
	}
	return l.out
}

// routeName is the name of the TrafficRoute that a use takes into account.
func (e *entry) routeName(r role) string {
	d := e.route
	if r == shadowed {
		d = e.preview
	}
	if d == nil {
		return ""
	}
	return d.Name
}

func (l *lines) remarks(u use) {
	for _, r := range u.findings {
		if r.meshWide {
			l.put(note{Finding: r.Finding})
			continue
		}
		l.add(note{Finding: r.Finding})
	}
}

// conflicts reports the fields that documents of the Service levels fight
// over; those of the Mesh are reported once, by the view.
func (l *lines) conflicts(u use) {
	for _, c := range u.merged.conflicts {
		if c.loser.level > levelMesh && !c.loser.doc.shadow && !c.winner.doc.shadow {
			l.add(note{Finding: conflicted(c), target: l.target(c.loser)})
		}
	}
}

func conflicted(c conflict) mesh.Finding {
	hint := "set the field in one of the two documents"
	if c.loser.level < levelRoute {
		hint += ", or part their callers with `from`"
	}
	return mesh.Finding{
		Code: mesh.CodeConflicted, Severity: mesh.Warning,
		Document: c.loser.ref().String(), Path: c.loser.path(c.leaf),
		Message: fmt.Sprintf("%s sets this field for the same callers and wins: its namespace/name is lower", c.winner.ref()),
		Hint:    hint,
	}
}

// broken reports a stack that breaks a rule across fields. kept says what is
// in force instead.
func (l *lines) broken(u use, kept string) {
	guilty := culprit(u.merged)
	if guilty == nil {
		return
	}
	for _, f := range u.faults {
		l.add(note{target: l.target(guilty), Finding: mesh.Finding{
			Code: mesh.CodeInvalidMerge, Severity: mesh.Error,
			Document: guilty.ref().String(), Path: guilty.at + f.Path,
			Message: fmt.Sprintf("%s%s; merged from %s%s; %s", valueOf(f.Value), f.Reason, named(u.effective), u.where(), kept),
			Hint:    "change one of these documents so that the fields agree",
		}})
	}
}

func valueOf(v string) string {
	if v == "" {
		return ""
	}
	return v + ": "
}

// where says which calls a use is about.
func (u use) where() string {
	var out string
	if u.rule != "" {
		out = " in rule " + u.rule
	}
	if u.caller != "" {
		out += " for calls from " + u.caller
	}
	return out
}

// named lists the documents that took part, mesh-default first.
func named(e *mesh.Effective) string {
	names := []string{mesh.DefaultPolicyName}
	for _, d := range e.Documents {
		names = append(names, d.String())
	}
	return strings.Join(names, ", ")
}

// kept says what stays in force while a stack breaks a rule.
func (e *entry) kept(broken use) string {
	if u, ok := e.effective(broken.caller, broken.rule); ok {
		return "in force stays " + named(u.effective)
	}
	return ""
}

// breaks reports whether a stack of caller's breaks a rule without any shadow.
func (e *entry) breaks(caller string) bool {
	return slices.ContainsFunc(e.uses, func(u use) bool { return u.caller == caller && u.role == broken })
}

// shadowBreaks reports whether the service's own stack breaks a rule with the
// documents in shadow: its rules then do too.
func (e *entry) shadowBreaks(caller string) bool {
	return slices.ContainsFunc(e.uses, func(u use) bool {
		return u.caller == caller && u.rule == "" && u.role == shadowed && len(u.faults) > 0
	})
}

// shadow reports what documents in shadow would break or fight over. already
// is true where that is not theirs alone.
func (l *lines) shadow(u use, already bool) {
	for _, c := range u.merged.conflicts {
		if c.loser.doc.shadow || c.winner.doc.shadow {
			l.add(note{Finding: conflicted(c), target: l.target(c.loser)}.inShadow(mesh.Info))
		}
	}
	guilty := shadowOf(u.stack)
	if already || guilty == nil {
		return
	}
	for _, f := range u.faults {
		l.add(note{target: l.target(guilty), Finding: mesh.Finding{
			Code: mesh.CodeInvalidMerge, Document: guilty.ref().String(), Path: guilty.at + f.Path,
			Message: fmt.Sprintf("%s%s; merged from %s%s", valueOf(f.Value), f.Reason, named(u.effective), u.where()),
			Hint:    "change the document before its effect becomes enforce",
		}}.inShadow(mesh.Warning))
	}
}

// shadowOf is the most specific layer of a document in shadow.
func shadowOf(s stack) *layer {
	for _, l := range slices.Backward(s.layers) {
		if l.doc != nil && l.doc.shadow {
			return l
		}
	}
	return nil
}

func (c *Compiler) notPermitted(d *document, namespace string) mesh.Finding {
	path := "spec.targetRefs"
	if d.route != nil {
		path = "spec.service"
	}
	return mesh.Finding{
		Code: mesh.CodeNotPermitted, Severity: mesh.Error,
		Document: d.Ref().String(), Path: path,
		Message: fmt.Sprintf("namespace %s may not target a service of namespace %s; the document is not applied to it", d.Namespace, namespace),
		Hint:    fmt.Sprintf("move the document to namespace %s or to the root namespace %s, or set the service's meta namespace", namespace, c.root),
	}
}
