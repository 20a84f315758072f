package kube

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshlite.dev/internal/policy"
)

// ErrUnreachable reports that the API server does not answer.
var ErrUnreachable = errors.New("no answer from Kubernetes")

// explain puts the document in front of what the API server says, and what to
// do behind it.
func (w *Writer) explain(k policy.Key, err error) error {
	var s apierrors.APIStatus
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &s):
		var u *url.Error
		if errors.As(err, &u) {
			return fmt.Errorf("%w at %s: %w", ErrUnreachable, w.host, u.Err)
		}
		return fmt.Errorf("%s: %w", k, err)
	}
	status := s.Status()
	switch {
	case apierrors.IsInvalid(err):
		return fmt.Errorf("%s: %s", k, faults(status))
	case apierrors.IsConflict(err):
		return fmt.Errorf("%s: %s\nhint: change it with the tool that owns these fields, or take them over with --force-conflicts", k, status.Message)
	case apierrors.IsNotFound(err) && status.Details != nil && status.Details.Kind == "namespaces":
		return fmt.Errorf("%s: there is no namespace %s\nhint: kubectl create namespace %s", k, k.Namespace, k.Namespace)
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%s: the cluster does not know the kind\nhint: kubectl apply -k manifests/ installs it", k)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%s: %s\nhint: kubectl auth can-i --list shows your rights", k, status.Message)
	}
	return fmt.Errorf("%s: %s", k, status.Message)
}

// faults are the causes of a refusal, a field and its reason each.
func faults(s metav1.Status) string {
	if s.Details == nil || len(s.Details.Causes) == 0 {
		return s.Message
	}
	var out []string
	for _, c := range s.Details.Causes {
		out = append(out, strings.TrimPrefix(c.Field+": "+c.Message, ": "))
	}
	return strings.Join(out, "; ")
}
