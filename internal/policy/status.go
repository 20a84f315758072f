package policy

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshlite.dev/internal/policy/v1alpha1"
)

// Condition is one statement about a document, in the form of Kubernetes.
type Condition = metav1.Condition

// Time is when a condition changed, to the second.
type Time = metav1.Time

// ConditionStatus is True, False or Unknown.
type ConditionStatus = metav1.ConditionStatus

// The values of a condition.
const (
	True    = metav1.ConditionTrue
	False   = metav1.ConditionFalse
	Unknown = metav1.ConditionUnknown
)

// Status is what became of one document, for whoever wrote it.
type Status struct {
	Key
	v1alpha1.PolicyStatus
}

// StatusSink keeps statuses where the carrier's users look for them.
type StatusSink interface {
	// WriteStatus replaces the statuses of these documents. It may be repeated,
	// and a document that is gone meanwhile is no fault. An error names every
	// document whose status was not written; the others were.
	WriteStatus(ctx context.Context, statuses []Status) error
}

// StatusReader is a StatusSink that tells what stands there: a replica that
// takes over then writes what differs, and keeps the times of the rest.
type StatusReader interface {
	// ReadStatus returns the statuses that can be read; the others are as good
	// as not there.
	ReadStatus(ctx context.Context) ([]Status, error)
}

// StatusRemover is a StatusSink whose statuses stand apart from the documents
// and do not go with them.
type StatusRemover interface {
	// RemoveStatus removes the statuses of documents that are gone. It may be
	// repeated.
	RemoveStatus(ctx context.Context, keys []Key) error
}

// Conditions of a status, in the order in which they are told.
const (
	ConditionAccepted     = "Accepted"     // the document is in force, or in shadow
	ConditionResolvedRefs = "ResolvedRefs" // everything that it names exists
	ConditionProgrammed   = "Programmed"   // it is part of what proxies are sent
	ConditionEnforced     = "Enforced"     // proxies run it; the message counts them
)

// ControllerName is who writes statuses.
const ControllerName = "meshlite.dev/xds-server"
