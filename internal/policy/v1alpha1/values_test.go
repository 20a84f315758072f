package v1alpha1

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestPercentagesInMillionths(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   intstr.IntOrString
		want uint32
		bad  bool
	}{
		{name: "an integer", in: intstr.FromInt32(10), want: 100_000},
		{name: "nothing", in: intstr.FromInt32(0), want: 0},
		{name: "all", in: intstr.FromInt32(100), want: 1_000_000},
		{name: "an integer in quotes", in: intstr.FromString("10%"), want: 100_000},
		{name: "a tenth", in: intstr.FromString("0.1%"), want: 1_000},
		{name: "the smallest", in: intstr.FromString("0.0001%"), want: 1},
		{name: "all with a fraction", in: intstr.FromString("100.0000%"), want: 1_000_000},
		{name: "below 0", in: intstr.FromInt32(-1), bad: true},
		{name: "over 100", in: intstr.FromInt32(101), bad: true},
		{name: "over 100 in quotes", in: intstr.FromString("100.0001%"), bad: true},
		{name: "three digits", in: intstr.FromString("999%"), bad: true},
		{name: "no sign", in: intstr.FromString("10"), bad: true},
		{name: "too fine", in: intstr.FromString("0.00001%"), bad: true},
		{name: "no text", in: intstr.FromString(""), bad: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got, err := Millionths(tc.in); got != tc.want || (err != nil) != tc.bad {
				t.Errorf("Millionths(%s) = %d, %v; want %d", tc.in.String(), got, err, tc.want)
			}
		})
	}
}

func TestDurations(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     time.Duration
		bad      bool
	}{
		{name: "one unit", in: "250ms", want: 250 * time.Millisecond},
		{name: "several", in: "1h30m", want: 90 * time.Minute},
		{name: "nothing", in: "0s", want: 0},
		{name: "the longest", in: "999999999s999999999s999999999s999999999s", want: 4 * 999999999 * time.Second},
		{name: "more than 64 bits hold", in: "2562048h", bad: true},
		{name: "no unit", in: "5", bad: true},
		{name: "a fraction", in: "1.5s", bad: true},
		{name: "a sign", in: "-1s", bad: true},
		{name: "a day", in: "1d", bad: true},
		{name: "no text", in: "", bad: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got, err := Duration(tc.in).Parse(); got != tc.want || (err != nil) != tc.bad {
				t.Errorf("Duration(%q).Parse() = %v, %v; want %v", tc.in, got, err, tc.want)
			}
		})
	}
}
