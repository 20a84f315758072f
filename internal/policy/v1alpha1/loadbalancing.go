package v1alpha1

// LoadBalancing chooses the endpoint.
//
// +kubebuilder:validation:XValidation:rule="!has(self.type) || !(self.type in ['RingHash', 'Maglev']) || (has(self.hash) && size(self.hash) > 0)",message="RingHash and Maglev need what to hash; add hash: [{header: x-user}], or another type",fieldPath=".hash"
type LoadBalancing struct {
	// +optional
	// +kubebuilder:validation:Enum=RoundRobin;LeastRequest;Random;RingHash;Maglev
	Type *string `json:"type,omitempty"`
	// ChoiceCount of LeastRequest: how many endpoints are compared.
	// +optional
	// +kubebuilder:validation:Minimum=2
	// +kubebuilder:validation:Maximum=100
	ChoiceCount *int32 `json:"choiceCount,omitempty"`
	// Hash inputs, in order.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	Hash []HashKey `json:"hash,omitempty"`
	// +optional
	SlowStart *SlowStart `json:"slowStart,omitempty"`
	// +optional
	Locality *LocalityPreference `json:"locality,omitempty"`
}

// HashKey is one input of the hash.
//
// +kubebuilder:validation:XValidation:rule="[has(self.header), has(self.cookie), has(self.query), has(self.sourceIP) && self.sourceIP].filter(x, x).size() == 1",message="set exactly one of header, cookie, query and sourceIP"
type HashKey struct {
	// +optional
	Header *HeaderName `json:"header,omitempty"`
	// +optional
	Cookie *CookieKey `json:"cookie,omitempty"`
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Query *string `json:"query,omitempty"`
	// +optional
	SourceIP *bool `json:"sourceIP,omitempty"`
	// Terminal stops here when this input has a value.
	// +optional
	Terminal *bool `json:"terminal,omitempty"`
}

// CookieKey is made by Envoy where ttl is set and the cookie is missing.
type CookieKey struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name"`
	// +optional
	TTL *Duration `json:"ttl,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Path *string `json:"path,omitempty"`
}

// SlowStart lets a new endpoint's share grow over a window.
type SlowStart struct {
	// Window of RoundRobin and LeastRequest; 0s is off.
	// +optional
	Window *Duration `json:"window,omitempty"`
}

// LocalityPreference says how near instances are preferred.
type LocalityPreference struct {
	// +optional
	// +kubebuilder:validation:Enum=Disabled;ZoneAware;Failover
	Mode *string `json:"mode,omitempty"`
	// MinClusterSize: with fewer endpoints ZoneAware has no preference.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	MinClusterSize *int32 `json:"minClusterSize,omitempty"`
}
