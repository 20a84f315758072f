package policy_test

import (
	"strings"
	"testing"

	"meshlite.dev/internal/policy"
)

// TestRoutesAreCheckedAcrossFields: what the schema cannot say. Each spec has
// the faults of want and no others.
func TestRoutesAreCheckedAcrossFields(t *testing.T) {
	for _, tc := range []struct {
		name, spec string
		want       []string
	}{
		{"regexes of every place", `rules: [{name: a, matches: [
			{path: {type: Regex, value: 'a(b'}},
			{headers: [{name: a, type: Exact, value: 'a('}, {name: b, type: Regex, value: '*'}], queryParams: [{name: q, type: Regex, value: '(?=a)'}]}],
			filters: {rewrite: {regex: {pattern: 'x)', substitution: '\5'}}}}]`,
			[]string{
				"spec.rules[0].matches[0].path.value: \"a(b\": is not a regex (RE2): missing closing )",
				"spec.rules[0].matches[1].headers[1].value: \"*\": is not a regex",
				"spec.rules[0].matches[1].queryParams[0].value: \"(?=a)\": is not a regex",
				"spec.rules[0].filters.rewrite.regex.pattern: \"x)\": is not a regex",
			}},
		{"a group that is not there", `rules: [{name: a, filters: {rewrite: {regex: {pattern: '/(.*)', substitution: '/\2'}}}}]`,
			[]string{`spec.rules[0].filters.rewrite.regex.substitution: "/\\2": has \2, and the pattern has 1 groups`}},
		{"subsets that are not there", `subsets: [{name: v1, tags: [a]}], rules: [{name: a,
			backends: [{subset: v1}, {subset: v3}, {service: other, subset: v4}, {service: orders, subset: v5}],
			failover: [{subset: v6, datacenter: dc2}], filters: {mirrors: [{subset: v7}]}}]`,
			[]string{
				`spec.rules[0].backends[1].subset: "v3": is not one of spec.subsets; known are v1`,
				"spec.rules[0].backends[3].subset", "spec.rules[0].failover[0].subset", "spec.rules[0].filters.mirrors[0].subset",
			}},
		{"a subset without any", `rules: [{name: a, backends: [{subset: v1}]}]`, []string{"the document has no subsets"}},
		{"a draft without its subset", `effect: shadow, rules: [{name: a, backends: [{subset: v1}]}]`, nil},
		{"retries of a rule", `rules: [{name: a}, {name: b, timeouts: {request: 1s}, retry: {perTryTimeout: 2s, perTryIdleTimeout: 3s, backoff: {base: 2s, max: 1s}}}]`,
			[]string{
				"spec.rules[1].retry.perTryTimeout: \"2s\": must be at most timeouts.request, which is 1s",
				"spec.rules[1].retry.perTryIdleTimeout", "spec.rules[1].retry.backoff.base: \"2s\": must be at most retry.backoff.max, which is 1s",
			}},
		{"a long answer in characters that are short", `rules: [{name: a, filters: {directResponse: {status: 200, body: "` + strings.Repeat("ü", 2049) + `"}}}]`,
			[]string{"spec.rules[0].filters.directResponse.body", "is 4098 bytes, may have 4096"}},
		{"a body that HTTP does not know", `rules: [{name: a, filters: {directResponse: {status: 204, body: x}}}]`,
			[]string{"spec.rules[0].filters.directResponse.body: \"x\": goes with no answer of status 204"}},
		{"an empty body", `rules: [{name: a, filters: {directResponse: {status: 204, body: ""}}}]`, nil},
		{"a redirect of everything to one path", `rules: [{name: a, filters: {redirect: {path: /login}}}]`,
			[]string{"spec.rules[0].filters.redirect.path: \"/login\": is matched by the same rule"}},
		{"a redirect below itself", `rules: [{name: a, matches: [{path: {type: Exact, value: /x}}, {path: {type: Prefix, value: /old}}], filters: {redirect: {path: "/old/new?from=x"}}}]`,
			[]string{"is matched by the same rule"}},
		{"a redirect by regex", `rules: [{name: a, matches: [{path: {type: Regex, value: '/[a-z]+'}}], filters: {redirect: {path: /new}}}]`,
			[]string{"is matched by the same rule"}},
		{"a redirect by suffix", `rules: [{name: a, matches: [{method: GET, path: {type: Suffix, value: .php}}], filters: {redirect: {path: /a.php}}}]`,
			[]string{"is matched by the same rule"}},
		{"a redirect that an earlier rule takes", `rules: [{name: a, matches: [{path: {type: Exact, value: /login}}]}, {name: b, filters: {redirect: {path: /login}}}]`, nil},
		{"a redirect to another host", `rules: [{name: a, filters: {redirect: {path: /login, host: a.example}}}]`, nil},
		{"a redirect for those without a cookie", `rules: [{name: a, matches: [{headers: [{name: cookie, type: Present, invert: true}]}], filters: {redirect: {path: /login}}}]`, nil},
		{"a redirect of posts", `rules: [{name: a, matches: [{method: POST}], filters: {redirect: {path: /login}}}]`, nil},
		{"a redirect elsewhere", `rules: [{name: a, matches: [{path: {type: Regex, value: '/[a-z]'}}], filters: {redirect: {path: /new}}}]`, nil},
		{"faults of the schema, of rules and across fields together", `rules: [{name: a, backends: [{weight: 0}], matches: [{path: {type: Regex, value: '('}}], timeouts: {connect: 0s}}]`,
			[]string{"spec.rules[0].matches[0].path.value", "spec.rules[0].backends: need a weight", "spec.rules[0].timeouts.connect: \"0s\": must be over 0s", "spec.rules[0].timeouts.connect: \"0s\": lives in"}},
		{"a shape that has no type", `rules: [{name: a, matches: [{path: {type: Regex, value: '('}}], timeouts: 5}]`, []string{"spec.rules[0].timeouts"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			spec := strings.ReplaceAll(tc.spec, "\t", "")
			expectFaults(t, "apiVersion: meshlite.dev/v1alpha1\nkind: TrafficRoute\nmetadata: {name: orders}\nspec: {service: orders, "+spec+"}\n", tc.want)
		})
	}
}

