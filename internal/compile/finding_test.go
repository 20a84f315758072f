package compile_test

import (
	"slices"
	"strings"
	"testing"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
)

func TestFindings(t *testing.T) {
	orders := func(spec string) [][2]string {
		return [][2]string{{"default/p", `{targetRefs: [{kind: Service, name: orders}], ` + spec + `}`}}
	}
	const p = " orders rp/default/p@1 spec."
	for _, tc := range []struct {
		name     string
		policies [][2]string
		edit     func(*catalog.Service)
		hosts    int
		want     []string // "CODE service document path"
		severity mesh.Severity
		hint     string
	}{
		{name: "mesh-default alone has none"},
		{
			name:     "tries that do not fit the request timeout",
			policies: orders(`timeouts: {request: 3s}, retry: {attempts: 2, perTryTimeout: 1s}`),
			want:     []string{"MESH0001" + p + "retry.perTryTimeout"}, severity: mesh.Warning, hint: "raise timeouts.request",
		},
		{name: "tries that fit", policies: orders(`timeouts: {request: 4s}, retry: {attempts: 2, perTryTimeout: 1s}`)},
		{
			name:     "5xx retried on POST",
			policies: orders(`retry: {retryOn: [5xx], methods: [GET, POST], perTryTimeout: 1s, budget: {percent: 20, minConcurrency: 3}}`),
			want:     []string{"MESH0004" + p + "retry.methods"}, severity: mesh.Warning, hint: "retry.methods",
		},
		{
			name:     "503 retried on PUT is only worth knowing",
			policies: orders(`retry: {statusCodes: [503], methods: [GET, PUT], budget: {percent: 20, minConcurrency: 3}}`),
			want:     []string{"MESH0004" + p + "retry.methods"}, severity: mesh.Info, hint: "retry.methods",
		},
		{name: "503 retried on GET alone", policies: orders(`retry: {statusCodes: [503], budget: {percent: 20, minConcurrency: 3}}`)},
		{
			name:     "a stream cut by the request timeout",
			policies: orders(`timeouts: {maxStreamDuration: 1h}`),
			want:     []string{"MESH0005" + p + "timeouts.maxStreamDuration"}, severity: mesh.Info, hint: "0s",
		},
		{
			name: "a grpc stream has no request timeout", policies: orders(`timeouts: {maxStreamDuration: 1h}`),
			edit: func(s *catalog.Service) { s.Protocol = mesh.GRPC },
		},
		{
			name:     "all instances ejected and nothing to panic to",
			policies: orders(`outlierDetection: {maxEjectionPercent: 100, panicThresholdPercent: 0}`), hosts: 3,
			want: []string{"MESH0006" + p + "outlierDetection.maxEjectionPercent"}, severity: mesh.Warning, hint: "panicThresholdPercent",
		},
		{
			name:     "the only instance ejected and nothing to panic to",
			policies: orders(`outlierDetection: {panicThresholdPercent: 0}`), hosts: 1,
			want: []string{"MESH0006" + p + "outlierDetection.panicThresholdPercent"}, severity: mesh.Warning, hint: "panicThresholdPercent",
		},
		{
			name:     "no detector is on",
			policies: orders(`outlierDetection: {consecutive5xx: 0, consecutiveGatewayErrors: 0, localOrigin: {consecutive: 0}}`), hosts: 3,
			want: []string{"MESH0006" + p + "outlierDetection.consecutive5xx"}, severity: mesh.Warning, hint: "Disabled",
		},
		{
			name:     "a detector that needs more instances",
			policies: orders(`outlierDetection: {successRate: {enabled: true}}`), hosts: 3,
			want: []string{"MESH0006" + p + "outlierDetection.successRate.enabled"}, severity: mesh.Warning, hint: "minimumHosts",
		},
		{name: "a detector that has them", policies: orders(`outlierDetection: {successRate: {enabled: true}}`), hosts: 5},
		{
			name:     "a target that does not exist, with the nearest name",
			policies: [][2]string{{"default/p", `{targetRefs: [{kind: Service, name: order}], limits: {connections: 1}}`}},
			want:     []string{"MESH0008  rp/default/p@1 spec.targetRefs[0]"}, severity: mesh.Warning, hint: "did you mean orders?",
		},
		{
			name:     "a target that is like nothing there is",
			policies: [][2]string{{"default/p", `{targetRefs: [{kind: Service, name: zzzzzz}], limits: {connections: 1}}`}},
			want:     []string{"MESH0008  rp/default/p@1 spec.targetRefs[0]"}, severity: mesh.Warning, hint: "meshctl service list",
		},
		{
			name:     "a TrafficRoute target",
			policies: [][2]string{{"default/p", `{targetRefs: [{kind: TrafficRoute, name: orders}], retry: {attempts: 1}}`}},
			want:     []string{"MESH0008  rp/default/p@1 spec.targetRefs[0]"}, severity: mesh.Warning, hint: "Service",
		},
		{
			name:     "a timed-out try retried without a timeout per try",
			policies: orders(`retry: {retryOn: [gateway-error], budget: {percent: 20, minConcurrency: 3}}`),
			want:     []string{"MESH0012" + p + "retry.retryOn"}, severity: mesh.Warning, hint: "perTryTimeout",
		},
		{
			name: "two documents of one level",
			policies: [][2]string{
				{"default/a", `{targetRefs: [{kind: Service, name: orders}], from: [{service: web}], limits: {connections: 1}}`},
				{"default/b", `{targetRefs: [{kind: Service, name: orders}], from: [{service: web}, {service: app}], limits: {connections: 1, requests: 2}}`},
			},
			want: []string{"MESH0014 orders rp/default/b@1 spec.limits.connections"}, severity: mesh.Warning, hint: "from",
		},
		{
			name: "documents of one level whose callers do not overlap",
			policies: [][2]string{
				{"default/a", `{targetRefs: [{kind: Service, name: orders}], from: [{service: web}], limits: {connections: 1}}`},
				{"default/b", `{targetRefs: [{kind: Service, name: orders}], from: [{service: app}], limits: {connections: 1}}`},
			},
		},
		{
			name: "two documents of the mesh, said once",
			policies: [][2]string{
				{"default/a", `{targetRefs: [{kind: Mesh}], limits: {connections: 1}}`},
				{"default/b", `{targetRefs: [{kind: Mesh}], limits: {connections: 1}}`},
			},
			want: []string{"MESH0014  rp/default/b@1 spec.limits.connections"}, severity: mesh.Warning, hint: "from",
		},
		{
			name:     "the reserved name",
			policies: [][2]string{{"default/mesh-default", `{targetRefs: [{kind: Mesh}], limits: {connections: 1}}`}},
			want:     []string{"MESH0016  rp/default/mesh-default@1 metadata.name"}, severity: mesh.Error, hint: "another name",
		},
		{
			name:     "answers retried under the wide budget of the default",
			policies: orders(`retry: {statusCodes: [429]}`),
			want:     []string{"MESH0017" + p + "retry.statusCodes"}, severity: mesh.Warning, hint: "{percent: 20, minConcurrency: 3}",
		},
		{
			name:     "of the mesh, said once for all services",
			policies: [][2]string{{"default/p", `{targetRefs: [{kind: Mesh}], retry: {statusCodes: [429]}}`}},
			want:     []string{"MESH0017  rp/default/p@1 spec.retry.statusCodes"}, severity: mesh.Warning, hint: "budget",
		},
		{
			name: "nothing about requests on a tcp service", policies: orders(`retry: {statusCodes: [503], methods: [POST]}`),
			edit: func(s *catalog.Service) { s.Protocol = mesh.TCP },
		},
		{
			name:     "a merged result that breaks a rule",
			policies: orders(`retry: {perTryTimeout: 20s}`),
			want:     []string{"MESH0018" + p + "retry.perTryTimeout"}, severity: mesh.Error, hint: "agree",
		},
		{
			name:     "a namespace without the right to a service",
			policies: [][2]string{{"team/p", `{targetRefs: [{kind: Service, name: orders}], limits: {connections: 1}}`}},
			want:     []string{"MESH0021 orders rp/team/p@1 spec.targetRefs"}, severity: mesh.Error, hint: "root namespace default",
		},
		{
			name:     "a namespace with the right to a service",
			policies: [][2]string{{"team/p", `{targetRefs: [{kind: Service, name: orders}], limits: {connections: 1}}`}},
			edit:     func(s *catalog.Service) { s.Namespace = "team" },
		},
		{
			name:     "a namespace without the right to the mesh",
			policies: [][2]string{{"team/p", `{targetRefs: [{kind: Mesh}], limits: {connections: 1}}`}},
			want:     []string{"MESH0021  rp/team/p@1 spec.targetRefs[0]"}, severity: mesh.Error, hint: "default",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			edit := tc.edit
			if edit == nil {
				edit = func(*catalog.Service) {}
			}
			hosts := tc.hosts
			if hosts == 0 {
				hosts = 2
			}
			w.service("orders", hosts, edit)
			w.service("payments", 2)
			for _, p := range tc.policies {
				w.policy(p[0], p[1])
			}
			fs := w.full().Findings()
			if got, want := strings.Join(codes(fs), "\n"), strings.Join(tc.want, "\n"); got != want {
				t.Fatalf("findings:\n%s\nwant:\n%s\nin full: %+v", got, want, fs)
			}
			for _, f := range fs {
				if f.Severity != tc.severity || !strings.Contains(f.Hint, tc.hint) || f.Message == "" {
					t.Errorf("finding = %+v; want %s with a hint that says %q", f, tc.severity, tc.hint)
				}
			}
		})
	}
}

