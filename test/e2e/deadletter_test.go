//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/test/lab"
)

// TestPeopleSettleDeadLetters with meshctl, of a log and of a broker alike.
func TestPeopleSettleDeadLetters(t *testing.T) {
	t.Parallel()
	eachQueue(t, func(t *testing.T, l *lab.Lab, flags []string) {
		p := newProjector(t, l, "projector")
		l.Policies.Write("projector.yaml", ordersTo("projector", "  ordered: true\n  delivery: {attempts: 2, backoff: {base: 10ms, max: 10ms}}\n"))
		_, client := dispatching(t, l, flags...)
		untilSubscribed(t, client, p)
		p.set(func(w http.ResponseWriter, _ *http.Request, _ string) {
			http.Error(w, "no stamps", http.StatusInternalServerError)
		})
		for _, id := range []string{"a/1?", "b", "c"} {
			if status, answer, err := publish(client, fmt.Sprintf(`{"type":"order.created","id":%q,"source":"/shop","data":{"order":7}}`, id)); err != nil || status != http.StatusAccepted {
				t.Fatal(status, answer, err)
			}
		}
		dlq := func(args ...string) lab.Output { return l.Meshctl(append([]string{"events", "dlq"}, args...)...) }
		lists := func(want string) {
			t.Helper()
			lab.Until(t, 30*time.Second, "the dead letters are "+want, func() error {
				if out := dlq("list", "projector", "-o", "name"); out.Code != 0 || strings.Join(strings.Fields(out.Stdout), " ") != want {
					return fmt.Errorf("exit %d: %q %s", out.Code, out.Stdout, out.Stderr)
				}
				return nil
			})
		}
		does := func(want string, args ...string) {
			t.Helper()
			if out := dlq(args...); out.Code != 0 || !strings.Contains(out.Stdout, want) {
				t.Errorf("dlq %v: exit %d, %q %s; want %q", args, out.Code, out.Stdout, out.Stderr, want)
			}
		}
		lists("a/1? b c")
		does("attempt 2 of 2: 500 Internal Server Error: no stamps", "show", "projector", "a/1?")
		does("attempts       2", "show", "projector", "b")
		if out := l.Meshctl("doctor"); out.Code != 79 || !strings.Contains(out.Stdout, "default/projector has 3") {
			t.Errorf("doctor: exit %d\n%s", out.Code, out.Stdout)
		}
		p.set(nil)
		does("1 dead letter of default/projector requeued", "requeue", "projector", "a/1?")
		p.until(t, "a/1?", 3)
		lists("b c")
		does("1 dead letter of default/projector purged", "purge", "projector", "c")
		lists("b")
		if out := dlq("purge", "projector", "--all"); out.Code != 64 {
			t.Errorf("purge of all without a word: exit %d", out.Code)
		}
		does("1 dead letter of default/projector purged", "purge", "projector", "--all", "--yes")
		lists("")
		if n := p.calls("b") + p.calls("c"); n != 4 {
			t.Errorf("purged ones were delivered: %d calls, want the 4 that failed", n)
		}
	})
}

// TestASubscriptionSaysThatItsBrokerIsAway in its conditions, and that it is back.
func TestASubscriptionSaysThatItsBrokerIsAway(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	rabbit := l.StartRabbit()
	p := newProjector(t, l, "projector")
	l.Policies.Write("projector.yaml", ordersTo("projector", ""))
	s, client := dispatching(t, l, "--events", "amqp", "--amqp-url", rabbit.URL(""))
	untilSubscribed(t, client, p)
	programmed := func(want string) {
		t.Helper()
		took := lab.Until(t, 60*time.Second, "Programmed is "+want, func() error {
			var doc adminapi.PolicyDetail
			s.Get("/v1/policies/EventSubscription/default/projector", &doc)
			for _, c := range doc.Conditions {
				if c.Type == "Programmed" && c.Status+"/"+c.Reason == want {
					return nil
				}
			}
			return fmt.Errorf("%+v", doc.Conditions)
		})
		t.Logf("%s after %s", want, took.Round(10*time.Millisecond))
	}
	programmed("True/Programmed")
	rabbit.Kill()
	programmed("False/Interrupted")
	if out := l.Meshctl("events", "subscription", "list"); out.Code != 0 || !strings.Contains(out.Stdout, "Interrupted") {
		t.Errorf("list: exit %d\n%s%s", out.Code, out.Stdout, out.Stderr)
	}
	if out := l.Meshctl("events", "dlq", "list", "projector"); out.Code != 1 || !strings.Contains(out.Stderr, "projector.dlq") {
		t.Errorf("dlq list: exit %d\n%s%s", out.Code, out.Stdout, out.Stderr)
	}
	rabbit.Start()
	programmed("True/Programmed")
	untilSubscribed(t, client, p)
}
