package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// SchemeGroupVersion is the group and version of every kind of this package.
var SchemeGroupVersion = schema.GroupVersion{Group: "meshlite.dev", Version: "v1alpha1"}

// Resource returns a resource of the group.
func Resource(resource string) schema.GroupResource {
	return SchemeGroupVersion.WithResource(resource).GroupResource()
}

// AddToScheme tells a scheme of every kind.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(SchemeGroupVersion,
		&EventSubscription{}, &EventSubscriptionList{},
		&PolicyRevision{}, &PolicyRevisionList{},
		&PolicyRollout{}, &PolicyRolloutList{},
		&ResiliencePolicy{}, &ResiliencePolicyList{},
		&TrafficRoute{}, &TrafficRouteList{},
	)
	metav1.AddToGroupVersion(s, SchemeGroupVersion)
	return nil
}
