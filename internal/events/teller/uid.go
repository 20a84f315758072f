package teller

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"

	"meshlite.dev/internal/store"
)

// uidKey holds the mesh's uid: made once, the same for all replicas.
const uidKey = "uid"

func meshUID(ctx context.Context, s store.Store) (string, error) {
	for {
		e, err := s.Get(ctx, uidKey)
		if err == nil {
			var uid string
			err = json.Unmarshal(e.Value, &uid)
			return uid, err
		}
		if !errors.Is(err, store.ErrNotFound) {
			return "", err
		}
		uid := strings.ToLower(rand.Text()[:12])
		err = s.Commit(ctx, store.Op{Key: uidKey, Value: []byte(quoted(uid)), Check: true})
		if err == nil {
			return uid, nil
		}
		if !errors.Is(err, store.ErrConflict) { // another replica was first
			return "", err
		}
	}
}
