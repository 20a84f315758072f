package compile

import (
	"fmt"
	"strings"

	"meshlite.dev/internal/mesh"
)

// ejection reports an outlier detection that can eject nobody, or everybody,
// among the instances there are now. The built-in settings are left alone:
// one host is always ejected, and panic serves when nothing else is left.
func (l *lines) ejection(u use, s *mesh.Service) {
	o := u.effective.Outlier
	hosts := uint32(0)
	for _, e := range s.Endpoints {
		if e.Health == mesh.Healthy {
			hosts++
		}
	}
	if o.Mode != mesh.OutlierEnforce || !s.Synced || hosts == 0 {
		return
	}
	r, ok := u.about(mesh.CodeEjectionInert, mesh.Warning, outlierPaths...)
	if !ok {
		return
	}
	r.Message, r.Hint = inert(o, hosts)
	if r.Message == "" {
		r.Message, r.Hint = total(o, hosts)
	}
	if r.Message != "" {
		l.add(note{Finding: r.Finding})
	}
}

var outlierPaths = pathsUnder("outlierDetection.")

func pathsUnder(prefix string) []string {
	var out []string
	for _, l := range schema {
		if strings.HasPrefix(l.path, prefix) {
			out = append(out, l.path)
		}
	}
	return out
}

// inert finds detectors that never strike.
func inert(o mesh.OutlierDetection, hosts uint32) (message, hint string) {
	counts := o.Consecutive5xx > 0 || o.ConsecutiveGatewayErrors > 0 || o.SplitLocalOrigin && o.ConsecutiveLocalOrigin > 0
	switch {
	case !counts && !o.SuccessRate && !o.FailurePercentage:
		return "no detector is on: nothing is ever ejected", "set one of outlierDetection's detectors, or mode: Disabled"
	case o.SuccessRate && hosts < o.SuccessRateMinimumHosts:
		return fmt.Sprintf("successRate needs %d instances and there are %d healthy ones", o.SuccessRateMinimumHosts, hosts),
			"lower outlierDetection.successRate.minimumHosts, or rely on the consecutive detectors"
	case o.FailurePercentage && hosts < o.FailurePercentageMinHosts:
		return fmt.Sprintf("failurePercentage needs %d instances and there are %d healthy ones", o.FailurePercentageMinHosts, hosts),
			"lower outlierDetection.failurePercentage.minimumHosts, or rely on the consecutive detectors"
	}
	return "", ""
}

// total finds a share that is all of the instances, with nothing to serve
// once they are ejected.
func total(o mesh.OutlierDetection, hosts uint32) (message, hint string) {
	if o.PanicThresholdPercent > 0 || hosts > 1 && o.MaxEjectionPercent < 100 {
		return "", ""
	}
	return fmt.Sprintf("all of the %d healthy instances may be ejected at once, and panicThresholdPercent 0 then answers 503", hosts),
		"set outlierDetection.panicThresholdPercent to 1, or lower maxEjectionPercent"
}