func TestProblemsOfTheCatalogAndRefusedDocumentsAreFindings(t *testing.T) {
	w := newWorld(t)
	w.service("orders", 1)
	w.policy("default/orders", `{targetRefs: [{kind: Service, name: orders}], limits: {connections: 1}}`)
	w.problems = []mesh.Finding{
		{Code: mesh.CodeProtocolDisagreed, Severity: mesh.Warning, Service: "orders", Message: "grpc and http1"},
		{Code: mesh.CodeNotADNSLabel, Severity: mesh.Warning, Service: "Not_A_Label", Message: "skipped"},
	}
	key := policy.Key{Kind: "ResiliencePolicy", Namespace: "default", Name: "orders"}
	other := policy.Key{Kind: "ResiliencePolicy", Namespace: "default", Name: "other"}
	faults := []policy.FieldError{{Path: "spec.retry.attempts", Value: "99", Reason: "must be at most 10"}}
	w.refused = []policy.Refusal{{Key: key, Source: "orders.yaml", Faults: faults}, {Key: other, Source: "other.yaml", Faults: faults}}
	r := w.full()
	want := "MESH0013 Not_A_Label|MESH0015 orders|MESH0019  orders.yaml spec.retry.attempts|MESH0019  other.yaml spec.retry.attempts"
	if got := strings.Join(codes(r.Findings()), "|"); got != want {
		t.Errorf("findings = %s, want %s", got, want)
	}
	docs := r.Documents()
	if len(docs) != 2 || docs[0].Accepted != compile.Invalid || docs[0].Document == nil || docs[1].Document != nil ||
		docs[1].Message != "refused: spec.retry.attempts: 99: must be at most 10" {
		t.Errorf("documents = %+v", docs)
	}
}

