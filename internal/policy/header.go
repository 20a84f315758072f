package policy

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// objectName is what Kubernetes calls a DNS subdomain.
var objectName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

// metadataKnown are the keys of metadata that may stand in a file; most are
// there because kubectl prints them.
var metadataKnown = map[string]bool{
	"name": true, "namespace": true, "labels": true, "annotations": true, "generation": true, "resourceVersion": true,
	"uid": true, "creationTimestamp": true, "managedFields": true, "finalizers": true, "ownerReferences": true, "selfLink": true,
}

// header reads apiVersion, kind and metadata into the key. It reports whether
// the kind is one whose schema is here.
func (d *document) header(obj map[string]any) (known bool) {
	kind, _ := obj["kind"].(string)
	d.kind = kind
	switch {
	case obj["apiVersion"] != APIVersion:
		version, _ := obj["apiVersion"].(string)
		reason := "must be " + APIVersion
		if strings.HasPrefix(version, group+"/") {
			reason += ": this server knows v1alpha1 and no other version"
		}
		d.fault("apiVersion", text(obj["apiVersion"]), reason)
	case !slices.Contains(Kinds(), kind):
		d.fault("kind", text(obj["kind"]), "must be one of "+strings.Join(Kinds(), ", "))
	default:
		known = true
	}
	meta, ok := obj["metadata"].(map[string]any)
	if !ok {
		d.fault("metadata", text(obj["metadata"]), "must be an object with a name")
		return known
	}
	d.key = Key{Kind: kind, Namespace: "default"}
	for key := range meta {
		if !metadataKnown[key] {
			d.fault("metadata."+key, "", "no such field; use name, namespace, labels, annotations")
		}
	}
	d.key.Name, _ = meta["name"].(string)
	if !objectName.MatchString(d.key.Name) || len(d.key.Name) > 253 {
		d.fault("metadata.name", text(meta["name"]), "must be 1 to 253 characters of a-z, 0-9, '-' and '.', with a letter or digit at both ends and around each '.'")
	}
	if ns, has := meta["namespace"]; has && ns != nil && ns != "" {
		d.key.Namespace, _ = ns.(string)
		if !objectName.MatchString(d.key.Namespace) || strings.Contains(d.key.Namespace, ".") || len(d.key.Namespace) > 63 {
			d.fault("metadata.namespace", text(ns), "must be a DNS label: a-z, 0-9 and '-', at most 63")
		}
	}
	d.labels("metadata.labels", meta["labels"], validation.IsValidLabelValue)
	d.labels("metadata.annotations", meta["annotations"], nil)
	if len(d.faults) > 0 && (d.key.Kind == "" || d.key.Name == "") {
		d.key = Key{}
	}
	return known
}

// labels checks labels or annotations as Kubernetes does: what passes here,
// kubectl accepts.
func (d *document) labels(path string, v any, value func(string) []string) {
	if v == nil {
		return
	}
	entries, ok := v.(map[string]any)
	if !ok {
		d.fault(path, text(v), "must be an object of names and strings")
		return
	}
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		at := path + "." + name
		key := name
		if value == nil { // annotations may have capitals everywhere
			key = strings.ToLower(name)
		}
		if len(validation.IsQualifiedName(key)) > 0 {
			d.fault(at, name, "must have a name of letters, digits, '-', '_' and '.', such as team or example.com/team")
		}
		s, ok := entries[name].(string)
		switch {
		case !ok:
			d.fault(at, text(entries[name]), "must be a string; put it in quotes")
		case value != nil && len(value(s)) > 0:
			d.fault(at, text(s), "must be at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends")
		}
	}
}

// LastApplied is the annotation in which kubectl keeps a copy of the document.
const LastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// words are the strings of a map, nil where there are none.
func words(v any) map[string]string {
	fields, _ := v.(map[string]any)
	if len(fields) == 0 {
		return nil
	}
	out := make(map[string]string, len(fields))
	for name, v := range fields {
		out[name], _ = v.(string)
	}
	return out
}
