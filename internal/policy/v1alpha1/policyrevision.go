package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// PolicyRevision is one version of a policy document as xds-server keeps it,
// named by the hash of its content. xds-server alone writes it, in its root
// namespace.
//
// +genclient
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=prev,categories=mesh
// +kubebuilder:printcolumn:name="Kind",type=string,JSONPath=`.spec.kind`
// +kubebuilder:printcolumn:name="Namespace",type=string,JSONPath=`.spec.namespace`
// +kubebuilder:printcolumn:name="Document",type=string,JSONPath=`.spec.name`
// +kubebuilder:printcolumn:name="Generation",type=integer,JSONPath=`.spec.generation`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type PolicyRevision struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec PolicyRevisionSpec `json:"spec"`
}

// PolicyRevisionList is a list of versions.
//
// +kubebuilder:object:root=true
type PolicyRevisionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PolicyRevision `json:"items"`
}

// PolicyRevisionSpec is the version itself. It never changes: what was edited no
// longer has the hash that the object is named by, and is not read.
type PolicyRevisionSpec struct {
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// Generation at which the document first said this.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000000000000
	Generation int64 `json:"generation,omitempty"`
	// Source is where it was read.
	// +kubebuilder:validation:MaxLength=4096
	Source string `json:"source"`
	// Document in canonical form: apiVersion, kind, metadata name and namespace,
	// spec. Its SHA-256 is the object's name.
	// +kubebuilder:pruning:PreserveUnknownFields
	Document runtime.RawExtension `json:"document"`
}
