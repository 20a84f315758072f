//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/test/lab"
)

// applyText writes documents to a file and applies it by meshctl.
func applyText(t *testing.T, l *lab.Lab, text string, args ...string) lab.Output {
	t.Helper()
	file := filepath.Join(t.TempDir(), "documents.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return l.Meshctl(append([]string{"policy", "apply", "-f", file}, args...)...)
}

// newestOf is the newest rollout, once it is as want says.
func newestOf(t *testing.T, l *lab.Lab, what string, want func(adminapi.Rollout) bool) adminapi.Rollout {
	t.Helper()
	var all adminapi.Rollouts
	lab.Until(t, 20*time.Second, what, func() error {
		all = adminapi.Rollouts{} // what is absent would stay
		if err := l.Server.Try("/v1/rollouts", &all); err != nil {
			return err
		}
		if len(all.Items) == 0 || !want(all.Items[0]) {
			return fmt.Errorf("rollouts are %+v", all.Items)
		}
		return nil
	})
	return all.Items[0]
}

// holding is what a sidecar acknowledged, without what changes by itself.
func holding(t *testing.T, l *lab.Lab, proxy string) string {
	t.Helper()
	var rs []adminapi.ProxyResource
	l.Server.Get("/v1/proxies/"+proxy+"/config", &rs)
	var out strings.Builder
	for _, r := range rs {
		if r.Status != "SYNCED" {
			t.Errorf("%s: %s %s is %s", proxy, r.Type, r.Name, r.Status)
		}
		fmt.Fprintf(&out, "%s %s %s %s\n", r.Type, r.Name, r.Version, r.Config)
	}
	return out.String()
}

// regexRule is a route that takes an Envoy a program of some size.
const regexRule = `
  rules:
  - {name: items, matches: [{path: {type: Regex, value: '/item/[0-9]{60,90}'}}], filters: {directResponse: {status: 200, body: item}}}`

// oddSidecar starts an Envoy whose runtime allows small regexes alone.
func oddSidecar(l *lab.Lab) *lab.Sidecar {
	odd := l.NewSidecar("web", "web-odd")
	odd.EditBootstrap(func(text string) string {
		return strings.Replace(text, "max_program_size.error_level: 32768", "max_program_size.error_level: 100", 1)
	})
	odd.Start()
	odd.WaitReady(20 * time.Second)
	return odd
}

// TestWhoRefusesWhatIsInForceHasNoVeto: after a change that was forced through, the
// Envoy that refuses it is excused from the next one of the same resource, and has
// its yes again when that is mended.
func TestWhoRefusesWhatIsInForceHasNoVeto(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 1)
	l.StartServer()
	fleet := append(l.Sidecars("web", 2), oddSidecar(l))
	load := fleet[0].Load(rate/3, http.MethodGet, "http://orders/")
	l.MustMeshctl("rollout", "start", "--skip-vote")
	if out := applyText(t, l, routeYAML("orders", regexRule)); out.Code != 0 {
		t.Fatalf("forced: exit %d\n%s", out.Code, out.Stderr)
	}
	newestOf(t, l, "the odd one refuses what is in force", func(r adminapi.Rollout) bool {
		return r.State == adminapi.Committed && r.Pushed != nil && *r.Pushed == adminapi.PushCount{Proxies: 3, Acked: 2, Refused: 1} && !r.Open()
	})
	item := "http://orders/item/" + strings.Repeat("7", 70)
	fleet[0].WaitStatus(item, http.StatusOK, 10*time.Second)

	if out := applyText(t, l, routeYAML("orders", strings.Replace(regexRule, "body: item", "body: thing", 1)), "--wait=Accepted"); out.Code != 0 {
		t.Fatalf("the next one: exit %d\n%s", out.Code, out.Stderr)
	}
	r := newestOf(t, l, "it is committed without the odd one", func(r adminapi.Rollout) bool {
		return r.State == adminapi.Committed && r.Votes.Yes == 2 && r.Votes.Excused == 1 && !r.Open()
	})
	if r.Pushed == nil || *r.Pushed != (adminapi.PushCount{Proxies: 2, Acked: 2}) {
		t.Errorf("pushed: %+v", r.Pushed)
	}
	if out := l.Meshctl("rollout", "status"); out.Code != 0 || !strings.Contains(out.Stdout, "EXCUSED web-odd: already refuses what is in force of RDS orders") {
		t.Errorf("exit %d\n%s", out.Code, out.Stdout)
	}

	mended := "\n  rules:\n  - {name: items, matches: [{path: {type: Prefix, value: '/item/'}}], filters: {directResponse: {status: 200, body: item}}}"
	if out := applyText(t, l, routeYAML("orders", mended), "--wait"); out.Code != 0 {
		t.Errorf("mended: exit %d\n%s", out.Code, out.Stderr)
	}
	newestOf(t, l, "all three said yes to what mends it", func(r adminapi.Rollout) bool {
		return r.State == adminapi.Committed && r.Votes.Yes == 3 && !r.Open()
	})
	fleet[2].WaitStatus(item, http.StatusOK, 10*time.Second)
	clean(t, load.Finish())
}

