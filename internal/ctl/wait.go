package ctl

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/v1alpha1"
	"meshlite.dev/internal/status"
)

// waits are the conditions that --wait knows, weakest first: each holds the
// ones before it.
var waits = []string{policy.ConditionAccepted, policy.ConditionProgrammed, policy.ConditionEnforced}

// waitFor reads the value of --wait; "" does not wait.
func waitFor(text string) (condition string, err error) {
	switch text {
	case "", "false":
		return "", nil
	case "true":
		return policy.ConditionEnforced, nil
	}
	for _, w := range waits {
		if strings.EqualFold(text, w) {
			return w, nil
		}
	}
	return "", usagef("--wait is %q; use %s", text, strings.Join(waits, ", "))
}

// await returns once every change has come as far as --wait says. A server that
// answered and goes away is asked again: it may start anew.
func (s *session) await(ctx context.Context, w writing, changes []policy.Change, before invalid) error {
	waited, cancel := context.WithTimeout(ctx, w.limit)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	said := s.progress()
	why, heard := noAnswer, false
	for {
		now, err := s.pending(waited, w.wait, changes, before)
		switch {
		case err == nil && now == "":
			said.done(reached(w.wait, changes))
			return nil
		case err == nil:
			why, heard = now, true
		case waited.Err() != nil: // what was said last counts
		case heard && isAway(err):
			why = noAnswer
		default:
			said.done("")
			return err
		}
		said.say(why)
		select {
		case <-waited.Done():
			said.done("")
			if ctx.Err() != nil {
				return fmt.Errorf("interrupted; not %s yet: %s", strings.ToLower(w.wait), why)
			}
			return fmt.Errorf("not %s after %s: %s", strings.ToLower(w.wait), w.limit, why)
		case <-tick.C:
		}
	}
}

const noAnswer = "the server does not answer"

// invalid says what was wrong with documents before they were written anew.
type invalid map[policy.Key]string

// invalidNow are the documents whose newest version the server refuses; nil where
// it does not say.
func (s *session) invalidNow(ctx context.Context) invalid {
	var now adminapi.Policies
	if s.get(ctx, "/v1/policies", &now) != nil {
		return nil
	}
	out := invalid{}
	for _, p := range now.Items {
		if p.Accepted == refusedVersion {
			out[keyOf(p)] = p.Message
		}
	}
	return out
}

const refusedVersion = "Invalid" // as Policy.Accepted; an older one may be in force

// pending says what is still awaited; "" is nothing. An error is an end. What is
// invalid now and was not before is so in the version that was written.
func (s *session) pending(ctx context.Context, condition string, changes []policy.Change, before invalid) (string, error) {
	var now adminapi.Policies
	if err := s.get(ctx, "/v1/policies", &now); err != nil {
		return noAnswer, err
	}
	there := map[policy.Key]adminapi.Policy{}
	for _, p := range now.Items {
		there[keyOf(p)] = p
	}
	// Conditions know of every replica's sidecars.
	judged := slices.ContainsFunc(now.Items, func(p adminapi.Policy) bool { return len(p.Conditions) > 0 })
	for _, c := range changes {
		p, ok := there[c.Key]
		switch {
		case c.Document == nil && ok:
			return s.rolling(ctx, c, c.Key.String()+" is still there")
		case c.Document == nil:
			continue
		case !ok || !same(p.Document, c.Document.Canonical):
			why := c.Key.String() + " is not taken over yet"
			if p.Accepted == refusedVersion {
				if before != nil && before[c.Key] != p.Message {
					return "", fmt.Errorf("%s is %s: %s", c.Key, p.Accepted, p.Message)
				}
				why += "; " + p.Message // of this version, or still of the one before
			}
			return s.rolling(ctx, c, why)
		case p.Accepted != "Accepted":
			return "", fmt.Errorf("%s is %s: %s", c.Key, p.Accepted, p.Message)
		case judged:
			if why, err := awaited(p, condition, c.Document); why != "" || err != nil {
				return why, err
			}
		}
	}
	if judged || condition == policy.ConditionAccepted {
		return "", nil
	}
	return s.unacknowledged(ctx)
}

