package crd

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/v1alpha1"
)

var _ policy.StatusReader = (*StatusSink)(nil)

// statusPage is a page of objects of which the status alone is read.
type statusPage struct {
	Metadata metav1.ListMeta `json:"metadata"`
	Items    []struct {
		Metadata struct {
			Name      string `json:"name"`
			Namespace string `json:"namespace"`
		} `json:"metadata"`
		Status v1alpha1.PolicyStatus `json:"status"`
	} `json:"items"`
}

// ReadStatus implements policy.StatusReader. Objects without conditions have no
// status yet; a kind that is not served has none.
func (s *StatusSink) ReadStatus(ctx context.Context) ([]policy.Status, error) {
	var out []policy.Status
	for _, kind := range policy.Kinds() {
		for next := ""; ; {
			page, err := s.readPage(ctx, kind, next)
			if apierrors.IsNotFound(err) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("read the statuses of kind %s: %w", kind, err)
			}
			for _, o := range page.Items {
				if len(o.Status.Conditions) > 0 {
					key := policy.Key{Kind: kind, Namespace: o.Metadata.Namespace, Name: o.Metadata.Name}
					out = append(out, policy.Status{Key: key, PolicyStatus: o.Status})
				}
			}
			if next = page.Metadata.Continue; next == "" {
				break
			}
		}
	}
	return out, nil
}

func (s *StatusSink) readPage(ctx context.Context, kind, next string) (*statusPage, error) {
	ctx, cancel := context.WithTimeout(ctx, direct)
	defer cancel()
	raw, err := s.client.Get().Resource(resources[kind]).
		VersionedParams(&metav1.ListOptions{Limit: pageSize, Continue: next}, metav1.ParameterCodec).DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	page := &statusPage{}
	return page, json.Unmarshal(raw, page)
}
