package catalog

import (
	"fmt"

	"meshlite.dev/internal/mesh"
)

// CheckName reports whether a service of this name can be served. Where it
// cannot, the catalog lists it as skipped and as a finding.
func CheckName(name string) (Skipped, mesh.Finding, bool) {
	if mesh.IsDNSLabel(name) {
		return Skipped{}, mesh.Finding{}, true
	}
	s := Skipped{
		Name:   shorten(name),
		Reason: "the name is not a DNS label",
		Hint:   "register it under 1 to 63 of a-z, 0-9 and '-', neither first nor last a '-'",
	}
	return s, mesh.Finding{
		Code: mesh.CodeNotADNSLabel, Severity: mesh.Warning, Service: s.Name,
		Message: fmt.Sprintf("service %q is not served: %s", s.Name, s.Reason), Hint: s.Hint,
	}, false
}
