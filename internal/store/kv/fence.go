package kv

import (
	"context"
	"fmt"

	"github.com/hashicorp/consul/api"

	"meshlite.dev/internal/store"
)

// fence commits while its session holds the key of a lock. Consul checks that in
// the transaction itself: whatever a holder believes and however late its
// request arrives, nothing of it applies after the session lost the key.
type fence struct {
	store        *Store
	key, session string
}

// Commit implements store.Fence.
func (f fence) Commit(ctx context.Context, ops ...store.Op) (uint64, error) {
	all := api.TxnOps{{KV: &api.KVTxnOp{Verb: api.KVCheckSession, Key: f.key, Session: f.session}}}
	for _, op := range ops {
		t, err := f.store.ops(op)
		if err != nil {
			return 0, err
		}
		all = append(all, t...)
	}
	if len(all) > maxOps || size(all) > maxBytes {
		return 0, fmt.Errorf("commit to Consul: %d operations, %d bytes; a transaction takes %d and %d", len(all), size(all), maxOps, maxBytes)
	}
	return f.store.transact(ctx, all)
}
