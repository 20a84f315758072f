package v1alpha1

import (
	"fmt"
	"regexp"
	"time"
)

// Duration is Go's, without sign or fraction: "250ms", "10s", "1h30m". The
// digits of each unit are bounded so that no sum of them overflows.
//
// +kubebuilder:validation:Pattern=`^([0-9]{1,5}h|[0-9]{1,7}m|[0-9]{1,9}s|[0-9]{1,10}(ms|us)){1,5}$`
// +kubebuilder:validation:MaxLength=32
type Duration string

var durationPattern = regexp.MustCompile(`^([0-9]{1,5}h|[0-9]{1,7}m|[0-9]{1,9}s|[0-9]{1,10}(ms|us)){1,5}$`)

// Parse returns the duration, or an error that says what would be right.
func (d Duration) Parse() (time.Duration, error) {
	if !durationPattern.MatchString(string(d)) {
		return 0, fmt.Errorf("%q is not a duration: write a whole number and a unit, such as 250ms, 10s or 1h30m", string(d))
	}
	v, err := time.ParseDuration(string(d))
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration: %w", string(d), err)
	}
	return v, nil
}
