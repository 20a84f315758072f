package ctl

import (
	"context"
	"fmt"
	"strings"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/mesh"
)

// rolloutState is what `status` prints for programs.
type rolloutState struct {
	adminapi.Rollout
	InForce adminapi.RevisionRef      `json:"inForce"`
	Proxies adminapi.RevisionUptake   `json:"proxies"`
	Queued  int                       `json:"queued,omitempty"`
	Waits   string                    `json:"waits,omitempty"`
	Next    *adminapi.RolloutOptions  `json:"next,omitempty"`
	Pinned  []adminapi.PinnedDocument `json:"pinned,omitempty"`
}

// showIdle says how things are where nothing was rolled out yet.
func (s *session) showIdle(all adminapi.Rollouts) error {
	if s.structured() {
		return s.show(rolloutState{InForce: all.InForce, Proxies: all.Proxies, Queued: all.Queued, Waits: all.Waits, Next: all.Next, Pinned: all.Pinned}, table{})
	}
	s.hint("there was no rollout yet")
	t := fleetRows(all)
	return s.showTable(t)
}

// showRollout prints one rollout, and how the fleet is with what is in force.
func (s *session) showRollout(ctx context.Context, all adminapi.Rollouts, r adminapi.Rollout) error {
	t := rolloutRows(r)
	fleet := fleetRows(all)
	t.rows = append(t.rows, fleet.rows...)
	t.names = []string{r.ID}
	if err := s.show(rolloutState{r, all.InForce, all.Proxies, all.Queued, all.Waits, all.Next, all.Pinned}, t); err != nil || s.structured() || s.output == "name" {
		return err
	}
	return s.showTrouble(ctx, r)
}

// showTrouble adds who refused it or said nothing.
func (s *session) showTrouble(ctx context.Context, r adminapi.Rollout) error {
	if r.Votes.No+r.Votes.Abstain == 0 {
		return nil
	}
	var v adminapi.RolloutVotes
	if err := s.get(ctx, rolloutPath(r.ID, "/votes"), &v); err != nil {
		return err
	}
	for _, p := range v.Items {
		switch {
		case p.Answer == adminapi.VoteNo && len(p.Refusals) == 0:
			fmt.Fprintf(s.Out, "\nNO %s: %s\n", p.Proxy, oneLine(p.Text))
		case p.Answer == adminapi.VoteNo:
			for _, f := range p.Refusals {
				fmt.Fprintf(s.Out, "\nNO %s: %s %s\n  Envoy says  %s\n  policy      %s\n", p.Proxy, f.Type, f.Resource, oneLine(f.Message), policies(f.Policies))
			}
		case p.Excused:
			fmt.Fprintf(s.Out, "\nEXCUSED %s: %s\n", p.Proxy, oneLine(p.Text))
		case p.Answer == adminapi.VoteAbstain:
			fmt.Fprintf(s.Out, "\nSILENT %s: %s\n", p.Proxy, oneLine(p.Text))
		}
	}
	return nil
}

// rolloutRows are the facts of one rollout, those that it has.
func rolloutRows(r adminapi.Rollout) table {
	t := table{head: []string{"ROLLOUT", r.ID}}
	row := func(name, value string) {
		if value != "" {
			t.rows = append(t.rows, []string{name, value})
		}
	}
	state := stateOf(r)
	if r.Phase != "" {
		state += ", " + r.Phase
	}
	row("state", state+colon(r.Reason))
	row("revision", arrow(r))
	for _, c := range r.Changes {
		row("changes", changeOf(c))
	}
	row("by", strings.Join(nonEmpty(r.By, r.Source), ", from "))
	row("undoes", r.Undoes)
	row("undone by", r.UndoneBy)
	row("resolved by", r.ResolvedBy)
	row("how", manner(r.Settings))
	row("started", moment(&r.Started))
	if r.Decided == nil {
		row("decided by", moment(r.Deadline))
	}
	row("decided", moment(r.Decided))
	if r.Votes.Voters > 0 {
		row("votes", tally(r.Votes))
	}
	for _, b := range r.Votes.Builds {
		row("build", fmt.Sprintf("%s: %d of %d yes", b.Build, b.Yes, b.Voters))
	}
	if c := r.Canary; c != nil {
		row("canary", canaryText(c))
	}
	if p := r.Pushed; p != nil {
		row("pushed", pushText(p))
	}
	if r.Skew > 0 {
		row("skew", time.Duration(r.Skew).Round(time.Millisecond).String())
	}
	if r.Phase == adminapi.PhaseConfirming {
		row("confirm by", moment(r.ConfirmBy))
	}
	row("refused", strings.Join(shortNames(r.Blamed), ", "))
	return t
}

