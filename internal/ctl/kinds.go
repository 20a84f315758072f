package ctl

import (
	"slices"
	"strings"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
)

// kindNamed reads a kind as kubectl does: by its full name, plural or short
// name in any case, with or without the group.
func kindNamed(text string) (kind string, ok bool) {
	group, _, _ := strings.Cut(policy.APIVersion, "/")
	name := strings.TrimSuffix(strings.ToLower(text), "."+group)
	for _, k := range policy.Kinds() {
		if name == strings.ToLower(k) || name == policy.Plural(k) || name == mesh.ShortKind(k) {
			return k, true
		}
	}
	return "", false
}

// kindWords are the words to type for the kinds, for messages and completion.
func kindWords() []string {
	var out []string
	for _, k := range policy.Kinds() {
		out = append(out, mesh.ShortKind(k))
	}
	return out
}

// ref is what one argument names; an empty part is any.
type ref struct {
	policy.Key
	text string // as it was written
}

// refs reads what the arguments of get, describe, delete and edit name, as
// kubectl does: NAME…, KIND[,KIND…] [NAME…], KIND/NAME…, and KIND/NAMESPACE/NAME
// as Meshlite prints it. Namespace is that of names without one.
func refs(args []string, namespace string) ([]ref, error) {
	if len(args) == 0 {
		return nil, nil
	}
	if kinds, ok := kindList(args[0]); ok {
		return ofKinds(kinds, args[1:], namespace)
	}
	var out []ref
	for _, text := range args {
		r := ref{policy.Key{Namespace: namespace, Name: text}, text}
		if strings.Contains(text, "/") {
			parts := strings.Split(text, "/")
			kind, ok := kindNamed(parts[0])
			switch {
			case !ok:
				return nil, usagef("%q: no kind %q; use %s", text, parts[0], strings.Join(kindWords(), ", "))
			case len(parts) > 3 || slices.Contains(parts, ""):
				return nil, usagef("%q is no policy; use NAME, KIND/NAME or KIND/NAMESPACE/NAME", text)
			case len(parts) == 3:
				r.Namespace = parts[1]
			}
			r.Kind, r.Name = kind, parts[len(parts)-1]
		}
		out = append(out, r)
	}
	return out, nil
}

// kindList reads "rp" and "rp,tr".
func kindList(text string) (kinds []string, ok bool) {
	for word := range strings.SplitSeq(text, ",") {
		kind, ok := kindNamed(word)
		if !ok {
			return nil, false
		}
		kinds = append(kinds, kind)
	}
	return kinds, true
}

func ofKinds(kinds, names []string, namespace string) ([]ref, error) {
	if len(names) == 0 {
		names = []string{""}
	}
	var out []ref
	for _, kind := range kinds {
		for _, name := range names {
			if strings.Contains(name, "/") {
				return nil, usagef("%q: the kind %s is said already; use its NAME", name, kind)
			}
			out = append(out, ref{policy.Key{Kind: kind, Namespace: namespace, Name: name}, name})
		}
	}
	return out, nil
}

// has reports whether r names the document. The built-in policy has no
// namespace and belongs to all.
func (r ref) has(k policy.Key) bool {
	return (r.Kind == "" || r.Kind == k.Kind) && (r.Name == "" || r.Name == k.Name) &&
		(r.Namespace == "" || r.Namespace == k.Namespace || r.Name != "" && k.Namespace == "")
}

// keys are the documents that refs name one by one. A bare NAME is a
// ResiliencePolicy.
func keys(refs []ref) ([]policy.Key, error) {
	var out []policy.Key
	for _, r := range refs {
		if r.Name == "" {
			return nil, usagef("name the policies of kind %s", r.Kind)
		}
		if r.Kind == "" {
			r.Kind = policy.KindResiliencePolicy
		}
		if !slices.Contains(out, r.Key) {
			out = append(out, r.Key)
		}
	}
	return out, nil
}
