package crd

import (
	"encoding/json"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/v1alpha1"
)

// resources of the kinds that users write, as they stand in a URL.
var resources = map[string]string{
	policy.KindEventSubscription: "eventsubscriptions",
	policy.KindResiliencePolicy:  "resiliencepolicies",
	policy.KindTrafficRoute:      "trafficroutes",
}

// object is a policy as the API server serves it. Its spec stays text: a type
// with fields would have dropped those of a newer version before anybody could
// refuse them.
type object struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              runtime.RawExtension `json:"spec"`
}

// DeepCopyObject implements runtime.Object.
func (o *object) DeepCopyObject() runtime.Object {
	out := &object{TypeMeta: o.TypeMeta}
	o.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	o.Spec.DeepCopyInto(&out.Spec)
	return out
}

type objectList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []object `json:"items"`
}

// DeepCopyObject implements runtime.Object.
func (l *objectList) DeepCopyObject() runtime.Object {
	out := &objectList{TypeMeta: l.TypeMeta, Items: make([]object, len(l.Items))}
	l.ListMeta.DeepCopyInto(&out.ListMeta)
	for i := range l.Items {
		out.Items[i] = *l.Items[i].DeepCopyObject().(*object)
	}
	return out
}

// newClient returns a client that reads every kind of policy as an object.
func newClient(cfg *rest.Config) (*rest.RESTClient, error) {
	scheme := runtime.NewScheme()
	for kind := range resources {
		scheme.AddKnownTypeWithName(v1alpha1.SchemeGroupVersion.WithKind(kind), &object{})
		scheme.AddKnownTypeWithName(v1alpha1.SchemeGroupVersion.WithKind(kind+"List"), &objectList{})
	}
	metav1.AddToGroupVersion(scheme, v1alpha1.SchemeGroupVersion)
	cfg = rest.CopyConfig(cfg)
	cfg.GroupVersion, cfg.APIPath = &v1alpha1.SchemeGroupVersion, "/apis"
	cfg.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("set up the client for Kubernetes at %s: %w", cfg.Host, err)
	}
	return client, nil
}

// item is one object of the carrier. Two that are equal are the same version of
// the same object.
type item struct {
	uid        types.UID
	generation int64
	labels     string // JSON; "" is none
	spec       string // JSON
}

// place of an object: KIND/NAMESPACE/NAME.
func place(kind string, o *object) string {
	return policy.Key{Kind: kind, Namespace: o.Namespace, Name: o.Name}.String()
}

func itemOf(o *object) item {
	labels := ""
	if len(o.Labels) > 0 {
		raw, _ := json.Marshal(o.Labels) // strings
		labels = string(raw)
	}
	return item{o.UID, o.Generation, labels, string(o.Spec.Raw)}
}

// decode reads an object's document; its generation is Kubernetes' own.
func decode(place string, in item) policy.Proposal {
	source := "kube:" + place
	parts := strings.SplitN(place, "/", 3)
	key := policy.Key{Kind: parts[0], Namespace: parts[1], Name: parts[2]}
	spec := json.RawMessage(in.spec)
	if len(spec) == 0 {
		spec = json.RawMessage("null")
	}
	meta := map[string]any{"name": key.Name, "namespace": key.Namespace}
	if in.labels != "" {
		meta["labels"] = json.RawMessage(in.labels)
	}
	text, err := json.Marshal(map[string]any{"apiVersion": policy.APIVersion, "kind": key.Kind, "metadata": meta, "spec": spec})
	if err != nil {
		return policy.Proposal{Refused: []policy.Refusal{{Key: key, Source: source, Faults: []policy.FieldError{{Source: source, Key: key, Path: "spec", Reason: "is not JSON: " + err.Error()}}}}}
	}
	p := policy.Decode(source, text)
	for _, d := range p.Documents {
		d.Generation = in.generation
	}
	for i := range p.Refused {
		r := &p.Refused[i]
		r.Key = key // the last good version stays
		for j := range r.Faults {
			f := &r.Faults[j]
			f.Key, f.Line = key, 0 // the one line is of our own making
			if strings.HasPrefix(f.Reason, "no such field") {
				f.Reason += "; the API server took it, so its CRDs are newer than this xds-server: upgrade xds-server, or remove the field"
			}
		}
	}
	return p
}
