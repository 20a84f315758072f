//go:build e2e

package kv_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/consul/api"
	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/catalog/consul/consultest"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/gather"
	"meshlite.dev/internal/policy/kv"
	"meshlite.dev/internal/policy/policytest"
)

func TestContract(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{Data: true})
	var n atomic.Int64
	policytest.Run(t, func(t *testing.T) policytest.Carrier {
		cfg := kv.Config{Addr: agent.Addr, Prefix: fmt.Sprintf("t%d/policies/", n.Add(1))}
		writer, err := kv.NewWriter(cfg)
		if err != nil {
			t.Fatal(err)
		}
		commit := func(ops api.TxnOps) {
			t.Helper()
			for some := range slices.Chunk(ops, 100) {
				if ok, resp, _, err := agent.API().Txn().Txn(some, nil); err != nil || !ok {
					t.Fatal(err, resp)
				}
			}
		}
		return policytest.Carrier{
			Source: func(timing gather.Timing, known func() []*policy.Document) policy.Source {
				cfg.Timing, cfg.Known = timing, known
				s, err := kv.New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				return s
			},
			Put: func(texts ...string) {
				var ops api.TxnOps
				for _, text := range texts {
					var doc struct {
						Kind     string `json:"kind"`
						Metadata struct {
							Name string `json:"name"`
						} `json:"metadata"`
					}
					raw, err := yaml.YAMLToJSON([]byte(text))
					if err == nil {
						err = yaml.Unmarshal(raw, &doc)
					}
					if err != nil {
						t.Fatal(err)
					}
					k := policy.Key{Kind: doc.Kind, Namespace: "default", Name: doc.Metadata.Name}
					ops = append(ops, &api.TxnOp{KV: &api.KVTxnOp{Verb: api.KVSet, Key: cfg.Prefix + k.String(), Value: raw}})
				}
				commit(ops)
			},
			Remove: func(keys ...policy.Key) {
				var ops api.TxnOps
				for _, k := range keys {
					ops = append(ops, &api.TxnOp{KV: &api.KVTxnOp{Verb: api.KVDelete, Key: cfg.Prefix + k.String()}})
				}
				commit(ops)
			},
			Down: agent.Kill, Up: agent.Run,
			Writer: writer,
		}
	})
}
