//go:build e2e

package chain_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"meshlite.dev/internal/kube"
	"meshlite.dev/internal/store"
	storekube "meshlite.dev/internal/store/kube"
	"meshlite.dev/internal/txn/journal"
	"meshlite.dev/internal/txn/journal/journaltest"
	"meshlite.dev/test/lab"
)

func TestMain(m *testing.M) {
	if err := lab.FindTools(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// namespaces are stores on a real Kubernetes API, each in a namespace of its own.
func namespaces(t *testing.T) (*lab.Cluster, func(t *testing.T) store.Store) {
	cluster := lab.New(t).StartCluster()
	cluster.InstallCRDs()
	cfg, err := kube.Connect(cluster.Kubeconfig(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int64
	return cluster, func(t *testing.T) store.Store {
		name := fmt.Sprint("journal-", n.Add(1))
		cluster.MustKubectl("create", "namespace", name)
		s, err := storekube.New(storekube.Config{REST: cfg, Namespace: name})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func TestContractOnKubernetes(t *testing.T) {
	_, open := namespaces(t)
	journaltest.Run(t, func(t *testing.T) journaltest.Content { return content{open(t)} })
}

func TestAppendsToKubernetes(t *testing.T) {
	_, open := namespaces(t)
	j, term, _ := recovered(t, open(t))
	var took []time.Duration
	for i := range uint64(100) {
		begin := time.Now()
		if err := j.Append(t.Context(), journaltest.Record("a", term, i+1)); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	t.Logf("an append takes %s, of a hundred at most %s", took[50].Round(100*time.Microsecond), took[99].Round(100*time.Microsecond))
}

// TestKubernetesIsKilledInTheMiddle: appends fail until it is back, then go on; and who
// was replaced meanwhile is told.
func TestKubernetesIsKilledInTheMiddle(t *testing.T) {
	cluster, open := namespaces(t)
	s := open(t)
	j, term, _ := recovered(t, s)
	if err := j.Append(t.Context(), journaltest.Record("a", term, 1)); err != nil {
		t.Fatal(err)
	}
	cluster.Kill()
	if err := j.Append(t.Context(), journaltest.Record("a", term, 2)); err == nil || errors.Is(err, journal.ErrFenced) {
		t.Fatalf("Append without Kubernetes = %v", err)
	}
	cluster.Start()
	cluster.WaitReady(60 * time.Second)
	if err := j.Append(t.Context(), journaltest.Record("a", term, 2)); err != nil {
		t.Fatalf("Append after the outage = %v", err)
	}
	next, second, records := recovered(t, s)
	if len(records) != 1 || records[0].Seq != 2 {
		t.Fatalf("recovered %v", records)
	}
	if err := j.Append(t.Context(), journaltest.Record("a", term, 3)); !errors.Is(err, journal.ErrFenced) {
		t.Errorf("Append of the former = %v, want ErrFenced", err)
	}
	if err := next.Append(t.Context(), journaltest.Record("a", second, 3)); err != nil {
		t.Error(err)
	}
}
