// Package v1alpha1 holds the policy documents of group meshlite.dev as their
// users write them.
//
// +kubebuilder:object:generate=true
// +groupName=meshlite.dev
// +groupGoName=Meshlite
package v1alpha1
