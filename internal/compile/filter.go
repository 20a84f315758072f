package compile

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy/v1alpha1"
)

func editsOf(e *v1alpha1.HeaderEdits) mesh.HeaderEdits {
	if e == nil {
		return mesh.HeaderEdits{}
	}
	out := mesh.HeaderEdits{Set: headersOf(e.Set), Add: headersOf(e.Add)}
	for _, name := range e.Remove {
		out.Remove = append(out.Remove, strings.ToLower(string(name)))
	}
	return out
}

func headersOf(in map[string]v1alpha1.HeaderValue) (out []mesh.Header) {
	for _, name := range slices.Sorted(maps.Keys(in)) {
		out = append(out, mesh.Header{Name: strings.ToLower(name), Value: string(in[name])})
	}
	slices.SortStableFunc(out, func(a, b mesh.Header) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func rewriteOf(r *v1alpha1.Rewrite) *mesh.Rewrite {
	if r == nil {
		return nil
	}
	out := &mesh.Rewrite{Path: value(r.Path), Prefix: value(r.Prefix), Host: value(r.Host)}
	if r.Regex != nil {
		out.Regex, out.Substitution = r.Regex.Pattern, r.Regex.Substitution
	}
	return out
}

func redirectOf(r *v1alpha1.Redirect) *mesh.Redirect {
	out := &mesh.Redirect{
		Scheme: value(r.Scheme), Host: value(r.Host), Path: value(r.Path), Port: unsigned(value(r.Port)), Status: 301,
	}
	if r.Status != nil {
		out.Status = unsigned(*r.Status)
	}
	return out
}

func faultOf(f *v1alpha1.Fault) *mesh.Fault {
	if f == nil {
		return nil
	}
	out := &mesh.Fault{}
	if d := f.Delay; d != nil {
		if out.Delay = parseDuration(string(d.Duration)); out.Delay > 0 {
			out.DelayMillionths = orNone(v1alpha1.Millionths(d.Percent))
		}
	}
	if a := f.Abort; a != nil {
		out.AbortStatus, out.AbortGRPC = unsigned(value(a.Status)), unsigned(value(a.GRPCStatus))
		out.AbortMillionths = orNone(v1alpha1.Millionths(a.Percent))
	}
	return out
}

// allMillionths is all of the requests.
const allMillionths = 1_000_000

// orNone is a percentage that was read; what the schema would not have let pass
// is none.
func orNone(millionths uint32, err error) uint32 {
	if err != nil {
		return 0
	}
	return millionths
}

// unsigned reads a number that the schema keeps from being negative.
func unsigned(n int32) uint32 { return uint32(max(n, 0)) }
