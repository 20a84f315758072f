package crd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshlite.dev/internal/policy"
)

const (
	direct   = 10 * time.Second // of one call that is no watch
	pageSize = 500
)

func kindOf(place string) string {
	kind, _, _ := strings.Cut(place, "/")
	return kind
}

// served asks which kinds the API server serves to the full. A definition that
// is being deleted takes no new objects any more, while the old ones go.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#api-discovery
func (s *Source) served(ctx context.Context) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, direct)
	defer cancel()
	raw, err := s.client.Get().AbsPath("/apis/" + policy.APIVersion).DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for the kinds of %s: %w", policy.APIVersion, err)
	}
	var list metav1.APIResourceList
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("ask for the kinds of %s: %w", policy.APIVersion, err)
	}
	out := map[string]bool{}
	for _, r := range list.APIResources {
		if resources[r.Kind] == r.Name && slices.Contains(r.Verbs, "create") {
			out[r.Kind] = true
		}
	}
	return out, nil
}

// unserved is the error of the kinds that are not served.
func unserved(served map[string]bool) error {
	var faults []error
	for _, kind := range policy.Kinds() {
		if !served[kind] {
			faults = append(faults, fmt.Errorf("the definition of %s is gone, or going: its policies stay in force until manifests/crds is applied again", kind))
		}
	}
	return errors.Join(faults...)
}

// list reads every object past all caches.
func (s *Source) list(ctx context.Context) (state, error) {
	served, err := s.served(ctx)
	if err == nil {
		err = unserved(served)
	}
	if err != nil {
		return nil, err
	}
	out := state{}
	for _, kind := range policy.Kinds() {
		if err := s.listKind(ctx, kind, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *Source) listKind(ctx context.Context, kind string, into state) error {
	o := metav1.ListOptions{Limit: pageSize}
	for {
		page, err := s.timedPage(ctx, kind, o)
		if err != nil {
			return err
		}
		for i := range page.Items {
			into[place(kind, &page.Items[i])] = itemOf(&page.Items[i])
		}
		if o.Continue = page.Continue; o.Continue == "" {
			return nil
		}
	}
}

func (s *Source) timedPage(ctx context.Context, kind string, o metav1.ListOptions) (*objectList, error) {
	ctx, cancel := context.WithTimeout(ctx, direct)
	defer cancel()
	return s.page(ctx, kind, o)
}
