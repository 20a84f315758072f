package kv

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/consul/api"
)

// Sessions of Consul: https://developer.hashicorp.com/consul/docs/automate/session
// Consul ends one that is not renewed after twice its TTL, of which 10 s is the
// least that it takes: 20 s after the last renewal.
const (
	sessionTTL = 10 * time.Second
	goodbye    = 2 * time.Second // for giving back what a session holds
)

// errGone reports a session that Consul does not know (any more).
var errGone = errors.New("the session is gone")

// createSession makes a session without health checks: that of the node would
// end it whenever the agent restarts. behavior is what becomes of its keys.
func (s *Store) createSession(ctx context.Context, behavior string, delay time.Duration) (id string, err error) {
	w, cancel := write(ctx, timeout)
	defer cancel()
	id, _, err = s.sessions.CreateNoChecks(&api.SessionEntry{
		Name: s.name, TTL: sessionTTL.String(), Behavior: behavior, LockDelay: max(delay, time.Millisecond), // 0 would be 15 s
	}, w)
	if err != nil {
		return "", fmt.Errorf("create a session of Consul (the token needs session_prefix \"\" write): %w", err)
	}
	return id, nil
}

// renewSession answers errGone for a session that has ended.
func (s *Store) renewSession(ctx context.Context, id string, within time.Duration) error {
	w, cancel := write(ctx, within)
	defer cancel()
	entry, _, err := s.sessions.Renew(id, w)
	switch {
	case err != nil:
		return fmt.Errorf("renew the session of Consul: %w", err)
	case entry == nil:
		return errGone
	}
	return nil
}

// endSession ends a session, even though ctx may have ended.
func (s *Store) endSession(ctx context.Context, id string) {
	w, cancel := write(context.WithoutCancel(ctx), goodbye)
	defer cancel()
	if _, err := s.sessions.Destroy(id, w); err != nil {
		s.log.DebugContext(ctx, "session not ended; it expires", "err", err)
	}
}

func write(ctx context.Context, within time.Duration) (*api.WriteOptions, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, within)
	return (&api.WriteOptions{}).WithContext(ctx), cancel
}
