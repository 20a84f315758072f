package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PolicyRollout is a set of pinned document versions, named by the hash of its
// content; the one named current points to the set in force. xds-server alone
// writes it, in its root namespace.
//
// +genclient
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=pro,categories=mesh
// +kubebuilder:printcolumn:name="Number",type=integer,JSONPath=`.spec.number`
// +kubebuilder:printcolumn:name="Documents",type=integer,JSONPath=`.spec.documents`
// +kubebuilder:printcolumn:name="In-Force",type=string,JSONPath=`.spec.hash`
// +kubebuilder:printcolumn:name="Key",type=string,JSONPath=`.spec.key`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type PolicyRollout struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec PolicyRolloutSpec `json:"spec"`
}

// PolicyRolloutList is a list of sets.
//
// +kubebuilder:object:root=true
type PolicyRolloutList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PolicyRollout `json:"items"`
}

// PolicyRolloutSpec is a set of pins, or the pointer to the one in force, or a
// small value of xds-server's own.
type PolicyRolloutSpec struct {
	// Hash of the set in force; only current has it.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[0-9a-f]*$`
	Hash string `json:"hash,omitempty"`
	// Number counts the sets that came in force.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000000000000
	Number uint64 `json:"number,omitempty"`
	// Builder is the version of xds-server's road from documents to Envoy; only
	// current has it.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Builder string `json:"builder,omitempty"`
	// Documents is how many the whole set has.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000000
	Documents int `json:"documents,omitempty"`
	// Pins are the documents of the set, sorted.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=2000
	Pins []Pin `json:"pins,omitempty"`
	// Packed holds the pins of a larger set: their JSON, gzipped.
	// +optional
	// +kubebuilder:validation:MaxLength=1400000
	Packed []byte `json:"packed,omitempty"`
	// Key of a small value that xds-server keeps beside the sets.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Key string `json:"key,omitempty"`
	// Value of the key.
	// +optional
	// +kubebuilder:validation:MaxLength=1400000
	Value []byte `json:"value,omitempty"`
}

// Pin fixes a document at one version.
type Pin struct {
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000000000000
	Generation int64 `json:"generation"`
	// Document is the name of its PolicyRevision.
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[0-9a-f]*$`
	Document string `json:"document"`
}
