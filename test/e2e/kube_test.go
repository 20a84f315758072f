//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/test/lab"
)

// inMesh is a ResiliencePolicy of orders in the root namespace of the manifests.
func inMesh(sections string) string {
	return strings.Replace(policyYAML("orders", sections), "{name: orders}", "{name: orders, namespace: meshlite-system}", 1)
}

// pointer is what Kubernetes says is in force.
type pointer struct {
	Number uint64 `json:"number"`
	Hash   string `json:"hash"`
}

func inKubernetes(t *testing.T, c *lab.Cluster) pointer {
	t.Helper()
	var p pointer
	if err := json.Unmarshal([]byte(c.MustKubectl("get", "pro", "current", "-n", "meshlite-system", "-o", "jsonpath={.spec}")), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p pointer) label() string { return fmt.Sprintf("%d (%.8s)", p.Number, p.Hash) }

// serves reports whether a server has the revision.
func serves(s *lab.Server, p pointer) error {
	var got adminapi.Policies
	if err := s.Try("/v1/policies", &got); err != nil {
		return err
	}
	if got.Revision != p.label() {
		return fmt.Errorf("it serves revision %s, in force is %s", got.Revision, p.label())
	}
	return nil
}

// kubeLab is a mesh with policies in Kubernetes, read with the rights of the
// manifests and gathered for as long as by default.
func kubeLab(t *testing.T) (l *lab.Lab, flags []string) {
	t.Helper()
	l = lab.New(t)
	applied(t, l)
	l.Service("orders", 1)
	return l, []string{
		"--policy-source", "kube", "--kubeconfig", l.Cluster.KubeconfigFor("meshlite-system/xds-server"),
		"--policy-dir", "", "--policy-quiet", "2s", "--root-namespace", "meshlite-system",
	}
}

// TestAKubernetesThatIsAwayTakesNothingAway: kubectl changes what a real Envoy
// does; two servers agree; with the API server killed both go on, one of them
// restarted and with a sidecar that is new; when it is back, the watch goes on
// and the next edit counts.
func TestAKubernetesThatIsAwayTakesNothingAway(t *testing.T) {
	t.Parallel()
	l, flags := kubeLab(t)
	cluster := l.Cluster
	first := l.StartServer(flags...)
	client := l.Sidecar("client")
	const slow = "http://orders/?delay=1s"
	client.WaitStatus(slow, http.StatusOK, 20*time.Second)

	applyAt := time.Now()
	cluster.Apply(inMesh("\n  timeouts: {request: 200ms}"))
	client.WaitStatus(slow, http.StatusGatewayTimeout, 5*time.Second)
	t.Logf("from kubectl apply to another answer: %s, 2s of quiet included", time.Since(applyAt).Round(time.Millisecond))

	second := l.StartServer(append(flags, "--state-dir", t.TempDir())...)
	l.Server = first
	before := inKubernetes(t, cluster)
	for _, s := range []*lab.Server{first, second} {
		lab.Until(t, 10*time.Second, "both serve what is in force", func() error { return serves(s, before) })
	}
	l.Server = second
	asked := time.Now()
	if out := l.MustMeshctl("rollout", "start", "--quorum", "90%"); !strings.Contains(out, "quorum 90%") {
		t.Errorf("the replica that does not lead says %s", out)
	}
	t.Logf("it had the leader keep that in %s", time.Since(asked).Round(time.Millisecond))
	l.Server = first
	lab.Until(t, 10*time.Second, "the revision is on disk", func() error { return copied(first, "200ms") })
	lastKnownGood(t, l, "orders-1")

	cluster.Kill()
	lab.Until(t, 30*time.Second, "it is told", func() error {
		if body := second.Text("/readyz"); !strings.Contains(body, "policies cannot be read") {
			return fmt.Errorf("/readyz says %s", body)
		}
		return nil
	})
	first.Kill()
	first.Start()
	first.WaitReady(30 * time.Second)
	newcomer := l.Sidecar("newcomer")
	newcomer.WaitStatus(slow, http.StatusGatewayTimeout, 20*time.Second)
	for _, s := range []*lab.Server{first, second} {
		if err := serves(s, before); err != nil {
			t.Errorf("while the API server is away: %v", err)
		}
	}

	cluster.Start()
	cluster.WaitReady(60 * time.Second)
	cluster.Apply(inMesh("\n  timeouts: {request: 3s}"))
	backAt := time.Now()
	client.WaitStatus(slow, http.StatusOK, 60*time.Second)
	t.Logf("the first edit after the outage counts after %s", time.Since(backAt).Round(time.Millisecond))
	newcomer.WaitStatus(slow, http.StatusOK, 30*time.Second)
	after := inKubernetes(t, cluster)
	if after.Number != before.Number+1 {
		t.Errorf("the outage and one edit took the revision from %s to %s", before.label(), after.label())
	}
	for _, s := range []*lab.Server{first, second} {
		lab.Until(t, 30*time.Second, "both serve the edit", func() error { return serves(s, after) })
	}
}

// TestARestartServesWhatIsInForce, whenever the server is killed: while edits
// come, it begins with the very revision that Kubernetes says is in force.
func TestARestartServesWhatIsInForce(t *testing.T) {
	t.Parallel()
	l, flags := kubeLab(t)
	s := l.StartServer(append(flags, "--policy-quiet", "50ms")...)
	const rounds = 6
	for i := range rounds {
		for n := range 3 {
			l.Cluster.Apply(inMesh(fmt.Sprintf("\n  retry: {attempts: %d}\n  timeouts: {request: %dms}", n, 1000+i)))
		}
		moment := time.NewTimer(rand.N(200 * time.Millisecond))
		<-moment.C
		s.Kill()
		p := inKubernetes(t, l.Cluster)
		s.Start()
		s.WaitLog(fmt.Sprintf(`msg="policies in force from an earlier run" revision=%d hash=%s`, p.Number, p.Hash), 20*time.Second)
		s.WaitReady(20 * time.Second)
	}
	// The server that was killed holds its lock until the lease lapses.
	took := lab.Until(t, 60*time.Second, "the last edit is in force", func() error {
		return copied(s, fmt.Sprintf("%dms", 1000+rounds-1))
	})
	t.Logf("the last edit is in force %s after the last restart", took.Round(100*time.Millisecond))
	lab.Until(t, 20*time.Second, "and served", func() error { return serves(s, inKubernetes(t, l.Cluster)) })
}
