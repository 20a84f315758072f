package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// EventSubscription has the events of a topic exchange delivered to a service
// over HTTP, each at least once, by the xds-servers that have the role events. Its
// conditions say how that goes.
//
// +genclient
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=es,categories=mesh
// +kubebuilder:printcolumn:name="Service",type=string,JSONPath=`.spec.handler.service`
// +kubebuilder:printcolumn:name="Queue",type=string,JSONPath=`.spec.queue.name`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type EventSubscription struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec EventSubscriptionSpec `json:"spec"`
	// +optional
	Status PolicyStatus `json:"status,omitempty"`
}

// EventSubscriptionList is a list of subscriptions.
//
// +kubebuilder:object:root=true
type EventSubscriptionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []EventSubscription `json:"items"`
}

// EventSubscriptionSpec says which events go where, and how.
//
// +kubebuilder:validation:XValidation:rule="!has(self.ordered) || !self.ordered || !has(self.concurrency) || self.concurrency == 1",message="must be 1 with ordered: true, which delivers one event at a time; or leave it out",fieldPath=".concurrency"
// +kubebuilder:validation:XValidation:rule="!has(self.queue) || !has(self.queue.name) || !has(self.delivery) || !has(self.delivery.deadLetter) || !has(self.delivery.deadLetter.queue) || self.delivery.deadLetter.queue != self.queue.name",message="must be another queue than queue.name: dead letters would be delivered again",fieldPath=".delivery.deadLetter.queue"
type EventSubscriptionSpec struct {
	// Exchange is a topic exchange; absent: domain_events, the mesh's own. Another
	// one needs a broker.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=127
	// +kubebuilder:validation:Pattern=`^[-A-Za-z0-9_.:]+$`
	Exchange string `json:"exchange,omitempty"`
	// Bindings are patterns of event types: * stands for one word, # for any
	// number of them.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Bindings []Binding `json:"bindings"`
	// Filter is a CEL expression over event; false skips the event, and so does
	// an event that it has no answer for.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	Filter string `json:"filter,omitempty"`
	// Handler is called for each event, through the mesh.
	Handler EventHandler `json:"handler"`
	// Queue in which events wait.
	// +optional
	Queue *EventQueue `json:"queue,omitempty"`
	// Concurrency bounds the calls in flight; absent: 8, with ordered 1.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Concurrency *int32 `json:"concurrency,omitempty"`
	// Ordered delivers one event at a time, in order: the others wait while one is
	// tried again.
	// +optional
	Ordered *bool `json:"ordered,omitempty"`
	// Delivery says how often an event is tried.
	// +optional
	Delivery *EventDelivery `json:"delivery,omitempty"`
}

// Binding is a pattern of AMQP routing keys.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=255
// +kubebuilder:validation:Pattern=`^([-A-Za-z0-9_]+|\*|#)(\.([-A-Za-z0-9_]+|\*|#))*$`
type Binding string

// EventHandler is the service that is called for each event.
type EventHandler struct {
	// Service of the catalog, called through the mesh.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Service string `json:"service"`
	// Path to POST to; absent: /.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^/[^\s]*$`
	Path string `json:"path,omitempty"`
	// Mode: structured and binary are those of CloudEvents over HTTP, envelope
	// is {type, data, timestamp} alone. Absent: structured.
	// +optional
	// +kubebuilder:validation:Enum=structured;binary;envelope
	Mode string `json:"mode,omitempty"`
}

// EventQueue is where events wait, durable.
type EventQueue struct {
	// Name of the queue; absent: NAMESPACE.NAME of the document.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	// +kubebuilder:validation:Pattern=`^[-A-Za-z0-9_.:]+$`
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('amq.')",message="must not start with amq., which brokers keep for themselves"
	Name string `json:"name,omitempty"`
	// Type of a broker's queue: quorum is replicated over its nodes. Absent: quorum.
	// +optional
	// +kubebuilder:validation:Enum=quorum;classic
	Type string `json:"type,omitempty"`
}

// EventDelivery says how often an event is tried and where it ends.
type EventDelivery struct {
	// Timeout of one call, over 0s; absent: 5s.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s')",message="must be over 0s"
	Timeout *Duration `json:"timeout,omitempty"`
	// Attempts in all, the first included; absent: 6.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Attempts *int32 `json:"attempts,omitempty"`
	// Backoff between attempts; absent: 500ms to 60s.
	// +optional
	Backoff *Backoff `json:"backoff,omitempty"`
	// DeadLetter gets what could not be delivered.
	// +optional
	DeadLetter *DeadLetter `json:"deadLetter,omitempty"`
}

// DeadLetter is the queue of events that could not be delivered.
type DeadLetter struct {
	// Queue; absent: the subscription's queue with .dlq behind it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=204
	// +kubebuilder:validation:Pattern=`^[-A-Za-z0-9_.:]+$`
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('amq.')",message="must not start with amq., which brokers keep for themselves"
	Queue string `json:"queue,omitempty"`
}
