package catalog_test

import (
	"strings"
	"testing"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
)

func TestOnlyAddressesThatCanBeCalledAreTaken(t *testing.T) {
	for _, tc := range []struct {
		address string
		port    int
		fault   string // "" when it is right
	}{
		{"10.0.0.1", 80, ""},
		{"2001:db8::1", 65535, ""},
		{"127.0.0.1", 1, ""},
		{"", 80, "no address"},
		{"orders.example.com", 80, "not a name"},
		{"10.0.0.1:80", 80, "not a name"},
		{"0.0.0.0", 80, "no client can call"},
		{"::", 80, "no client can call"},
		{"224.0.0.1", 80, "no client can call"},
		{"fe80::1%eth0", 80, "no client can call"},
		{"10.0.0.1", 0, "1 to 65535"},
		{"10.0.0.1", 65536, "1 to 65535"},
		{"10.0.0.1", -1, "1 to 65535"},
	} {
		got := catalog.CheckAddress(tc.address, tc.port)
		if (got == "") != (tc.fault == "") || !strings.Contains(got, tc.fault) {
			t.Errorf("%s port %d: %q, want %q", tc.address, tc.port, got, tc.fault)
		}
	}
}

// Envoy refuses an assignment that names a place twice.
func TestOneOfTwoInstancesAtAPlaceIsUsed(t *testing.T) {
	at := func(id string, port uint32, h mesh.Health) mesh.Endpoint {
		return mesh.Endpoint{ID: id, Address: "10.0.0.1", Port: port, Health: h}
	}
	es, fs := catalog.Arrange("orders", []mesh.Endpoint{at("dead", 80, mesh.Unhealthy), at("z", 79, mesh.Healthy), at("live", 80, mesh.Healthy)})
	if len(es) != 2 || es[0].ID != "z" || es[1].ID != "live" {
		t.Errorf("arranged %+v", es)
	}
	if len(fs) != 1 || !strings.Contains(fs[0].Message, `"dead"`) || !strings.Contains(fs[0].Message, `"live"`) || fs[0].Service != "orders" {
		t.Errorf("findings %+v", fs)
	}
}

func TestANameThatIsNoDNSLabelIsSkippedAndReported(t *testing.T) {
	for name, ok := range map[string]bool{
		"orders": true, "a": true, "1st": true, "a-b": true, strings.Repeat("a", 63): true,
		"": false, "Orders": false, "a_b": false, "a.b": false, "-a": false, "a-": false, "ö": false, "a b": false, strings.Repeat("a", 64): false, "a\x00": false,
	} {
		skip, finding, got := catalog.CheckName(name)
		if got != ok {
			t.Errorf("%q: %v", name, got)
		}
		if !ok && (skip.Reason == "" || skip.Hint == "" || finding.Code != mesh.CodeNotADNSLabel || finding.Hint == "") {
			t.Errorf("%q: %+v, %+v", name, skip, finding)
		}
	}
	if skip, _, _ := catalog.CheckName(strings.Repeat("x_", 5000)); len(skip.Name) > 100 {
		t.Errorf("a long name is reported in %d bytes", len(skip.Name))
	}
}
