package kv

import (
	"context"
	"fmt"

	"github.com/hashicorp/consul/api"

	"meshlite.dev/internal/policy"
)

// maxOps is how many operations of a transaction are used; Consul takes 128.
const maxOps = 100

// Writer writes the keys that a Source reads.
type Writer struct {
	txn    *api.Txn
	prefix string
}

var _ policy.Writer = (*Writer)(nil)

// NewWriter returns a writer with the credentials of cfg, else of Consul's own
// variables.
func NewWriter(cfg Config) (*Writer, error) {
	if cfg.Prefix == "" {
		cfg.Prefix = DefaultPrefix
	}
	client, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	return &Writer{client.Txn(), cfg.Prefix}, nil
}

func newClient(cfg Config) (*api.Client, error) {
	c := api.DefaultConfig()
	if cfg.Addr != "" {
		c.Address = cfg.Addr
	}
	if cfg.Token != "" {
		c.Token, c.TokenFile = cfg.Token, ""
	}
	client, err := api.NewClient(c)
	if err != nil {
		return nil, fmt.Errorf("set up the client for Consul at %s: %w", c.Address, err)
	}
	return client, nil
}

// Write implements policy.Writer. Up to 100 documents are one transaction;
// more are several, in order, and an error tells that the rest was left out.
func (w *Writer) Write(ctx context.Context, put []*policy.Document, remove []policy.Key) error {
	var ops api.TxnOps
	for _, d := range put {
		ops = append(ops, &api.TxnOp{KV: &api.KVTxnOp{Verb: api.KVSet, Key: w.prefix + d.Key.String(), Value: d.Canonical}})
	}
	for _, k := range remove {
		ops = append(ops, &api.TxnOp{KV: &api.KVTxnOp{Verb: api.KVDelete, Key: w.prefix + k.String()}})
	}
	for len(ops) > 0 {
		n := min(len(ops), maxOps)
		ctx, cancel := context.WithTimeout(ctx, direct)
		ok, resp, _, err := w.txn.Txn(ops[:n], (&api.QueryOptions{}).WithContext(ctx))
		cancel()
		if err != nil {
			return fmt.Errorf("write policies to Consul, %d left: %w", len(ops), err)
		}
		if !ok {
			return fmt.Errorf("write policies to Consul, %d left: %s", len(ops), resp.Errors[0].What)
		}
		ops = ops[n:]
	}
	return nil
}
