package ctl

import (
	"context"
	"fmt"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/policy"
)

// rolling adds to why a change is not in force how far its rollout is. That a
// rollout refused this very version is an error: waiting does not mend it. A
// server without rollouts has nothing to add.
func (s *session) rolling(ctx context.Context, c policy.Change, why string) (string, error) {
	var all adminapi.Rollouts
	if s.get(ctx, "/v1/rollouts", &all) != nil {
		return why, nil
	}
	hash := ""
	if c.Document != nil {
		hash = c.Document.Hash
	}
	for _, p := range all.Pinned {
		if p.Document == c.Key.String() && p.Hash == hash {
			return "", &exitError{ExitRolledBack, fmt.Errorf("%s was refused by rollout %s%s%s\nhint: meshctl rollout votes %s shows who said what; correct it, or try it again with meshctl rollout start --retry",
				c.Key, p.Rollout, on(p.Proxies), colon(p.Reason), p.Rollout)}
		}
	}
	if all.Waits != "" {
		why += ": " + oneLine(all.Waits)
	}
	if len(all.Items) > 0 && all.Items[0].Open() {
		r := all.Items[0]
		text, _ := stage(r, time.Now())
		why += "; rollout " + r.ID + " is " + text
		if r.Phase == adminapi.PhaseHeld {
			why += ": meshctl rollout commit puts it in force"
		}
	}
	return why, nil
}

func on(proxies []string) string {
	if len(proxies) == 0 {
		return ""
	}
	return " on " + several(proxies)
}
