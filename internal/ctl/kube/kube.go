// Package kube writes policies into Kubernetes for meshctl, with its user's own
// credentials: kubeconfig, contexts, exec plugins. It is the one package of
// meshctl with client-go behind it (docs/adr/0006-client-go-in-meshctl.md); a
// command that needs no cluster never calls it. Its main type is Writer.
package kube

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"meshlite.dev/internal/policy"
)

// FieldManager owns the fields that meshctl sets.
const FieldManager = "meshctl"

// Config says which cluster, as whom. The zero value is kubectl's own choice:
// $KUBECONFIG, else ~/.kube/config, and its current context.
type Config struct {
	Kubeconfig string // file
	Context    string // of the kubeconfig
	Force      bool   // take fields over that another manager owns
	Warnings   io.Writer
}

// ErrNoCluster reports that no kubeconfig says where the API is.
var ErrNoCluster = errors.New("no cluster")

// Writer writes objects of our kinds.
type Writer struct {
	client dynamic.Interface
	host   string
	force  bool
}

var _ policy.Writer = (*Writer)(nil)

// New returns a writer; it calls nothing yet.
func New(cfg Config) (*Writer, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = cfg.Kubeconfig
	where, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: cfg.Context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("%w: %w\nhint: --kubeconfig and --kube-context say which one", ErrNoCluster, err)
	}
	where.QPS, where.Burst = -1, 0 // a person's change set; the API server has limits of its own
	where.UserAgent = FieldManager
	where.WarningHandler = rest.NewWarningWriter(cfg.Warnings, rest.WarningWriterOptions{Deduplicate: true})
	client, err := dynamic.NewForConfig(where)
	if err != nil {
		return nil, fmt.Errorf("set up the client for Kubernetes at %s: %w", where.Host, err)
	}
	return &Writer{client, where.Host, cfg.Force}, nil
}

// resource is where the objects of a kind and namespace are.
func (w *Writer) resource(k policy.Key) dynamic.ResourceInterface {
	group, version, _ := strings.Cut(policy.APIVersion, "/")
	return w.client.Resource(schema.GroupVersionResource{Group: group, Version: version, Resource: policy.Plural(k.Kind)}).Namespace(k.Namespace)
}