func TestDocumentStatus(t *testing.T) {
	w := newWorld(t)
	w.service("orders", 1)
	w.policy("default/a", `{targetRefs: [{kind: Service, name: orders}, {kind: Mesh}], limits: {connections: 1}}`)
	w.policy("default/b", `{targetRefs: [{kind: Service, name: orders}], limits: {connections: 1}}`)
	w.policy("default/c", `{targetRefs: [{kind: Service, name: orders}, {kind: Service, name: gone}], limits: {requests: 1}}`)
	w.policy("team/d", `{targetRefs: [{kind: Service, name: orders}, {kind: Service, name: gone}], limits: {requests: 1}}`)
	w.policy("default/mesh-default", `{targetRefs: [{kind: Mesh}], limits: {requests: 1}}`)
	want := map[string]compile.Reason{
		"a": compile.Accepted, "b": compile.Conflicted, "c": compile.TargetNotFound, "d": compile.NotPermitted, "mesh-default": compile.Invalid,
	}
	for _, s := range w.full().Documents() {
		if s.Accepted != want[s.Key.Name] {
			t.Errorf("%s is %s (%s), want %s", s.Key, s.Accepted, s.Message, want[s.Key.Name])
		}
		if (s.Message == "") != (s.Accepted == compile.Accepted) {
			t.Errorf("%s: message %q", s.Key, s.Message)
		}
	}
}