// fleetRows says what is in force, and on how many proxies.
func fleetRows(all adminapi.Rollouts) table {
	t := table{head: []string{"IN FORCE", revisionLabel(all.InForce)}}
	p := all.Proxies
	text := fmt.Sprintf("%d of %d proxies run revision %s", p.Running, p.Connected, revisionLabel(all.InForce))
	if p.Refusing > 0 {
		text += fmt.Sprintf("; %d refuse some of it", p.Refusing)
	}
	if len(p.Late) > 0 {
		text += "; late: " + several(p.Late)
	}
	t.rows = append(t.rows, []string{"proxies", text})
	if all.Queued > 0 {
		t.rows = append(t.rows, []string{"waiting", count(all.Queued, "changed document") + " for the next rollout" + colon(all.Waits)})
	}
	if all.Next != nil {
		t.rows = append(t.rows, []string{"next one", manner(all.Next.Over(all.Settings))})
	}
	for _, d := range all.Pinned {
		t.rows = append(t.rows, []string{"pinned", fmt.Sprintf("%s, refused by %s%s", shortName(d.Document), d.Rollout, colon(d.Reason))})
	}
	return t
}

// manner is how a rollout goes, in words.
func manner(s adminapi.RolloutSettings) string {
	parts := []string{s.Mode}
	switch {
	case s.SkipVote:
		parts = append(parts, "no vote")
	case s.Mode != adminapi.ModeDirect:
		parts = append(parts, fmt.Sprintf("quorum %d%%", s.Quorum))
	}
	if s.Canary != "" {
		parts = append(parts, fmt.Sprintf("canary %s for %s", s.Canary, s.Bake))
	}
	if s.ConfirmTimeout > 0 {
		parts = append(parts, "to be confirmed within "+s.ConfirmTimeout.String())
	}
	return strings.Join(append(parts, "undone beyond "+s.MaxFailed.String()+" refusals"), ", ")
}

func canaryText(c *adminapi.CanaryCount) string {
	text := fmt.Sprintf("%s; %s", count(c.Proxies, "sidecar"), rate("trial", c.Requests, c.Errors))
	if c.BaselineRequests > 0 {
		text += "; " + rate("others", c.BaselineRequests, c.BaselineErrors)
	}
	if c.Until != nil {
		text += "; until " + c.Until.Local().Format(time.TimeOnly)
	}
	return text
}

func rate(who string, requests, errors uint64) string {
	if requests == 0 {
		return who + ": no requests"
	}
	return fmt.Sprintf("%s: %d of %d requests failed (%.2f%%)", who, errors, requests, float64(errors)*100/float64(requests))
}

func pushText(p *adminapi.PushCount) string {
	text := fmt.Sprintf("%d of %d acknowledged", p.Acked, p.Proxies)
	if p.Refused > 0 {
		text += fmt.Sprintf(", %d refused", p.Refused)
	}
	return text
}

// moment is a time with how far it is.
func moment(at *time.Time) string {
	if at == nil || at.IsZero() {
		return ""
	}
	text := at.Local().Format("2006-01-02 15:04:05")
	if left := time.Until(*at); left > 0 {
		return fmt.Sprintf("%s, in %s", text, left.Round(time.Second))
	}
	return fmt.Sprintf("%s, %s ago", text, ago(*at))
}

func nonEmpty(texts ...string) []string {
	out := []string{}
	for _, t := range texts {
		if t != "" {
			out = append(out, t)
		}
	}
	return out
}

// shortName turns "ResiliencePolicy/default/orders" into "rp/default/orders".
func shortName(document string) string {
	kind, rest, ok := strings.Cut(document, "/")
	if !ok {
		return document
	}
	return mesh.ShortKind(kind) + "/" + rest
}

func shortNames(documents []string) []string {
	out := make([]string, len(documents))
	for i, d := range documents {
		out[i] = shortName(d)
	}
	return out
}
