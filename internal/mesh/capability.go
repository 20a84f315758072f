package mesh

import (
	"slices"
	"strconv"
	"strings"
)

// Capability is a field that not every supported Envoy knows. An Envoy ignores
// a field that it does not know without a word, so that it is kept from those
// too old for it, and said of the document that asks for it.
type Capability struct {
	Since string // first Envoy release that knows it: "1.38"

	// Kind of the document that asks for it, and the path there below spec, "[]"
	// for each element of a list. "" where no document can.
	Kind, Path string

	// Message and Field are what is sent: "envoy.config.route.v3.RetryPolicy" and
	// "retry_back_off".
	Message, Field string
}

// Capabilities lists the fields that not all supported Envoys have. There are
// none: whatever is sent stands in the API of Envoy 1.36, before the oldest
// supported one, and the newest of the retry tokens (reset-before-request) came
// with 1.31. A field that is younger than the oldest supported Envoy belongs
// here, with the release note that says so.
func Capabilities() []Capability { return nil }

// Lacks reports whether an Envoy of the build, "1.37.2" or "1.37.2-dev", is too
// old to know the field. A build that cannot be read as a version lacks nothing.
func (c Capability) Lacks(build string) bool {
	have, ok := VersionOf(build)
	want, _ := VersionOf(c.Since)
	return ok && slices.Compare(have, want) < 0
}

// VersionOf reads "1.38.2" and "1.38.2-dev" as numbers.
func VersionOf(build string) (numbers []int, ok bool) {
	build, _, _ = strings.Cut(build, "-")
	for part := range strings.SplitSeq(build, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil, false
		}
		numbers = append(numbers, n)
	}
	return numbers, true
}