// TestTheFleetVotes: five Envoys say yes to a good policy, and each is named with
// its vote. One Envoy, whose runtime allows small regexes alone, says no to a good
// document that nobody else refuses: no sidecar ever serves it, its words reach
// whoever applied it, and the next change goes through at once. Undo restores what
// was there, byte for byte. No call fails meanwhile.
func TestTheFleetVotes(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 2)
	l.StartServer()
	fleet := l.Sidecars("web", 4)
	odd := oddSidecar(l)
	fleet = append(fleet, odd)
	load := fleet[0].Load(100, http.MethodGet, "http://orders/item/42")

	if out := applyText(t, l, policyYAML("orders", "\n  timeouts: {request: 3s}"), "--wait"); out.Code != 0 {
		t.Fatalf("a good policy: exit %d\n%s%s", out.Code, out.Stdout, out.Stderr)
	}
	good := newestOf(t, l, "the good policy is everywhere", func(r adminapi.Rollout) bool { return r.State == adminapi.Committed && !r.Open() })
	t.Logf("%s", l.MustMeshctl("rollout", "status"))
	var votes adminapi.RolloutVotes
	if err := json.Unmarshal([]byte(l.MustMeshctl("rollout", "votes", good.ID, "-o", "json")), &votes); err != nil {
		t.Fatal(err)
	}
	for _, v := range votes.Items {
		if v.Answer != adminapi.VoteYes {
			t.Errorf("%s: %s %s", v.Proxy, v.Answer, v.Text)
		}
	}
	if len(votes.Items) != 5 || good.Votes.Yes != 5 || good.Skew == 0 {
		t.Errorf("%d votes, %+v, skew %s", len(votes.Items), good.Votes, good.Skew)
	}
	before := map[string]string{}
	for _, s := range fleet {
		before[s.ID] = holding(t, l, s.ID)
	}

	out := applyText(t, l, routeYAML("orders", regexRule), "--wait")
	if out.Code != 80 || !strings.Contains(out.Stderr, "on web-odd") || !strings.Contains(out.Stderr, "program size") {
		t.Errorf("a refused document: exit %d\n%s%s", out.Code, out.Stdout, out.Stderr)
	}
	status := l.Meshctl("rollout", "status")
	if status.Code != 80 || !strings.Contains(status.Stdout, "NO web-odd: RDS orders") || !strings.Contains(status.Stdout, "tr/default/orders@1") {
		t.Errorf("the rollout: exit %d\n%s%s", status.Code, status.Stdout, status.Stderr)
	}
	for _, s := range fleet {
		if now := holding(t, l, s.ID); now != before[s.ID] {
			t.Errorf("%s has changed", s.ID)
		}
		if strings.Contains(string(s.ConfigDump()), "[0-9]{60,90}") {
			t.Errorf("%s still has something of it", s.ID)
		}
	}

	next := applyText(t, l, policyYAML("orders", "\n  timeouts: {request: 5s}"), "--wait", "--timeout", "10s")
	if next.Code != 0 {
		t.Errorf("the next change: exit %d\n%s", next.Code, next.Stderr)
	}
	if out := l.Meshctl("rollout", "diff", fmt.Sprint(good.To.Number)); out.Code != 1 || !strings.Contains(out.Stdout, "+    request: 5s") {
		t.Errorf("diff: exit %d\n%s", out.Code, out.Stdout)
	}
	l.MustMeshctl("rollout", "undo", "--to-revision", fmt.Sprint(good.To.Number), "-w")
	for _, s := range fleet {
		if now := holding(t, l, s.ID); now != before[s.ID] {
			t.Errorf("undo left %s with\n%s\nwant\n%s", s.ID, now, before[s.ID])
		}
	}
	clean(t, load.Finish())
}
