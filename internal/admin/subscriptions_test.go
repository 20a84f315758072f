package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"meshlite.dev/internal/admin"
	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/events/dispatch"
	"meshlite.dev/internal/events/pauses"
)

// subscriptions are two that work, of which one has dead letters, and one that has
// another's queue.
type subscriptions struct {
	paused  map[string]pauses.Pause
	letters []dispatch.DeadLetter
	total   uint64 // more than letters, if over 0
	settled [][]string
	fault   error // of the store and of the queue
	part    int   // settled before the fault
}

func newSubscriptions() *subscriptions {
	s := &subscriptions{paused: map[string]pauses.Pause{}}
	for i := range 150 {
		s.letters = append(s.letters, dispatch.DeadLetter{
			ID: fmt.Sprintf("e/%d?", i), Type: "order.created", Reason: "500 Internal Server Error", At: now, Attempts: 6,
			Event: json.RawMessage(`{"id":"x"}`),
		})
	}
	return s
}

func (s *subscriptions) Status(context.Context) []dispatch.Status {
	mail := dispatch.Subscription{
		Namespace: "shop", Name: "mail", Exchange: "domain_events", Bindings: "order.* stock.#", Service: "mail", Path: "/events",
		Mode: dispatch.Structured, Queue: "shop.mail", QueueType: "quorum", DeadLetter: "shop.mail.dlq", Concurrency: 8,
		Timeout: 5 * time.Second, Attempts: 6, Base: 500 * time.Millisecond, Max: time.Minute,
	}
	quiet, clash := mail, mail
	quiet.Name, clash.Name = "quiet", "clash"
	return []dispatch.Status{
		{Subscription: clash, State: dispatch.Conflicting, Problem: "its queue shop.mail or shop.mail.dlq is that of subscription shop/mail: give it another name"},
		{
			Subscription: mail, State: dispatch.Delivering, Depth: dispatch.Depth{Waiting: 3, Dead: 150, Missed: 1}, Counted: true,
			InFlight: 2, Delivered: 40, Retried: 5, Given: 150, Skipped: 7, LastFailure: "503 Service Unavailable", LastFailureAt: now,
		},
		{Subscription: quiet, State: dispatch.Delivering},
	}
}

func (s *subscriptions) Paused() map[string]pauses.Pause { return s.paused }

func (s *subscriptions) SetPaused(_ context.Context, key string, paused bool, reason string) error {
	if s.fault != nil {
		return s.fault
	}
	delete(s.paused, key)
	if paused {
		s.paused[key] = pauses.Pause{Reason: reason, Since: now}
	}
	return nil
}

func (s *subscriptions) Letters(key string) (dispatch.DeadLetters, dispatch.Subscription, bool) {
	return s, s.Status(context.Background())[1].Subscription, key != "shop/quiet"
}

func (s *subscriptions) Dead(_ context.Context, _ dispatch.Subscription, most int) ([]dispatch.DeadLetter, uint64, error) {
	list := s.letters[:min(most, len(s.letters))]
	return slices.Clone(list), max(s.total, uint64(len(s.letters))), s.fault
}

func (s *subscriptions) settle(ids []string) (int, error) {
	if s.fault != nil {
		return s.part, s.fault
	}
	s.settled = append(s.settled, ids)
	n := 0
	for _, l := range s.letters {
		if ids == nil || slices.Contains(ids, l.ID) {
			n++
		}
	}
	return n, nil
}

func (s *subscriptions) Requeue(_ context.Context, _ dispatch.Subscription, ids []string) (int, error) {
	return s.settle(ids)
}

func (s *subscriptions) Purge(_ context.Context, _ dispatch.Subscription, ids []string) (int, error) {
	return s.settle(ids)
}

func withSubscriptions(t *testing.T, s *subscriptions) http.Handler {
	t.Helper()
	cfg := config(t)
	cfg.Subscriptions = s
	return admin.New(cfg)
}