func TestSubscriptionsAreCheckedAcrossFields(t *testing.T) {
	for _, tc := range []struct {
		name, spec string
		want       []string
	}{
		{"a filter with a name that is none", `filter: 'evnt.type == "a"'`, []string{`spec.filter: "evnt.type == \"a\"": is no CEL expression over event`, "undeclared reference to 'evnt'"}},
		{"a filter that is no condition", `filter: '5'`, []string{"a filter is true or false"}},
		{"a filter that costs too much", `filter: 'event.a.all(x, event.b.all(y, x != y))'`, []string{"a loop in a loop"}},
		{"a back-off that shrinks", `delivery: {backoff: {base: 2s, max: 1s}}`, []string{"spec.delivery.backoff.base: \"2s\": must be at most delivery.backoff.max, which is 1s"}},
		{"nothing wrong", `filter: event.data.total > 5, delivery: {}`, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			expectFaults(t, "apiVersion: meshlite.dev/v1alpha1\nkind: EventSubscription\nmetadata: {name: a}\nspec: {bindings: [a], handler: {service: a}, "+tc.spec+"}\n", tc.want)
		})
	}
}

// expectFaults decodes text, one document; with want nil it must be accepted.
func expectFaults(t *testing.T, text string, want []string) {
	t.Helper()
	p := policy.Decode("p.yaml", []byte(text))
	if (len(p.Documents) == 1) != (want == nil) {
		t.Fatalf("accepted %d, refused %v", len(p.Documents), p.Refused)
	}
	var all []string
	for _, r := range p.Refused {
		for _, f := range r.Faults {
			all = append(all, f.Error())
		}
	}
	for _, w := range want {
		if !strings.Contains(strings.Join(all, "\n"), w) {
			t.Errorf("faults\n%s\ndo not say %s", strings.Join(all, "\n"), w)
		}
	}
	if len(all) > len(want) {
		t.Errorf("%d faults, want %d:\n%s", len(all), len(want), strings.Join(all, "\n"))
	}
}
