package app

import (
	"fmt"
	"log/slog"
	"os"
	"time"

	"meshlite.dev/internal/kube"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/crd"
	policyfile "meshlite.dev/internal/policy/file"
	"meshlite.dev/internal/policy/gather"
	policykv "meshlite.dev/internal/policy/kv"
	"meshlite.dev/internal/policy/revision"
	"meshlite.dev/internal/store"
	storekube "meshlite.dev/internal/store/kube"
	storekv "meshlite.dev/internal/store/kv"
)

// sharedStore is what replicas share.
type sharedStore interface {
	store.Store
	store.Locker
	store.Board
}

// openShared makes the store of all replicas; nil where the state file is all
// there is.
func openShared(cfg Config, log *slog.Logger) (sharedStore, error) {
	switch cfg.store() {
	case "consul":
		name, err := os.Hostname()
		if err != nil {
			name = "" // it only names us to people
		}
		shared, err := storekv.New(storekv.Config{Addr: cfg.Consul.Addr, Name: name, Log: log})
		if err != nil {
			return nil, fmt.Errorf("--store consul: %w", err)
		}
		return shared, nil
	case "kube":
		api, err := kube.Connect(cfg.Kubeconfig, log)
		if err != nil {
			return nil, fmt.Errorf("--store kube: %w", err)
		}
		shared, err := storekube.New(storekube.Config{REST: api, Namespace: cfg.RootNamespace, Log: log})
		if err != nil {
			return nil, fmt.Errorf("--store kube: %w", err)
		}
		return shared, nil
	}
	return nil, nil
}

// openPolicies makes what proposes policies and what keeps those in force.
func (a *app) openPolicies(cfg Config, state store.Store, shared store.Store) error {
	a.policies = &policies{keeper: revision.New(state), put: a.onRevision, log: a.log}
	if shared != nil {
		a.policies.keeper, a.policies.local = revision.New(shared), revision.New(state)
	}
	timing := gather.Timing{Quiet: max(cfg.PolicyQuiet, time.Millisecond)}
	switch {
	case cfg.PolicySource == "consul":
		source, err := policykv.New(policykv.Config{Addr: cfg.Consul.Addr, Timing: timing, Known: a.policies.inForce, Log: a.log})
		if err != nil {
			return fmt.Errorf("--policy-source consul: %w", err)
		}
		a.policies.source, a.policies.carrier = source, "consul" // written by meshctl, with its user's own token
	case cfg.PolicySource == "kube":
		api, err := kube.Connect(cfg.Kubeconfig, a.log)
		if err != nil {
			return fmt.Errorf("--policy-source kube: %w", err)
		}
		source, err := crd.New(crd.Config{REST: api, Timing: timing, Known: a.policies.inForce, Log: a.log})
		if err != nil {
			return fmt.Errorf("--policy-source kube: %w", err)
		}
		a.policies.source, a.policies.carrier = source, "kube" // written by kubectl and meshctl, with their user's own rights
	case cfg.PolicyDir != "":
		source, err := policyfile.New(policyfile.Config{Dir: cfg.PolicyDir, Timing: timing, Known: a.policies.inForce, Log: a.log})
		if err != nil {
			return fmt.Errorf("--policy-dir: %w", err)
		}
		a.policies.source, a.policies.carrier, a.policies.writer = source, "dir", &policyfile.Writer{Dir: cfg.PolicyDir}
	}
	return nil
}

// openSink makes what writes statuses where the carrier's users look; nil where
// the admin API alone tells them.
func openSink(cfg Config, log *slog.Logger) (policy.StatusSink, error) {
	switch cfg.PolicySource {
	case "consul":
		sink, err := policykv.NewStatusSink(policykv.Config{Addr: cfg.Consul.Addr})
		if err != nil {
			return nil, fmt.Errorf("--policy-source consul: %w", err)
		}
		return sink, nil
	case "kube":
		api, err := kube.Connect(cfg.Kubeconfig, log)
		if err != nil {
			return nil, fmt.Errorf("--policy-source kube: %w", err)
		}
		sink, err := crd.NewStatusSink(api)
		if err != nil {
			return nil, fmt.Errorf("--policy-source kube: %w", err)
		}
		return sink, nil
	}
	return nil, nil
}
