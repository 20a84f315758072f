package status

import (
	"regexp"
	"strings"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// matcherOf turns node matchers, of which any one is enough, into a test of a
// node id. None match every node.
func matcherOf(ms []*matcherv3.NodeMatcher) (func(id string) bool, error) {
	var tests []func(string) bool
	for _, m := range ms {
		if len(m.GetNodeMetadatas()) > 0 {
			return nil, status.Error(codes.Unimplemented, "node_metadatas is not supported: match on node_id")
		}
		if m.GetNodeId() == nil {
			return func(string) bool { return true }, nil
		}
		test, err := stringTest(m.GetNodeId())
		if err != nil {
			return nil, err
		}
		tests = append(tests, test)
	}
	return func(id string) bool {
		for _, test := range tests {
			if test(id) {
				return true
			}
		}
		return len(tests) == 0
	}, nil
}

// stringTest builds a StringMatcher. Regular expressions match the whole id,
// and ignore_case does not concern them, as in Envoy.
func stringTest(m *matcherv3.StringMatcher) (func(string) bool, error) {
	fold := func(s string) string { return s }
	if m.GetIgnoreCase() {
		fold = strings.ToLower
	}
	compare := func(test func(s, part string) bool, part string) func(string) bool {
		part = fold(part)
		return func(s string) bool { return test(fold(s), part) }
	}
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		return compare(func(s, part string) bool { return s == part }, p.Exact), nil
	case *matcherv3.StringMatcher_Prefix:
		return compare(strings.HasPrefix, p.Prefix), nil
	case *matcherv3.StringMatcher_Suffix:
		return compare(strings.HasSuffix, p.Suffix), nil
	case *matcherv3.StringMatcher_Contains:
		return compare(strings.Contains, p.Contains), nil
	case *matcherv3.StringMatcher_SafeRegex:
		re, err := regexp.Compile("^(?:" + p.SafeRegex.GetRegex() + ")$")
		if err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "node_id: safe_regex: %v", err)
		}
		return re.MatchString, nil
	default:
		return nil, status.Error(codes.InvalidArgument, "node_id: must have exact, prefix, suffix, contains or safe_regex")
	}
}
