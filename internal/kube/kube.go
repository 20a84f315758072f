// Package kube connects to a Kubernetes API: generated/ is the client of our
// kinds, this package the credentials and limits that all its users share.
package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"meshlite.dev/internal/version"
)

// FieldManager is the name under which fields of objects are owned.
const FieldManager = "meshlite.dev/xds-server"

// Limits of one process towards the API server, which has limits of its own
// (API priority and fairness).
const (
	perSecond = 500
	burst     = 1000
)

// Connect returns how to reach the API: with the kubeconfig file, or without one
// as the pod that this process runs in, or as kubectl would (KUBECONFIG,
// ~/.kube/config). It does not call the API.
func Connect(kubeconfig string, log *slog.Logger) (*rest.Config, error) {
	cfg, err := load(kubeconfig)
	if err != nil {
		return nil, err
	}
	cfg.QPS, cfg.Burst = perSecond, burst
	cfg.UserAgent = fmt.Sprintf("meshlite-xds-server/%s (%s/%s)", version.Number, runtime.GOOS, runtime.GOARCH)
	cfg.WarningHandlerWithContext = &warnings{log: log, told: map[string]bool{}}
	return cfg, nil
}

func load(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		cfg, err := rest.InClusterConfig()
		if err == nil {
			return cfg, nil
		}
		if !errors.Is(err, rest.ErrNotInCluster) {
			return nil, fmt.Errorf("read the pod's own credentials: %w", err)
		}
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	switch {
	case err == nil:
		return cfg, nil
	case kubeconfig != "":
		return nil, fmt.Errorf("read kubeconfig %s: %w", kubeconfig, err)
	default:
		return nil, fmt.Errorf("find a Kubernetes API (this is no pod; --kubeconfig is not set; KUBECONFIG and ~/.kube/config were tried): %w", err)
	}
}

// warnings logs what the API server warns of, each text once.
type warnings struct {
	log *slog.Logger

	mu   sync.Mutex
	told map[string]bool
}

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (w *warnings) HandleWarningHeaderWithContext(ctx context.Context, _ int, _, text string) {
	w.mu.Lock()
	told := w.told[text]
	w.told[text] = true
	w.mu.Unlock()
	if !told && text != "" {
		w.log.WarnContext(ctx, "the Kubernetes API warns", "warning", text)
	}
}

// WithLog lets client-go log what it does to log, for debugging alone: its
// users tell of what matters.
func WithLog(ctx context.Context, log *slog.Logger) context.Context {
	return klog.NewContext(ctx, logr.FromSlogHandler(debugging{log.Handler()}))
}

// debugging is a handler to which every record is one for debugging.
type debugging struct{ slog.Handler }

// Enabled implements slog.Handler.
func (h debugging) Enabled(ctx context.Context, _ slog.Level) bool {
	return h.Handler.Enabled(ctx, slog.LevelDebug)
}

// Handle implements slog.Handler.
func (h debugging) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h debugging) WithAttrs(attrs []slog.Attr) slog.Handler {
	return debugging{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h debugging) WithGroup(name string) slog.Handler { return debugging{h.Handler.WithGroup(name)} }
