package catalog_test

import (
	"strings"
	"testing"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
)

func TestAnInstancesProtocolIsMetasElseATags(t *testing.T) {
	for what, tc := range map[string]struct {
		tags  []string
		meta  string
		want  mesh.Protocol
		fault bool
	}{
		"nothing said":            {want: ""},
		"meta":                    {meta: "grpc", want: mesh.GRPC},
		"meta before tags":        {meta: "http2", tags: []string{"tcp"}, want: mesh.HTTP2},
		"http is http1":           {meta: "http", want: mesh.HTTP1},
		"any case":                {meta: "GRPC", want: mesh.GRPC},
		"a tag":                   {tags: []string{"blue", "tcp"}, want: mesh.TCP},
		"a tag that only sounds":  {tags: []string{"grpc-gateway"}, want: ""},
		"an unknown word in meta": {meta: "smtp", want: "", fault: true},
		"an unknown word, a tag":  {meta: "smtp", tags: []string{"grpc"}, want: mesh.GRPC, fault: true},
	} {
		says, fault := catalog.Read("i", tc.tags, map[string]string{catalog.MetaProtocol: tc.meta})
		if says.Protocol != tc.want || (fault != "") != tc.fault {
			t.Errorf("%s: %q, %q", what, says.Protocol, fault)
		}
	}
}

func saying(protocols ...mesh.Protocol) (all []catalog.Says) {
	for i, p := range protocols {
		all = append(all, catalog.Says{Instance: string(rune('a' + i)), Protocol: p})
	}
	return all
}

func TestAServicesProtocolIsTheOneInForceElseTheCommonest(t *testing.T) {
	inForce := func(p mesh.Protocol) *catalog.Service { return &catalog.Service{Name: "orders", Protocol: p} }
	for what, tc := range map[string]struct {
		before    *catalog.Service
		says      []catalog.Says
		fallback  mesh.Protocol
		want      mesh.Protocol
		disagreed string // the finding names these
	}{
		"nobody says":                     {says: saying("", ""), want: mesh.HTTP1},
		"service-defaults stand in":       {says: saying("", ""), fallback: mesh.GRPC, want: mesh.GRPC},
		"the instance before the default": {says: saying(mesh.HTTP2), fallback: mesh.GRPC, want: mesh.HTTP2},
		"all agree on another":            {before: inForce(mesh.HTTP1), says: saying(mesh.GRPC, mesh.GRPC), want: mesh.GRPC},
		"the one in force stays":          {before: inForce(mesh.HTTP1), says: saying(mesh.GRPC, mesh.GRPC, mesh.HTTP1), want: mesh.HTTP1, disagreed: "grpc: a, b; http1: c"},
		"the commonest":                   {before: inForce(mesh.TCP), says: saying(mesh.GRPC, mesh.GRPC, mesh.HTTP1), want: mesh.GRPC, disagreed: "grpc: a, b; http1: c"},
		"a tie goes by name":              {says: saying(mesh.HTTP1, mesh.GRPC), want: mesh.GRPC, disagreed: "grpc: b; http1: a"},
		"silence is a voice for default":  {says: saying(mesh.GRPC, ""), want: mesh.GRPC, disagreed: "grpc: a; http1: b"},
		"scaled to zero stays":            {before: inForce(mesh.GRPC), want: mesh.GRPC},
		"more than can be read":           {says: saying(mesh.GRPC, mesh.GRPC, mesh.GRPC, mesh.GRPC, mesh.TCP), want: mesh.GRPC, disagreed: "grpc: a, b, c, …; tcp: e"},
	} {
		s := &catalog.Service{Name: "orders"}
		fs := catalog.Settle(s, tc.before, tc.says, tc.fallback)
		if s.Protocol != tc.want {
			t.Errorf("%s: %s, want %s", what, s.Protocol, tc.want)
		}
		switch {
		case tc.disagreed == "" && len(fs) > 0:
			t.Errorf("%s: findings %+v", what, fs)
		case tc.disagreed != "" && (len(fs) != 1 || !strings.Contains(fs[0].Message, tc.disagreed) || fs[0].Code != mesh.CodeProtocolDisagreed || fs[0].Hint == ""):
			t.Errorf("%s: findings %+v", what, fs)
		}
	}
}

func TestAServiceScaledToZeroKeepsWhatItsInstancesSaid(t *testing.T) {
	before := &catalog.Service{Name: "orders", Protocol: mesh.GRPC, Namespace: "shop", Meta: map[string]string{catalog.MetaTransactions: "/tx"}}
	s := &catalog.Service{Name: "orders"}
	catalog.Settle(s, before, nil, "")
	if s.Namespace != "shop" || s.Meta[catalog.MetaTransactions] != "/tx" {
		t.Errorf("it is %+v", s)
	}
}
