package v1alpha1

// OutlierDetection ejects endpoints that keep failing.
type OutlierDetection struct {
	// Mode: Enforce ejects; Monitor counts and never ejects; Disabled does not look.
	// +optional
	// +kubebuilder:validation:Enum=Enforce;Monitor;Disabled
	Mode *string `json:"mode,omitempty"`
	// Interval between two looks; over 0s.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms')",message="must be 1ms or more"
	Interval *Duration `json:"interval,omitempty"`
	// BaseEjectionTime grows with each ejection.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms')",message="must be 1ms or more"
	BaseEjectionTime *Duration `json:"baseEjectionTime,omitempty"`
	// MaxEjectionTime is baseEjectionTime or more.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms')",message="must be 1ms or more"
	MaxEjectionTime *Duration `json:"maxEjectionTime,omitempty"`
	// +optional
	MaxEjectionTimeJitter *Duration `json:"maxEjectionTimeJitter,omitempty"`
	// MaxEjectionPercent of the endpoints; one is always ejected.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	MaxEjectionPercent *int32 `json:"maxEjectionPercent,omitempty"`
	// Consecutive5xx in a row eject; 0 turns the check off.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Consecutive5xx *int32 `json:"consecutive5xx,omitempty"`
	// ConsecutiveGatewayErrors (502, 503, 504) in a row eject; 0 turns the check off.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	ConsecutiveGatewayErrors *int32 `json:"consecutiveGatewayErrors,omitempty"`
	// +optional
	LocalOrigin *LocalOrigin `json:"localOrigin,omitempty"`
	// +optional
	SuccessRate *SuccessRate `json:"successRate,omitempty"`
	// +optional
	FailurePercentage *FailurePercentage `json:"failurePercentage,omitempty"`
	// PanicThresholdPercent: with fewer healthy than this all get traffic; 0 never.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	PanicThresholdPercent *int32 `json:"panicThresholdPercent,omitempty"`
}

// LocalOrigin are failures before an answer: timeouts, refused connections.
type LocalOrigin struct {
	// Split counts them apart from answers.
	// +optional
	Split *bool `json:"split,omitempty"`
	// Consecutive in a row eject; 0 turns the check off.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Consecutive *int32 `json:"consecutive,omitempty"`
}

// SuccessRate ejects what is far below the mean.
type SuccessRate struct {
	// +optional
	Enabled *bool `json:"enabled,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	MinimumHosts *int32 `json:"minimumHosts,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	RequestVolume *int32 `json:"requestVolume,omitempty"`
	// StandardDeviationFactor is a decimal in quotes: "1.9".
	// +optional
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:Pattern=`^[0-9]{1,3}(\.[0-9]{1,3})?$`
	StandardDeviationFactor *string `json:"standardDeviationFactor,omitempty"`
}

// FailurePercentage ejects what fails more than threshold percent.
type FailurePercentage struct {
	// +optional
	Enabled *bool `json:"enabled,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Threshold *int32 `json:"threshold,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	MinimumHosts *int32 `json:"minimumHosts,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	RequestVolume *int32 `json:"requestVolume,omitempty"`
}
