package admin

import (
	"fmt"
	"strconv"
	"strings"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/xds/server"
)

// OldestEnvoy is the first supported minor of Envoy 1: the last four are.
const OldestEnvoy = 37

// checkProxies looks for sidecars that are out of step or too old.
func checkProxies(ps []server.Proxy) []adminapi.Check {
	connected, broken, late, old := 0, []string{}, []string{}, []string{}
	for _, p := range ps {
		if !p.Connected {
			continue
		}
		connected++
		switch p.Status {
		case server.Error:
			for _, e := range p.Errors {
				broken = append(broken, fmt.Sprintf("%s: %s %s (%s): %s", p.ID, e.Type, e.Resource, labels(e.Policies), e.Message))
			}
		case server.Stale:
			late = append(late, p.ID)
		default: // SYNCED, NOT SENT
		}
		if tooOld(p.Envoy) {
			old = append(old, fmt.Sprintf("%s (%s)", p.ID, p.Envoy))
		}
	}
	var out []adminapi.Check
	if len(broken) > 0 {
		out = append(out, fault("proxies", "meshctl proxy status names each; correct the policy, the last good version serves", "rejected: %s", some(broken)))
	}
	if len(late) > 0 {
		out = append(out, warning("proxies", "for a moment this is normal; meshctl proxy diff shows what is under way", "not in step: %s", some(late)))
	}
	if len(out) == 0 {
		out = append(out, ok("proxies", "%d connected, all in step", connected))
	}
	if len(old) > 0 {
		return append(out, warning("envoy versions", fmt.Sprintf("upgrade them to 1.%d or later: fields that an Envoy does not know are silently left out", OldestEnvoy), "too old: %s", some(old)))
	}
	return append(out, ok("envoy versions", "1.%d or later", OldestEnvoy))
}

// tooOld reports whether a build, "1.40.0", is out of support. What is no Envoy
// ("") is not judged.
func tooOld(build string) bool {
	parts := strings.Split(build, ".")
	if len(parts) < 2 {
		return false
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	return err1 == nil && err2 == nil && (major < 1 || major == 1 && minor < OldestEnvoy)
}