// answerOf reads an answer that is 200.
func answerOf[T any](t *testing.T, h http.Handler, method, path, body string) (out T) {
	t.Helper()
	w := ask(h, method, "/v1/events/subscriptions"+path, body)
	if w.Code != http.StatusOK {
		t.Fatalf("%s %s: %d\n%s", method, path, w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSubscriptionsAreListedWithWhatTheyDo(t *testing.T) {
	h := withSubscriptions(t, newSubscriptions())
	w := ask(h, http.MethodGet, "/v1/events/subscriptions", "")
	golden(t, "subscriptions.json", w.Body.Bytes())
	one := answerOf[adminapi.Subscription](t, h, http.MethodGet, "/shop/quiet", "")
	if one.Key() != "shop/quiet" || one.Depth != nil || one.LastFailure != nil {
		t.Errorf("got %+v, want shop/quiet, whose queue does not answer", one)
	}
}

func TestASubscriptionIsPausedAndResumed(t *testing.T) {
	s := newSubscriptions()
	h := withSubscriptions(t, s)
	got := answerOf[adminapi.Subscription](t, h, http.MethodPost, "/shop/mail/pause", `{"reason": "the mailer moves", "by": "ada"}`)
	if got.Paused == nil || got.Paused.Reason != "the mailer moves" || !got.Paused.Since.Equal(now) {
		t.Errorf("paused: %+v", got.Paused)
	}
	got = answerOf[adminapi.Subscription](t, h, http.MethodPost, "/shop/mail/resume", `{}`)
	if got.Paused != nil || len(s.paused) != 0 {
		t.Errorf("resumed: %+v, %v", got.Paused, s.paused)
	}
}

func TestDeadLettersAreListedShownAndSettled(t *testing.T) {
	s := newSubscriptions()
	h := withSubscriptions(t, s)
	all := answerOf[adminapi.DeadLetters](t, h, http.MethodGet, "/shop/mail/deadletters", "")
	if len(all.Items) != 100 || all.Total != 150 || all.Queue != "shop.mail.dlq" || all.Items[0].Event != nil || all.Items[0].Reason == "" {
		t.Errorf("%d of %d, the first %+v; want 100 of 150 without their content", len(all.Items), all.Total, all.Items[0])
	}
	if few := answerOf[adminapi.DeadLetters](t, h, http.MethodGet, "/shop/mail/deadletters?limit=2", ""); len(few.Items) != 2 {
		t.Errorf("limit 2: %d", len(few.Items))
	}
	one := answerOf[adminapi.DeadLetters](t, h, http.MethodGet, "/shop/mail/deadletters?id=e%2F149%3F", "")
	if len(one.Items) != 1 || one.Items[0].ID != "e/149?" || string(one.Items[0].Event) == "" {
		t.Errorf("one: %+v", one.Items)
	}
	if n := answerOf[adminapi.DeadLetterResponse](t, h, http.MethodPost, "/shop/mail/deadletters/requeue", `{"ids": ["e/1?", "e/2?", "gone"]}`); n.Count != 2 {
		t.Errorf("requeued %d, want 2", n.Count)
	}
	if n := answerOf[adminapi.DeadLetterResponse](t, h, http.MethodPost, "/shop/mail/deadletters/purge", `{"all": true}`); n.Count != 150 {
		t.Errorf("purged %d, want 150", n.Count)
	}
	if len(s.settled) != 2 || len(s.settled[0]) != 3 || s.settled[1] != nil {
		t.Errorf("the queue was asked for %v", s.settled)
	}
}

func TestWhatCannotBeDoneWithASubscriptionIsSaid(t *testing.T) {
	away := newSubscriptions()
	away.fault, away.part, away.total = errors.New("the broker is away"), 2, 5_000
	for _, tc := range []struct {
		name, path, body string
		broken           bool
		status           int
		says             string
	}{
		{"unknown", "/shop/none", "", false, 404, "no subscription shop/none is in force"},
		{"parameter", "?all=true", "", false, 400, `parameter "all"`},
		{"limit", "/shop/mail/deadletters?limit=1001", "", false, 400, `"1001" cannot be used`},
		{"no number", "/shop/mail/deadletters?limit=all", "", false, 400, `"all" cannot be used`},
		{"no letter", "/shop/mail/deadletters?id=none", "", false, 404, `shop/mail has no dead letter "none"`},
		{"another's letters", "/shop/clash/deadletters", "", false, 409, "the dead letters of shop/clash are another's: its queue shop.mail"},
		{"another's letters, to purge", "/shop/clash/deadletters/purge", `{"all": true}`, false, 409, "are another's"},
		{"gone meanwhile", "/shop/quiet/deadletters", "", false, 404, "no subscription shop/quiet"},
		{"neither", "/shop/mail/deadletters/requeue", `{}`, false, 400, "ids, all: exactly one"},
		{"both", "/shop/mail/deadletters/purge", `{"all": true, "ids": ["a"]}`, false, 400, "ids, all: exactly one"},
		{"an empty id", "/shop/mail/deadletters/purge", `{"ids": ["a", ""]}`, false, 400, "ids[1]: is empty"},
		{"none of them", "/shop/mail/deadletters/purge", `{"ids": ["a"]}`, false, 404, "shop/mail has no such dead letter"},
		{"unknown member", "/shop/mail/deadletters/purge", `{"every": true}`, false, 400, "every"},
		{"long", "/shop/mail/pause", `{"reason": "` + strings.Repeat("a", 1025) + `", "by": "` + strings.Repeat("b", 257) + `"}`, false, 400, "by: is 257 bytes: must be at most 256 of UTF-8\nreason: is 1025 bytes"},
		{"pause of none", "/shop/none/pause", `{}`, false, 404, "no subscription"},
		{"store", "/shop/mail/pause", `{}`, true, 503, "the broker is away"},
		{"queue", "/shop/mail/deadletters", "", true, 503, "the dead-letter queue shop.mail.dlq: the broker is away"},
		{"half way", "/shop/mail/deadletters/requeue", `{"all": true}`, true, 503, "2 dead letters of shop/mail requeued, then: the broker is away"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, method := newSubscriptions(), http.MethodGet
			if tc.broken {
				s = away
			}
			if tc.body != "" {
				method = http.MethodPost
			}
			w := ask(withSubscriptions(t, s), method, "/v1/events/subscriptions"+tc.path, tc.body)
			if got := failureOf(t, w); w.Code != tc.status || !strings.Contains(got.Error, tc.says) {
				t.Errorf("%d %q; want %d %q", w.Code, got.Error, tc.status, tc.says)
			}
		})
	}
}

func TestDoctorTellsOfSubscriptions(t *testing.T) {
	s := newSubscriptions()
	s.paused["shop/mail"] = pauses.Pause{Reason: "the mailer moves", Since: now.Add(-time.Hour)}
	var got adminapi.Doctor
	if err := json.Unmarshal(ask(withSubscriptions(t, s), http.MethodGet, "/v1/doctor", "").Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	found := map[string]adminapi.Check{}
	for _, c := range got.Checks {
		found[c.Name] = c
	}
	for name, want := range map[string]adminapi.Check{
		"subscriptions":        {Status: "error", Message: "shop/clash: its queue shop.mail"},
		"dead letters":         {Status: "warning", Message: "shop/mail has 150"},
		"missed events":        {Status: "warning", Message: "shop/mail has missed 1"},
		"paused subscriptions": {Status: "warning", Message: "shop/mail since 1h0m0s ago: the mailer moves"},
	} {
		if c := found[name]; c.Status != want.Status || !strings.HasPrefix(c.Message, want.Message) || c.Hint == "" {
			t.Errorf("%s: %+v, want %+v", name, c, want)
		}
	}
}

// hanging is a broker that does not answer.
type hanging struct{ *subscriptions }

func (h hanging) Status(ctx context.Context) []dispatch.Status {
	<-ctx.Done()
	return h.subscriptions.Status(ctx)
}

func TestAPageDoesNotWaitForABrokerThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t)
		cfg.Subscriptions = hanging{newSubscriptions()}
		h := admin.New(cfg)
		for _, path := range []string{"/v1/events/subscriptions", "/v1/events/subscriptions/shop/mail", "/v1/doctor"} {
			begin := time.Now()
			if w := ask(h, http.MethodGet, path, ""); w.Code != http.StatusOK || time.Since(begin) > 5*time.Second {
				t.Errorf("%s: %d after %s", path, w.Code, time.Since(begin))
			}
		}
	})
}

func TestASearchSaysHowFarItLooked(t *testing.T) {
	s := newSubscriptions()
	s.total = 5_000
	w := ask(withSubscriptions(t, s), http.MethodGet, "/v1/events/subscriptions/shop/mail/deadletters?id=late", "")
	if got := failureOf(t, w).Error; !strings.Contains(got, "among the oldest 150 of 5000") {
		t.Error(got)
	}
}

func TestWithoutTheRoleSubscriptionsSayWhichFlagIsMissing(t *testing.T) {
	for _, path := range []string{"", "/shop/mail", "/shop/mail/pause", "/shop/mail/deadletters", "/shop/mail/deadletters/purge"} {
		w := ask(admin.New(config(t)), http.MethodPost, "/v1/events/subscriptions"+path, "{}")
		if f := failureOf(t, w); w.Code != http.StatusNotImplemented || !strings.Contains(f.Hint, "--roles xds,admin,events") {
			t.Errorf("%s: %d %+v", path, w.Code, f)
		}
	}
}
