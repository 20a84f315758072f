//go:build e2e

package crd_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/kube"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/crd"
	"meshlite.dev/internal/policy/gather"
	"meshlite.dev/internal/policy/policytest"
	"meshlite.dev/internal/policy/v1alpha1"
	"meshlite.dev/test/lab"
)

func TestMain(m *testing.M) {
	if err := lab.FindTools(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// world is a Kubernetes API with our manifests, and a client with all rights.
type world struct {
	*lab.Cluster
	t      *testing.T
	rest   *rest.Config // of xds-server's own ServiceAccount
	client dynamic.Interface
}

func start(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, Cluster: lab.New(t).StartCluster()}
	w.InstallCRDs()
	root, err := lab.Root()
	if err != nil {
		t.Fatal(err)
	}
	w.MustKubectl("apply", "-k", filepath.Join(root, "manifests", "base"))
	w.rest = w.connect(w.KubeconfigFor("meshlite-system/xds-server"))
	fast := w.connect(w.Kubeconfig())
	fast.QPS = -1
	if w.client, err = dynamic.NewForConfig(fast); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) connect(kubeconfig string) *rest.Config {
	w.t.Helper()
	cfg, err := kube.Connect(kubeconfig, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	return cfg
}

// resource of a kind; our plurals are regular.
func resource(kind string) schema.GroupVersionResource {
	plural, _ := meta.UnsafeGuessKindToResource(v1alpha1.SchemeGroupVersion.WithKind(kind))
	return plural
}

// put applies documents as kubectl does.
func (w *world) put(t *testing.T, texts ...string) {
	t.Helper()
	var g errgroup.Group
	g.SetLimit(16)
	for _, text := range texts {
		g.Go(func() error {
			var o unstructured.Unstructured
			if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
				return err
			}
			_, err := w.client.Resource(resource(o.GetKind())).Namespace("default").Apply(context.Background(), o.GetName(), &o, metav1.ApplyOptions{FieldManager: "author", Force: true})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

func (w *world) remove(t *testing.T, keys ...policy.Key) {
	t.Helper()
	for _, k := range keys {
		if err := w.client.Resource(resource(k.Kind)).Namespace(k.Namespace).Delete(context.Background(), k.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) clear(t *testing.T) {
	t.Helper()
	for _, kind := range policy.Kinds() {
		if err := w.client.Resource(resource(kind)).Namespace("default").DeleteCollection(context.Background(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) source(t *testing.T, timing gather.Timing, known func() []*policy.Document) *crd.Source {
	t.Helper()
	s, err := crd.New(crd.Config{REST: w.rest, Timing: timing, Known: known})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContract(t *testing.T) {
	w := start(t)
	policytest.Run(t, func(t *testing.T) policytest.Carrier {
		w.clear(t)
		return policytest.Carrier{
			Source: func(timing gather.Timing, known func() []*policy.Document) policy.Source {
				return w.source(t, timing, known)
			},
			Put:    func(texts ...string) { w.put(t, texts...) },
			Remove: func(keys ...policy.Key) { w.remove(t, keys...) },
			Down:   w.Kill,
			Up:     func() { w.Start(); w.WaitReady(60 * time.Second) },
			Counts: true,
		}
	})
}
