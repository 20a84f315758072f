package ctl

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/admin/adminapi"
)

// askAgain is how long after a stream broke it is asked for again.
const askAgain = time.Second

// next waits until a rollout is there that all does not have yet, and follows it.
func (s *session) next(ctx context.Context, all adminapi.Rollouts, limit time.Duration) error {
	waited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	begun := time.Now()
	said := s.progress()
	tick := time.NewTicker(askAgain / 2)
	defer tick.Stop()
	for {
		now, r, err := s.pick(waited, nil)
		switch {
		case ctx.Err() != nil:
			said.done("")
			return nil // interrupted, as meant
		case waited.Err() != nil:
			said.done("")
			return &exitError{ExitUndecided, fmt.Errorf("no rollout began within %s", limit)}
		case err != nil:
			said.done("")
			return err
		case r != nil && (len(all.Items) == 0 || r.ID != all.Items[0].ID):
			said.done("")
			return s.follow(ctx, r, "", limit-time.Since(begun))
		}
		said.say("the next change set" + nextManner(now))
		select {
		case <-waited.Done():
		case <-tick.C:
		}
	}
}

// nextManner says how the next rollout goes, where that is set.
func nextManner(all adminapi.Rollouts) string {
	switch {
	case all.Waits != "":
		return colon(all.Waits)
	case all.Next == nil:
		return ""
	}
	return ": " + manner(all.Next.Over(all.Settings))
}

// follow shows r until it is decided and pushed, or a person is awaited, and
// ends with its exit code. No person is awaited in the phase past: it was just
// ended.
func (s *session) follow(ctx context.Context, r *adminapi.Rollout, past string, limit time.Duration) error {
	waited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	f := &following{session: s, view: s.rolloutProgress(), last: *r, past: past}
	err := f.run(waited)
	f.view.close()
	switch {
	case ctx.Err() != nil:
		return nil // interrupted, as meant
	case waited.Err() != nil && !f.settled():
		text, _ := stage(f.last, time.Now())
		return &exitError{ExitUndecided, fmt.Errorf("rollout %s is not at its end after %s: %s", f.last.ID, limit, text)}
	case err != nil:
		return err
	}
	return s.concluded(ctx, f.last)
}

// concluded prints what became of a rollout that was followed.
func (s *session) concluded(ctx context.Context, r adminapi.Rollout) error {
	if s.structured() { // each of its states is printed
		return verdictOf(r)
	}
	all, _, err := s.pick(ctx, nil)
	if err == nil {
		err = s.showRollout(ctx, all, r)
	}
	if err != nil {
		return err
	}
	if r.Phase == adminapi.PhaseConfirming {
		s.hint("unless it is confirmed it is undone: meshctl rollout confirm %s", r.ID)
	}
	return verdictOf(r)
}

// following is one rollout that is followed.
type following struct {
	*session
	view *rolloutProgress
	last adminapi.Rollout // heard
	past string           // a phase that was just ended; "" for none
}

// settled reports whether there is nothing to wait for but a person.
func (f *following) settled() bool {
	r := &f.last
	return !r.Open() || r.Phase != f.past && (r.Phase == adminapi.PhaseHeld || r.Phase == adminapi.PhaseConfirming)
}

// run asks again where the server goes away in between.
func (f *following) run(ctx context.Context) error {
	heard := false
	for {
		body, err := f.open(ctx, http.MethodGet, rolloutPath(f.last.ID, "/watch"), nil)
		if err == nil {
			heard = true
			err = f.hear(body)
			body.Close()
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && f.settled():
			return nil
		case err != nil && (!heard || !isAway(err)):
			return err
		}
		f.view.say(noAnswer + "; asking again")
		wait := time.NewTimer(askAgain)
		select {
		case <-ctx.Done():
			wait.Stop()
		case <-wait.C:
		}
	}
}

// hear shows the lines of a stream until the rollout is settled; an end before
// that is no error.
func (f *following) hear(body io.Reader) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		raw := lines.Bytes()
		if len(raw) == 0 { // the server lives
			continue
		}
		var next adminapi.Rollout
		if err := json.Unmarshal(raw, &next); err != nil {
			return fmt.Errorf("read a rollout: %w", err)
		}
		f.last = next
		if err := f.print(raw); err != nil {
			return err
		}
		if f.settled() {
			return nil
		}
	}
	return nil
}

func (f *following) print(raw []byte) error {
	switch f.output {
	case "json":
		_, err := fmt.Fprintf(f.Out, "%s\n", raw)
		return err
	case "yaml":
		text, err := yaml.JSONToYAML(raw)
		if err != nil {
			return fmt.Errorf("write YAML: %w", err)
		}
		_, err = fmt.Fprintf(f.Out, "---\n%s", text)
		return err
	}
	f.view.show(f.last)
	return nil
}
