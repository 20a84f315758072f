package consulimport

import (
	"fmt"
	"strings"
	"testing"
)

func TestFiltersThatSubsetsCanSay(t *testing.T) {
	for filter, want := range map[string]string{
		`"v2" in Service.Tags`:         "[v2] map[]",
		`v2 in Service.Tags`:           "[v2] map[]",
		"`v2` in Service.Tags":         "[v2] map[]",
		`Service.Tags contains "v2"`:   "[v2] map[]",
		`Service.Meta.version == v2`:   "[] map[version:v2]",
		`Service.Meta.version=="v 2"`:  "[] map[version:v 2]",
		`Service.Meta["a b"] == "and"`: "[] map[a b:and]",
		`"b" in Service.Tags and "a" in Service.Tags and b in Service.Tags`: "[a b] map[]",
		`("v2" in Service.Tags) and ((Service.Meta.track == beta))`:         "[v2] map[track:beta]",
		"Service.Meta.version == v2\n and Service.Meta.version == \"v2\"":   "[] map[version:v2]",
		`Service.Meta.version == v2 or "v2" in Service.Tags`:                "",
		`not "v2" in Service.Tags`:                                          "",
		`"v2" not in Service.Tags`:                                          "",
		`Service.Meta.version != v2`:                                        "",
		`Service.Meta.version matches "v[12]"`:                              "",
		`Service.Meta.version is empty`:                                     "",
		`Service.Meta.version == ""`:                                        "",
		`Node.Meta.rack == r1`:                                              "",
		`Service.ID == o1`:                                                  "",
		`Service.Meta.version == v1 and Service.Meta.version == v2`:         "",
		`("v2" in Service.Tags`:                                             "",
		`"v2" in Service.Tags)`:                                             "",
		`"v2" in Service.Tags and`:                                          "",
		`"v2 in Service.Tags`:                                               "",
		`"v\"2" in Service.Tags`:                                            "",
		`Service.Tags`:                                                      "",
		`in in in`:                                                          "",
		`Service.Meta.a.b == c`:                                             "",
		`"Service.Meta.version" == v2`:                                      "",
		strings.Repeat("(", 100) + `v2 in Service.Tags` + strings.Repeat(")", 100): "",
		``:  "",
		`=`: "",
	} {
		s, err := parseFilter(filter)
		got := fmt.Sprint(s.tags, s.meta)
		if err != nil {
			got = ""
		}
		if got != want {
			t.Errorf("%s: %q, %v; want %q", filter, got, err, want)
		}
	}
}
