package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/consul/api"

	"meshlite.dev/internal/policy"
)

// DefaultStatusPrefix is the folder of statuses: apart from the documents, whose
// readers they would wake.
const DefaultStatusPrefix = "mesh/status/"

// StatusSink keeps the status of each document under a key of its own,
// KIND/NAMESPACE/NAME below the prefix, as the status of a Kubernetes object in
// JSON.
type StatusSink struct {
	Writer
	kv *api.KV
}

var (
	_ policy.StatusSink    = (*StatusSink)(nil)
	_ policy.StatusReader  = (*StatusSink)(nil)
	_ policy.StatusRemover = (*StatusSink)(nil)
)

// NewStatusSink returns a sink for cfg.Prefix, else DefaultStatusPrefix.
func NewStatusSink(cfg Config) (*StatusSink, error) {
	if cfg.Prefix == "" {
		cfg.Prefix = DefaultStatusPrefix
	}
	client, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	return &StatusSink{Writer{client.Txn(), cfg.Prefix}, client.KV()}, nil
}

// WriteStatus implements policy.StatusSink. Up to 100 statuses are one
// transaction.
func (s *StatusSink) WriteStatus(ctx context.Context, statuses []policy.Status) error {
	var ops api.TxnOps
	for _, one := range statuses {
		raw, err := json.Marshal(one.PolicyStatus)
		if err != nil {
			return fmt.Errorf("write the status of %s: %w", one.Key, err)
		}
		ops = append(ops, &api.TxnOp{KV: &api.KVTxnOp{Verb: api.KVSet, Key: s.key(one.Key), Value: raw}})
	}
	return s.all(ctx, "write", ops)
}

// RemoveStatus implements policy.StatusRemover.
func (s *StatusSink) RemoveStatus(ctx context.Context, keys []policy.Key) error {
	var ops api.TxnOps
	for _, k := range keys {
		ops = append(ops, &api.TxnOp{KV: &api.KVTxnOp{Verb: api.KVDelete, Key: s.key(k)}})
	}
	return s.all(ctx, "remove", ops)
}

// all commits ops in transactions that Consul takes. Its error names what was
// not done; a transaction that fails holds up no other.
func (s *StatusSink) all(ctx context.Context, verb string, ops api.TxnOps) error {
	var faults []error
	for len(ops) > 0 {
		n, size := 0, 0
		for n < min(len(ops), maxOps) && (n == 0 || size+len(ops[n].KV.Value) <= maxBytes) {
			size += len(ops[n].KV.Value)
			n++
		}
		if _, err := s.commit(ctx, ops[:n]); err != nil {
			var names []string
			for _, op := range ops[:n] {
				names = append(names, strings.TrimPrefix(op.KV.Key, s.prefix))
			}
			faults = append(faults, fmt.Errorf("%s the status of %s in Consul: %w", verb, strings.Join(names, ", "), err))
		}
		ops = ops[n:]
	}
	return errors.Join(faults...)
}

// ReadStatus implements policy.StatusReader. What is no status of ours is left
// alone.
func (s *StatusSink) ReadStatus(ctx context.Context) ([]policy.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, direct)
	defer cancel()
	pairs, meta, err := s.kv.List(s.prefix, (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.prefix, err)
	}
	if meta.ResultsFilteredByACLs {
		return nil, fmt.Errorf("read %s: the token hides keys; it needs key_prefix %q write", s.prefix, s.prefix)
	}
	var out []policy.Status
	for _, p := range pairs {
		parts := strings.Split(strings.TrimPrefix(p.Key, s.prefix), "/")
		if len(parts) != 3 {
			continue
		}
		one := policy.Status{Key: policy.Key{Kind: parts[0], Namespace: parts[1], Name: parts[2]}}
		if err := json.Unmarshal(p.Value, &one.PolicyStatus); err == nil {
			out = append(out, one)
		}
	}
	return out, nil
}