func TestAnalyzeNeedsNoCatalog(t *testing.T) {
	w := newWorld(t)
	w.policy("default/all", `{targetRefs: [{kind: Mesh}], timeouts: {request: 1s}}`)
	w.policy("default/orders", `{targetRefs: [{kind: Service, name: orders}], retry: {perTryTimeout: 2s}}`)
	w.policy("team/own", `{targetRefs: [{kind: Service, name: own}], outlierDetection: {panicThresholdPercent: 0}}`)
	w.policy("team/all", `{targetRefs: [{kind: Mesh}], timeouts: {request: 1s}}`)
	_, rev := w.take()
	slices.Reverse(rev.Documents) // in any order
	want := "MESH0018 orders rp/default/orders@1 spec.retry.perTryTimeout|MESH0021  rp/team/all@1 spec.targetRefs[0]"
	if got := strings.Join(codes(compile.Analyze(compile.Default(), rev.Documents)), "|"); got != want {
		t.Errorf("findings = %s, want %s", got, want)
	}
}

func TestAnalyzeTakesWhatRoutesNameToExist(t *testing.T) {
	for _, tc := range []struct {
		name     string
		routes   [][2]string
		policies [][2]string
		want     string
	}{
		{
			name: "services, datacenters and subsets of services that have no route here",
			routes: [][2]string{{"default/orders", `{service: orders, subsets: [{name: v2, tags: [v2]}], rules: [{name: a,
				backends: [{subset: v2}, {service: audit, subset: v1}], failover: [{datacenter: dc2, subset: v2}, {service: pay}]}]}`}},
		},
		{
			name: "a subset that the service's own route does not name",
			routes: [][2]string{
				{"default/audit", `{service: audit, subsets: [{name: v1, tags: [v1]}]}`},
				{"default/orders", `{service: orders, rules: [{name: a, backends: [{subset: v2}], failover: [{service: audit, subset: v3}]}]}`},
			},
			want: "MESH0022 orders tr/default/orders@1 spec.rules[0].backends[0].subset|MESH0022 orders tr/default/orders@1 spec.rules[0].failover[0].subset",
		},
		{
			name:     "a policy of a route that may stand elsewhere",
			policies: [][2]string{{"default/p", `{targetRefs: [{kind: TrafficRoute, name: orders, sectionName: a}], retry: {attempts: 1}}`}},
		},
		{
			name:     "a policy of a rule that the route does not have",
			routes:   [][2]string{{"default/orders", `{service: orders, rules: [{name: canary}]}`}},
			policies: [][2]string{{"default/p", `{targetRefs: [{kind: TrafficRoute, name: orders, sectionName: canry}], retry: {attempts: 1}}`}},
			want:     "MESH0008  rp/default/p@1 spec.targetRefs[0]",
		},
		{
			name:     "a route for what a document says is tcp",
			routes:   [][2]string{{"default/db", `{service: db}`}},
			policies: [][2]string{{"default/p", `{targetRefs: [{kind: Service, name: db}], connection: {protocol: tcp}}`}},
			want:     "MESH0023 db tr/default/db@1 spec.service",
		},
		{
			name:   "a route of the namespace that it is for",
			routes: [][2]string{{"shop/orders", `{service: orders, rules: [{name: a, backends: [{service: audit}]}]}`}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			for _, r := range tc.routes {
				w.route(r[0], r[1])
			}
			for _, p := range tc.policies {
				w.policy(p[0], p[1])
			}
			_, rev := w.take()
			if got := strings.Join(codes(compile.Analyze(compile.Default(), rev.Documents)), "|"); got != tc.want {
				t.Errorf("findings = %s, want %s", got, tc.want)
			}
		})
	}
}
