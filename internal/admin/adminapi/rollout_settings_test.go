package adminapi_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/admin/adminapi"
)

func TestSettingsSayEveryFault(t *testing.T) {
	bad := adminapi.RolloutSettings{
		Mode: "later", Canary: "0%", Bake: -1, ConfirmTimeout: adminapi.Duration(8 * 24 * time.Hour),
		MaxFailed: adminapi.MaxFailed{Percent: 101}, Quorum: 101,
	}
	err := bad.Validate()
	for _, want := range []string{`mode: "later"`, `canary: "0%"`, "bake: -1ns", "confirmTimeout: 192h0m0s", "maxFailed: 101%", "quorum: 101"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: says nothing of %s", err, want)
		}
	}
	if err := adminapi.DefaultRolloutSettings().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}

func TestACanaryIsAShareOrALabel(t *testing.T) {
	for canary, want := range map[string]bool{
		"": true, "1%": true, "100%": true, "zone=eu-1": true, "team/role=canary": true,
		"101%": false, "-1%": false, "ten": false, "=x": false, "a=": false, "a=b=c": false, "%": false, "1.5%": false,
		"zone=" + strings.Repeat("x", 300): false,
	} {
		s := adminapi.DefaultRolloutSettings()
		s.Canary = canary
		if err := s.Validate(); (err == nil) != want {
			t.Errorf("canary %q: %v", canary, err)
		}
	}
	for _, unvoted := range []adminapi.RolloutSettings{{Mode: "direct", Canary: "1%"}, {Mode: "auto", SkipVote: true, Canary: "1%"}, {Mode: "hold", SkipVote: true}} {
		if unvoted.Validate() == nil {
			t.Errorf("%+v is taken", unvoted)
		}
	}
}

func TestOptionsReadAsTheyAreWritten(t *testing.T) {
	var o adminapi.RolloutOptions
	if err := json.Unmarshal([]byte(`{"mode": "hold", "bake": "30s", "maxFailed": "3,5%", "quorum": 0, "confirmTimeout": "0s"}`), &o); err != nil {
		t.Fatal(err)
	}
	base := adminapi.DefaultRolloutSettings()
	base.ConfirmTimeout = adminapi.Duration(time.Minute)
	want := adminapi.RolloutSettings{Mode: "hold", Bake: adminapi.Duration(30 * time.Second), MaxFailed: adminapi.MaxFailed{Proxies: 3, Percent: 5}}
	if got := o.Over(base); got != want {
		t.Errorf("over the defaults: %+v, want %+v", got, want)
	}
	raw, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"mode":"hold","bake":"30s","maxFailed":"3,5%","quorum":0}`; string(raw) != want {
		t.Errorf("written: %s, want %s", raw, want)
	}
	for _, bad := range []string{`{"bake": "5"}`, `{"maxFailed": "x"}`, `{"maxFailed": "101%"}`, `{"maxFailed": ""}`, `{"maxFailed": "-1"}`} {
		if json.Unmarshal([]byte(bad), &o) == nil {
			t.Errorf("%s is read", bad)
		}
	}
}

func TestTooManyAreOverBothBounds(t *testing.T) {
	for _, c := range []struct {
		max             string
		failed, reached int
		want            bool
	}{
		{"2,1%", 2, 10, false}, {"2,1%", 3, 10, true}, {"2,1%", 3, 1000, false}, {"2,1%", 11, 1000, true},
		{"2", 3, 1000, true}, {"2", 2, 2, false}, {"10%", 1, 10, false}, {"10%", 2, 10, true}, {"0", 1, 9, true}, {"0", 0, 9, false},
	} {
		var m adminapi.MaxFailed
		if err := m.UnmarshalText([]byte(c.max)); err != nil || m.String() != c.max {
			t.Errorf("%s reads as %s, %v", c.max, m, err)
		}
		if got := m.Exceeded(c.failed, c.reached); got != c.want {
			t.Errorf("%s: %d of %d: %v", c.max, c.failed, c.reached, got)
		}
	}
}
