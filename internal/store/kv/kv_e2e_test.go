//go:build e2e

package kv_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"meshlite.dev/internal/catalog/consul/consultest"
	"meshlite.dev/internal/store"
	"meshlite.dev/internal/store/kv"
	"meshlite.dev/internal/store/storetest"
)

func TestContract(t *testing.T) {
	agent := consultest.Start(t, consultest.Options{})
	var n atomic.Int64
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, agent, fmt.Sprint("t", n.Add(1), "/")) })
}

func open(t *testing.T, agent *consultest.Agent, prefix string) *kv.Store {
	t.Helper()
	s, err := kv.New(kv.Config{Addr: agent.Addr, Prefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestLargeCommits are more operations and more bytes than one transaction of
// Consul takes.
func TestLargeCommits(t *testing.T) {
	s := open(t, consultest.Start(t, consultest.Options{}), "large/")
	var ops []store.Op
	for i := range 1_000 {
		ops = append(ops, store.Op{Key: fmt.Sprintf("documents/%04d", i), Value: []byte(strings.Repeat(fmt.Sprint(i), 500))})
	}
	big := bytes.Repeat([]byte(`{"kind": "ResiliencePolicy"}`), 40_000) // 1.1 MB
	ops = append(ops, store.Op{Key: "revisions/a", Value: big}, store.Op{Key: "revision", Value: []byte("{}"), Check: true})
	if err := s.Commit(t.Context(), ops...); err != nil {
		t.Fatal(err)
	}
	all, err := s.List(t.Context(), "documents/")
	if err != nil || len(all) != 1_000 || all[7].Key != "documents/0007" {
		t.Fatalf("%d documents, %v", len(all), err)
	}
	if e, err := s.Get(t.Context(), "revisions/a"); err != nil || !bytes.Equal(e.Value, big) {
		t.Errorf("the large value: %d bytes, %v", len(e.Value), err)
	}
}
