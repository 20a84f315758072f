package v1alpha1

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"
)

var percentPattern = regexp.MustCompile(`^(100(\.0{1,4})?|[0-9]{1,2}(\.[0-9]{1,4})?)%$`)

// Millionths returns a percentage in millionths: 10 and "10%" are 100,000,
// "0.1%" is 1,000. It returns an error that says what would be right.
func Millionths(p intstr.IntOrString) (uint32, error) {
	if p.Type == intstr.Int {
		if p.IntVal < 0 || p.IntVal > 100 {
			return 0, fmt.Errorf("must be 0 to 100, is %d", p.IntVal)
		}
		return uint32(p.IntVal) * 10_000, nil
	}
	bad := fmt.Errorf("%q is not a percentage: write an integer from 0 to 100, or a decimal such as \"0.1%%\"", p.StrVal)
	if !percentPattern.MatchString(p.StrVal) {
		return 0, bad
	}
	whole, part, _ := strings.Cut(strings.TrimSuffix(p.StrVal, "%"), ".")
	n, err := strconv.ParseUint(whole+part+strings.Repeat("0", 4-len(part)), 10, 32)
	if err != nil {
		return 0, bad
	}
	return uint32(n), nil
}
