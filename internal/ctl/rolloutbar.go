package ctl

import (
	"fmt"
	"strings"
	"time"

	"meshlite.dev/internal/admin/adminapi"
)

const (
	barLeast = 10 // cells; where there is room for less, there is no bar
	barMost  = 40
)

// stage says in words where a rollout is, and what share of the phase is done;
// share is below 0 where nobody can tell.
func stage(r adminapi.Rollout, now time.Time) (text string, share float64) {
	share = -1
	text = r.Phase
	switch r.Phase {
	case "":
		return strings.ToLower(strings.ReplaceAll(r.State, "_", " ")), 1
	case adminapi.PhaseVoting:
		if v := r.Votes; v.Voters > 0 {
			return text + ": " + tally(v), float64(v.Voters-v.Waiting()) / float64(v.Voters)
		}
	case adminapi.PhaseCanary:
		if c := r.Canary; c != nil {
			if c.Until != nil && r.Settings.Bake > 0 {
				left := max(c.Until.Sub(now), 0)
				share = max(0, 1-left.Seconds()/time.Duration(r.Settings.Bake).Seconds())
				text += ", " + left.Round(time.Second).String() + " to go"
			}
			return text + ": " + count(c.Proxies, "sidecar") + ", " + rate("trial", c.Requests, c.Errors), share
		}
	case adminapi.PhasePushing:
		if p := r.Pushed; p != nil && p.Proxies > 0 {
			return text + ": " + pushText(p), float64(p.Acked+p.Refused) / float64(p.Proxies)
		}
	}
	return text + colon(r.Reason), share
}

// barLine draws a rollout in at most width columns, one rune each.
func barLine(r adminapi.Rollout, width int, now time.Time) string {
	text, share := stage(r, now)
	text += "  " + max(now.Sub(r.Started), 0).Round(time.Second).String()
	room := min(width-len([]rune(text))-3, barMost)
	if share < 0 || room < barLeast {
		return clipped(text, width)
	}
	done := int(float64(room) * min(share, 1))
	return fmt.Sprintf("[%s%s] %s", strings.Repeat("=", done), strings.Repeat(" ", room-done), text)
}

// clipped cuts text to so many runes.
func clipped(text string, width int) string {
	runes := []rune(text)
	if len(runes) <= width {
		return text
	}
	return string(runes[:max(width-1, 0)]) + "…"
}
