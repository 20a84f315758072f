package policy

import (
	"meshlite.dev/internal/policy/filter"
	"meshlite.dev/internal/policy/v1alpha1"
)

// CheckSubscription applies the rules of an EventSubscription that the schema
// cannot. Paths are below spec.
func CheckSubscription(spec *v1alpha1.EventSubscriptionSpec) []FieldError {
	c := checker{}
	if spec.Filter != "" {
		if _, err := filter.Compile(spec.Filter); err != nil {
			c.fault("filter", text(spec.Filter), "is no CEL expression over event, such as event.subject.startsWith(\"eu/\"): %v", err)
		}
	}
	if spec.Delivery != nil {
		c.backoff("delivery.backoff", spec.Delivery.Backoff)
	}
	return c.faults
}
