package mesh

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
)

// Limits of the labels of a proxy.
const (
	MaxLabels     = 16
	MaxLabelKey   = 63  // bytes
	MaxLabelValue = 128 // bytes
)

var (
	labelKey   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$`)
	labelValue = regexp.MustCompile(`^[^\s=]+$`)
)

// builtinLabels are what every proxy says of itself anyway.
var builtinLabels = []string{"id", "service", "region", "zone", "envoy"}

// IsBuiltinLabel reports whether a proxy has a label of its own by that key: its
// id, service, region, zone, or version of Envoy.
func IsBuiltinLabel(key string) bool { return slices.Contains(builtinLabels, key) }

// CheckLabel says what is wrong with a label of a proxy.
func CheckLabel(key, value string) error {
	switch {
	case len(key) > MaxLabelKey || !labelKey.MatchString(key):
		return fmt.Errorf("key %.80q: must be 1 to %d letters, digits, '.', '_', '/' or '-', a letter or digit first and last", key, MaxLabelKey)
	case len(value) > MaxLabelValue || !labelValue.MatchString(value):
		return fmt.Errorf("value %.140q of %s: must be 1 to %d bytes without space and '='", value, key, MaxLabelValue)
	}
	return nil
}

// CheckLabels says what is wrong with those that a proxy is given.
func CheckLabels(labels map[string]string) (faults []error) {
	if n := len(labels); n > MaxLabels {
		faults = append(faults, fmt.Errorf("are %d: must be at most %d", n, MaxLabels))
	}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if err := CheckLabel(key, labels[key]); err != nil {
			faults = append(faults, err)
		} else if IsBuiltinLabel(key) {
			faults = append(faults, fmt.Errorf("key %q: is what every proxy says of itself: use another", key))
		}
	}
	return faults
}