// hopeless are reasons that waiting does not mend.
var hopeless = []string{
	status.ReasonRejectedByProxies, status.ReasonPartiallyProgrammed, status.ReasonOverridden, status.ReasonNotUsed,
}

// beyond are reasons why nobody can tell, and there is nothing to wait for.
var beyond = []string{status.ReasonNoProxies, status.ReasonReadAtStart, status.ReasonRoleDisabled, status.ReasonPaused}

// awaited says which condition of p is not met yet. One that waiting does not
// mend is an error.
func awaited(p adminapi.Policy, condition string, d *policy.Document) (string, error) {
	for _, name := range waits[:slices.Index(waits, condition)+1] {
		c, ok := conditionOf(p, name)
		switch {
		case name != policy.ConditionAccepted && neverSent(d):
			return "", nil
		case !ok || c.ObservedGeneration != 0 && c.ObservedGeneration < p.Generation:
			return fmt.Sprintf("%s is not %s yet", d.Key, name), nil
		case c.Status == "True", slices.Contains(beyond, c.Reason):
		case c.Status == "False" && name != policy.ConditionAccepted && slices.Contains(hopeless, c.Reason): // Accepted follows what the server said just now
			return "", fmt.Errorf("%s is not %s%s", d.Key, name, because(c))
		default:
			return fmt.Sprintf("%s is not %s yet%s", d.Key, name, because(c)), nil
		}
	}
	return "", nil
}

// neverSent reports whether nothing of the document comes in force.
func neverSent(d *policy.Document) bool {
	return d.Resilience != nil && d.Resilience.Effect == v1alpha1.Shadow || d.Route != nil && d.Route.Effect == v1alpha1.Shadow
}

func conditionOf(p adminapi.Policy, name string) (adminapi.Condition, bool) {
	for _, c := range p.Conditions {
		if c.Type == name {
			return c, true
		}
	}
	return adminapi.Condition{}, false
}

// because is reason and message of a condition, to append.
func because(c adminapi.Condition) string {
	switch {
	case c.Reason == "" && c.Message == "":
		return ""
	case c.Message == "":
		return ": " + c.Reason
	case c.Reason == "":
		return ": " + oneLine(c.Message)
	}
	return ": " + c.Reason + ": " + oneLine(c.Message)
}

// unacknowledged asks the sidecars of this server, where it tells no
// conditions.
func (s *session) unacknowledged(ctx context.Context) (string, error) {
	var proxies []adminapi.Proxy
	if err := s.get(ctx, "/v1/proxies", &proxies); err != nil {
		return noAnswer, err
	}
	for _, p := range proxies {
		switch {
		case !p.Connected:
		case p.Status == adminapi.Error && len(p.Errors) > 0:
			return "", fmt.Errorf("%s refused %s: %s", p.ID, p.Errors[0].Resource, oneLine(p.Errors[0].Message))
		case p.Status == adminapi.Stale:
			return p.ID + " has not acknowledged it yet", nil
		}
	}
	return "", nil
}

// same reports whether the server's document, which it indented, is the
// canonical one.
func same(served, canonical json.RawMessage) bool {
	var out bytes.Buffer
	return json.Compact(&out, served) == nil && bytes.Equal(out.Bytes(), canonical)
}

// reached says what a wait for a condition has come to.
func reached(condition string, changes []policy.Change) string {
	sidecars := func(c policy.Change) bool { return c.Kind != policy.KindEventSubscription } // hear of it
	switch {
	case condition == policy.ConditionAccepted:
		return "accepted"
	case !slices.ContainsFunc(changes, sidecars):
		return "in force"
	case condition == policy.ConditionProgrammed:
		return "sent to every sidecar"
	}
	return "in force on every sidecar"
}
