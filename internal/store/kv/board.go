package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"meshlite.dev/internal/store"
)

const (
	renewEvery = 5 * time.Second
	boardWait  = 60 * time.Second // of the blocking query
	boardSlack = 15 * time.Second // Consul adds up to boardWait/16
)

var _ store.Board = (*Store)(nil)

// Post implements store.Board: a note is the key BOARD/SESSION, which Consul
// deletes with the session, 20 s after a replica died.
func (s *Store) Post(ctx context.Context, board string, notes <-chan []byte, heard func(map[string][]byte)) {
	p := poster{store: s, prefix: s.prefix + board + "/"}
	var wg sync.WaitGroup
	wg.Go(func() { p.post(ctx, notes) })
	wg.Go(func() { p.read(ctx, heard) })
	wg.Wait()
}

type poster struct {
	store  *Store
	prefix string

	mu      sync.Mutex
	session string // that the note hangs on; "" while there is none
}

func (p *poster) own() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.session
}

// post keeps the note where the others read it.
func (p *poster) post(ctx context.Context, notes <-chan []byte) {
	defer func() {
		if id := p.own(); id != "" {
			p.store.endSession(ctx, id)
		}
	}()
	var note []byte
	dirty, told, pause := false, "", retry
	next := time.NewTimer(renewEvery)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case note = <-notes:
			dirty = true
		case <-next.C:
		}
		if note == nil {
			continue
		}
		err := p.keep(ctx, note, dirty)
		switch {
		case err == nil:
			dirty, told, pause = false, "", retry
			next.Reset(renewEvery)
			continue
		case err.Error() != told && ctx.Err() == nil:
			told = err.Error()
			p.store.log.WarnContext(ctx, "other replicas are not told; trying again", "board", p.prefix, "err", err)
		}
		next.Reset(pause/2 + rand.N(pause))
		pause = min(2*pause, retryMost)
	}
}

// keep renews the session, or makes one, and writes the note where it changed
// or hangs on another session than before.
func (p *poster) keep(ctx context.Context, note []byte, dirty bool) error {
	id := p.own()
	if id != "" {
		switch err := p.store.renewSession(ctx, id, timeout); {
		case errors.Is(err, errGone):
			id = ""
		case err != nil:
			return err
		}
	}
	if id == "" {
		var err error
		if id, err = p.store.createSession(ctx, api.SessionBehaviorDelete, 0); err != nil {
			return err
		}
		dirty = true
		p.mu.Lock()
		p.session = id
		p.mu.Unlock()
	}
	if !dirty {
		return nil
	}
	value, err := zip(note)
	if err != nil {
		return err
	}
	w, cancel := write(ctx, timeout)
	defer cancel()
	ok, _, err := p.store.kv.Acquire(&api.KVPair{Key: p.prefix + id, Session: id, Value: value}, w)
	if err == nil && !ok {
		err = errors.New("the key is somebody else's")
	}
	if err != nil {
		return fmt.Errorf("write %s of Consul: %w", p.prefix+id, err)
	}
	return nil
}

// read follows what the others post.
func (p *poster) read(ctx context.Context, heard func(map[string][]byte)) {
	var index uint64
	var last map[string][]byte
	told, pause := "", retry
	for ctx.Err() == nil {
		notes, at, err := p.others(ctx, index)
		if err == nil {
			if told, pause = "", retry; at < index {
				at = 0 // Consul was restored
			}
			index = at
			if ctx.Err() == nil && (last == nil || !maps.EqualFunc(notes, last, bytes.Equal)) {
				last = notes
				heard(notes)
			}
			continue
		}
		if err.Error() != told && ctx.Err() == nil {
			told = err.Error()
			p.store.log.WarnContext(ctx, "other replicas are not heard; trying again", "board", p.prefix, "err", err)
		}
		index = 0
		store.Rest(ctx, pause/2+rand.N(pause))
		pause = min(2*pause, retryMost)
	}
}

func (p *poster) others(ctx context.Context, index uint64) (map[string][]byte, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, boardWait+boardSlack)
	defer cancel()
	pairs, meta, err := p.store.kv.List(p.prefix, (&api.QueryOptions{WaitIndex: index, WaitTime: boardWait, RequireConsistent: true}).WithContext(ctx))
	if err != nil {
		return nil, 0, fmt.Errorf("list %s of Consul: %w", p.prefix, err)
	}
	out := map[string][]byte{}
	for _, pair := range pairs {
		name := strings.TrimPrefix(pair.Key, p.prefix)
		if name == p.own() || pair.Session == "" { // no replica's: written by hand
			continue
		}
		note, err := unzip(pair.Value)
		if err != nil { // its writer is the one to be mended
			p.store.log.WarnContext(ctx, "a replica's note cannot be read", "key", pair.Key, "err", err)
			continue
		}
		out[name] = note
	}
	return out, max(meta.LastIndex, 1), nil
}
