package policy

import (
	"strings"
	"testing"
)

// goodRegexes are taken by Envoy too: TestEnvoyTakesTheRegexes.
var goodRegexes = []string{
	`a`, `/api/v[0-9]+/.*`, `.*(Mobile|Tablet).*`, `(?i)admin`, `\d{3}-\w+\s?`, `[^/]+`, `[[:word:]]+`, `\Qa.b\E`,
	`(?P<n>a)(?:b)`, `(?<n>a)`, `\x41\x{7e}\x{ff}`, `\\x{100}`, `\pL+`, `\p{Lu}\P{Nd}`, `\p{^L}`, `a{1000}`,
	`^/(a|b|c){100}$`, `(\pL{100}){9}`, `[acegikmoqsuwy02468]{400}`, `a*?b+?c??`, `\A\z\b\B`, `(?s-m:.)`, `|`, `()`,
	strings.Repeat("word|", 200) + "end", strings.Repeat("x", 1024), strings.Repeat("(a|bb|ccc)", 100),
}

func TestRegexesAreThoseOfEnvoy(t *testing.T) {
	for _, good := range goodRegexes {
		if _, fault := checkRegex(good); fault != "" {
			t.Errorf("%s %s", good, fault)
		}
	}
	for _, tc := range []struct{ regex, want string }{
		{`a(b`, "missing closing ): a(b"},
		{`a)`, "unexpected )"},
		{`*`, "missing argument to repetition operator: *"},
		{`a{1001}`, "invalid repeat count: {1001}"},
		{`(a{500}){3}`, "invalid repeat count"},
		{`a\`, "trailing backslash"},
		{`(?=a)`, "invalid or unsupported Perl syntax"},
		{`(a)\1`, `invalid escape sequence: \1`},
		{`\C`, "invalid escape sequence"},
		{`\x{100}`, `\x{ff} is the last`},
		{`a\\\x{10ffff}`, `has \x{10ffff}`},
		{`\p{Letter}`, "has the class Letter"},
		{`[a\P{Greek}]`, `\p{Lu} alone`},
		{`/straße`, "must be ASCII"},
		{strings.Repeat(`\pL{100}`, 20), "is too large"},
	} {
		if _, fault := checkRegex(tc.regex); !strings.Contains(fault, tc.want) {
			t.Errorf("%s: %q, want %q", tc.regex, fault, tc.want)
		}
	}
}

func TestSubstitutionsNameGroupsThatThereAre(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		groups   int
		want     string
	}{
		{"nothing", "", 0, ""},
		{"plain text with dollars", "/$1/x", 0, ""},
		{"the whole match", `/\0`, 0, ""},
		{"the last group", `/\9\1`, 9, ""},
		{"an escaped escape", `\\1`, 0, ""},
		{"one group too many", `/\2`, 1, `has \2, and the pattern has 1 groups`},
		{"another escape", `/\n`, 1, `has \n`},
		{"half an escape", `/\`, 1, `ends with \`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := checkSubstitution(tc.in, tc.groups); (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("%s: %q, want %q", tc.in, got, tc.want)
			}
		})
	}
}
