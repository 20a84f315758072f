package compile

import (
	"fmt"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy/v1alpha1"
)

// notAttachable reports the fields that a policy sets and that cannot be set for
// the TrafficRoutes that it targets.
func (v *view) notAttachable(d *document) []note {
	var out []note
	for _, t := range d.targets {
		if t.kind != v1alpha1.TargetTrafficRoute {
			continue
		}
		service := "the route's Service"
		if r, ok := v.documents.Get(routeKey(d.Namespace, t.name)); ok {
			service = "Service " + r.route.service
		}
		for _, s := range d.settings {
			if onRules(s.leaf) {
				continue
			}
			why := "lives in Envoy's cluster, which all rules share"
			if sections[s.leaf] == 0 {
				why = "belongs to tcp services, which have no rules"
			}
			out = append(out, note{target: t.String(), Finding: mesh.Finding{
				Code: mesh.CodeNotAttachable, Severity: mesh.Error, Document: d.Ref().String(), Path: "spec." + schema[s.leaf].path,
				Message: fmt.Sprintf("%s: it goes to a policy that targets %s; it is left out here, the rest of the document stays in force", why, service),
				Hint:    "move it to a ResiliencePolicy with a target of kind Service",
			}})
		}
	}
	return out
}

// ofTrafficRoute says why a policy does not reach a TrafficRoute that it
// targets; "" when it does.
func (v *view) ofTrafficRoute(d *document, t target) (message, hint string) {
	r, ok := v.documents.Get(routeKey(d.Namespace, t.name))
	if !ok {
		if v.offline {
			return "", "" // it may stand elsewhere
		}
		return fmt.Sprintf("namespace %s has no TrafficRoute %s", d.Namespace, t.name), v.nearestRoute(d.Namespace, t.name)
	}
	var names []string
	for i := range r.route.rules {
		if names = append(names, r.route.rules[i].Name); r.route.rules[i].Name == t.section {
			names = nil
			break
		}
	}
	if t.section != "" && (names != nil || len(r.route.rules) == 0) {
		hint = fmt.Sprintf("rules of TrafficRoute %s: %s", t.name, listed(names))
		if best := alike(t.section, names); best != "" {
			hint = fmt.Sprintf("did you mean %s?", best)
		}
		return fmt.Sprintf("TrafficRoute %s has no rule %s", t.name, t.section), hint
	}
	if r.shadow {
		return fmt.Sprintf("TrafficRoute %s is in shadow", t.name), "set its effect to enforce, or this document's to shadow"
	}
	if s, ok := v.model.Services.Get(r.route.service); !ok || s.Default.Routes == nil || s.Default.Routes.By != r.Ref() {
		return fmt.Sprintf("TrafficRoute %s is not in force", t.name), fmt.Sprintf("`meshctl policy describe trafficroute %s` says why", t.name)
	}
	return "", ""
}

// nearestRoute suggests the TrafficRoute of a namespace that is most like name.
func (v *view) nearestRoute(namespace, name string) string {
	var names []string
	for _, d := range v.documents.Prefix(routeKey(namespace, "")) {
		names = append(names, d.Name)
	}
	if best := alike(name, names); best != "" {
		return fmt.Sprintf("did you mean %s?", best)
	}
	return "target the Service itself to set this for all of its requests"
}
