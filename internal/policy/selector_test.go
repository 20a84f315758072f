package policy_test

import (
	"strings"
	"testing"

	"meshlite.dev/internal/policy"
)

func TestSelectorsAreKubectls(t *testing.T) {
	shop, bare := map[string]string{"team": "shop", "tier": "web"}, map[string]string(nil)
	for _, tc := range []struct {
		text       string
		shop, bare bool
	}{
		{"", true, true},
		{"team=shop", true, false},
		{"team==shop, tier=web", true, false},
		{"team=shop,tier=api", false, false},
		{"team!=shop", false, true},
		{"tier in (api, web)", true, false},
		{"tier notin (api)", true, true},
		{"team", true, false},
		{"!team", false, true},
	} {
		s, err := policy.ParseSelector(tc.text)
		if err != nil {
			t.Errorf("%q: %v", tc.text, err)
			continue
		}
		if got := [2]bool{s.Matches(shop), s.Matches(bare)}; got != [2]bool{tc.shop, tc.bare} {
			t.Errorf("%q chooses %v, want %v and %v", tc.text, got, tc.shop, tc.bare)
		}
	}
	if (policy.Selector{}).Matches(nil) == false {
		t.Error("the zero value does not choose all")
	}
}

func TestASelectorThatIsNoneSaysWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		"team=":           "",
		"=shop":           `found '='`,
		"team=a b":        `found 'b'`,
		"tier in web":     `found 'web' expected: '('`,
		"tier in (web":    `expected: ',' or ')'`,
		"te am=shop":      `found 'am'`,
		"team=shop_":      "alphanumeric",
		"-team":           `label: Invalid value: "-team"`,
		"team=shop,":      "identifier after ','",
		"tier in ()":      "",
		"tier in (a,b),!": "identifier",
	} {
		_, err := policy.ParseSelector(text)
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "such as team=shop")):
			t.Errorf("%q: %v does not say %q", text, err, want)
		}
	}
}
