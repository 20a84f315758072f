package kv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/consul/api"

	"meshlite.dev/internal/store"
)

// A lock is the key lock/NAME, acquired by a session of its holder. Consul
// alone would give the lock of a dead holder away after 20 s (see session.go)
// and its lock-delay. So the holder also writes a beat into the key, and who
// waits ends the session of a holder that is silent. These times make it one
// holder at most, whoever fails:
//
//	giveUp    after its last beat that Consul confirmed a holder stops
//	silence   after the last beat that it saw a waiting one ends the session
//	lockDelay for which Consul then gives the lock to nobody
//
// giveUp < silence: a holder that is cut off has stopped before its session is
// ended. giveUp <= lockDelay: so has one whose session somebody else ended.
// silence + lockDelay < 15 s, which store.Locker promises.
const (
	beatEvery = 2 * time.Second
	giveUp    = 4 * time.Second
	silence   = 7 * time.Second
	lockDelay = giveUp
	retry     = 500 * time.Millisecond
	retryMost = 5 * time.Second
	handover  = time.Second // before a holder that gave the lock back asks again
)

var (
	_ store.Locker = (*Store)(nil)
	_ store.Fencer = (*Store)(nil)
)

// Hold implements store.Locker.
func (s *Store) Hold(ctx context.Context, name string, do func(context.Context)) {
	s.HoldFenced(ctx, name, func(ctx context.Context, _ store.Fence) { do(ctx) })
}

// HoldFenced implements store.Fencer.
func (s *Store) HoldFenced(ctx context.Context, name string, do func(context.Context, store.Fence)) {
	key := s.prefix + "lock/" + name
	for {
		h, ok := s.acquire(ctx, key)
		if !ok {
			return
		}
		h.hold(ctx, do)
		if !store.Rest(ctx, handover) {
			return
		}
	}
}

// acquire waits until this process holds key; false when ctx ends first.
func (s *Store) acquire(ctx context.Context, key string) (*holder, bool) {
	w := waiting{store: s, key: key}
	pause, told := retry, ""
	for ctx.Err() == nil {
		h, err := w.step(ctx)
		switch {
		case h != nil:
			return h, true
		case err == nil:
			pause, told = retry, ""
			continue
		case err.Error() != told && ctx.Err() == nil:
			told = err.Error()
			s.log.WarnContext(ctx, "lock not had; trying again", "lock", key, "err", err)
		}
		w.index = 0
		store.Rest(ctx, pause/2+rand.N(pause))
		pause = min(2*pause, retryMost)
	}
	return nil, false
}

// waiting is what one that waits has seen of a key.
type waiting struct {
	store *Store
	key   string
	index uint64 // of the last answer; 0 asks for one at once
	beat  uint64 // ModifyIndex of the last beat seen
	since time.Time
}

// step looks at the key once, for at most silence, and does what is to be done.
func (w *waiting) step(ctx context.Context) (*holder, error) {
	pair, err := w.read(ctx)
	switch {
	case err != nil:
		return nil, err
	case pair == nil || pair.Session == "":
		return w.try(ctx)
	case pair.ModifyIndex != w.beat:
		w.beat, w.since = pair.ModifyIndex, time.Now()
	case time.Since(w.since) >= silence:
		w.store.log.WarnContext(ctx, "the holder of a lock is silent; its session is ended", "lock", w.key, "holder", string(pair.Value))
		w.index = 0
		o, cancel := write(ctx, timeout)
		defer cancel()
		if _, err := w.store.sessions.Destroy(pair.Session, o); err != nil {
			return nil, fmt.Errorf("end the session of a dead holder: %w", err)
		}
	}
	return nil, nil
}

