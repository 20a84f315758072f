//go:build e2e

package kube_test

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"meshlite.dev/internal/kube"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/revision"
	storekube "meshlite.dev/internal/store/kube"
	"meshlite.dev/test/lab"
)

// asServer opens the store that xds-server has, with its rights and no others.
func (a *api) asServer(t *testing.T) *storekube.Store {
	t.Helper()
	root, err := lab.Root()
	if err != nil {
		t.Fatal(err)
	}
	a.cluster.MustKubectl("apply", "-k", filepath.Join(root, "manifests", "base"))
	log := slog.New(slog.DiscardHandler)
	cfg, err := kube.Connect(a.cluster.KubeconfigFor("meshlite-system/xds-server"), log)
	if err != nil {
		t.Fatal(err)
	}
	s, err := storekube.New(storekube.Config{REST: cfg, Namespace: "meshlite-system", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func documents(n, attempts int) policy.Proposal {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "---\napiVersion: meshlite.dev/v1alpha1\nkind: ResiliencePolicy\nmetadata: {name: s%04d}\nspec:\n  targetRefs: [{kind: Service, name: s%04d}]\n  retry: {attempts: %d}\n", i, i, (i+attempts)%10)
	}
	return policy.Decode("kube:test", []byte(text.String()))
}

// TestReplicasAgreeOnRevisions: two keepers propose different sets at the same
// time, again and again, and sweep. Each restart finds the revision in force,
// whole, and old ones go.
func TestReplicasAgreeOnRevisions(t *testing.T) {
	s := startAPI(t).asServer(t)
	var wg sync.WaitGroup
	for replica := range 2 {
		k := revision.New(s)
		wg.Go(func() {
			for i := range 60 {
				if _, err := k.Propose(t.Context(), documents(3, 60*replica+i)); err != nil {
					t.Error(err)
				}
				if err := k.Sweep(t.Context()); err != nil {
					t.Error(err)
				}
				if rev, ok, err := revision.New(s).Load(t.Context()); err != nil || !ok || len(rev.Documents) != 3 {
					t.Errorf("in force are %d documents, %v %v", len(rev.Documents), ok, err)
				}
			}
		})
	}
	wg.Wait()
	sets, err := s.List(t.Context(), revision.RevisionPrefix)
	// A hundred stay, and what came since either swept.
	if err != nil || len(sets) > 130 {
		t.Errorf("%d sets are kept, %v", len(sets), err)
	}
}

// TestThousandsOfDocuments are one set in one object.
func TestThousandsOfDocuments(t *testing.T) {
	s := startAPI(t).asServer(t)
	all := documents(5_000, 1)
	took := func(what string, do func() error) {
		t.Helper()
		begin := time.Now()
		if err := do(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		t.Logf("%s: %s", what, time.Since(begin).Round(time.Millisecond))
	}
	k := revision.New(s)
	var rev policy.Revision
	took("the first revision of 5,000 documents", func() (err error) {
		rev, err = k.Propose(t.Context(), all)
		return err
	})
	took("a start with 5,000 documents", func() error {
		again, ok, err := revision.New(s).Load(t.Context())
		if err == nil && (!ok || again.Hash != rev.Hash || len(again.Documents) != len(rev.Documents)) {
			err = fmt.Errorf("read %d documents of %s", len(again.Documents), again.Hash)
		}
		return err
	})
	all.Documents = append(all.Documents[1:], documents(1, 7).Documents...)
	took("one change of 5,000 documents", func() error {
		next, err := k.Propose(t.Context(), all)
		if err == nil && len(next.Changed) != 1 {
			err = fmt.Errorf("%d documents changed", len(next.Changed))
		}
		return err
	})
	took("a sweep", func() error { return k.Sweep(t.Context()) })
	e, err := s.Get(t.Context(), revision.RevisionPrefix+rev.Hash)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the set is %d bytes of JSON", len(e.Value))
}