// read returns the key, nil where there is none, at the latest when the beats
// have been missing for silence.
func (w *waiting) read(ctx context.Context) (*api.KVPair, error) {
	wait := silence
	if !w.since.IsZero() {
		wait = max(time.Until(w.since.Add(silence)), time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(ctx, wait+wait/16+timeout) // Consul adds up to wait/16
	defer cancel()
	pair, meta, err := w.store.kv.Get(w.key, (&api.QueryOptions{WaitIndex: w.index, WaitTime: wait, RequireConsistent: true}).WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("read %s of Consul: %w", w.key, err)
	}
	if w.index = meta.LastIndex; meta.LastIndex < w.beat {
		w.index = 0 // Consul was restored
	}
	return pair, nil
}

// try acquires the free key. Consul refuses while its lock-delay runs, so it
// asks for a while before it looks at the key again: somebody else may have it.
func (w *waiting) try(ctx context.Context) (*holder, error) {
	w.index = 0
	h := &holder{store: w.store, key: w.key}
	var err error
	if h.session, err = w.store.createSession(ctx, api.SessionBehaviorRelease, lockDelay); err != nil {
		return nil, err
	}
	for until := time.Now().Add(lockDelay); time.Now().Before(until); {
		h.good = time.Now()
		ok, fault := h.write(ctx, timeout)
		if ok {
			return h, nil
		}
		if err = fault; err != nil || !store.Rest(ctx, retry+rand.N(retry)) {
			break
		}
	}
	w.store.endSession(ctx, h.session)
	return nil, err
}

// holder holds a key.
type holder struct {
	store        *Store
	key, session string
	beats        uint64
	good         time.Time // when the last beat that Consul confirmed was sent
}

// hold runs do for as long as the key is held.
func (h *holder) hold(ctx context.Context, do func(context.Context, store.Fence)) {
	held, lose := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer lose()
		if err := h.keep(held); err != nil {
			h.store.log.WarnContext(ctx, "lock lost", "lock", h.key, "err", err)
		}
	}()
	defer func() {
		lose()
		<-ended
		h.release(ctx)
	}()
	do(held, fence{h.store, h.key, h.session})
}

// keep beats until ctx ends (nil) or the key is lost.
func (h *holder) keep(ctx context.Context) error {
	fault := errors.New("this process stood still")
	for next := beatEvery; store.Rest(ctx, min(next, time.Until(h.good.Add(giveUp)))); {
		left := time.Until(h.good.Add(giveUp))
		if left <= 0 {
			return fmt.Errorf("no beat got through for %s: %w", giveUp, fault)
		}
		sent := time.Now()
		switch err := h.beat(ctx, left); {
		case err == nil:
			h.good, next = sent, beatEvery
		case errors.Is(err, errGone):
			return err
		default:
			fault, next = err, retry
		}
	}
	return nil
}

// beat shows that the holder lives; errGone where the key is not its own.
func (h *holder) beat(ctx context.Context, within time.Duration) error {
	if err := h.store.renewSession(ctx, h.session, within); err != nil {
		return err
	}
	ok, err := h.write(ctx, within)
	if err == nil && !ok {
		return errGone
	}
	return err
}

// write acquires the key, or what is held anew with the next beat: Consul
// counts no change where the value stays the same.
func (h *holder) write(ctx context.Context, within time.Duration) (ok bool, err error) {
	h.beats++
	w, cancel := write(ctx, within)
	defer cancel()
	ok, _, err = h.store.kv.Acquire(&api.KVPair{Key: h.key, Session: h.session, Value: fmt.Appendf(nil, `{"holder":%q,"beat":%d}`, h.store.name, h.beats)}, w)
	if err != nil {
		return false, fmt.Errorf("acquire %s of Consul: %w", h.key, err)
	}
	return ok, nil
}

// release gives the key back, so that no lock-delay runs.
func (h *holder) release(ctx context.Context) {
	w, cancel := write(context.WithoutCancel(ctx), goodbye)
	defer cancel()
	if _, _, err := h.store.kv.Release(&api.KVPair{Key: h.key, Session: h.session}, w); err != nil {
		h.store.log.DebugContext(ctx, "lock not given back; it expires", "lock", h.key, "err", err)
	}
	h.store.endSession(ctx, h.session)
}
