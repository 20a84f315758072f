package readiness_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"meshlite.dev/internal/admin/readiness"
)

func TestP12ReadinessLatches(t *testing.T) {
	l := readiness.New(nil, 0, "catalog", "policies")
	want := func(why string, s readiness.State) {
		t.Helper()
		if diff := cmp.Diff(s, l.State(), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s:\n%s", why, diff)
		}
	}
	want("at the start", readiness.State{Waiting: []string{"catalog", "policies"}})
	l.Done("policies")
	l.Done("policies")
	want("one part has come", readiness.State{Waiting: []string{"catalog"}})
	l.Done("catalog")
	want("all have come", readiness.State{Ready: true})
	l.Alarm("catalog", "connection refused")
	want("an outage is an alarm and no more", readiness.State{Ready: true, Alarms: []string{"catalog: connection refused"}})
	l.Alarm("catalog", "")
	want("the alarm ends", readiness.State{Ready: true})
	l.Stop()
	want("the end", readiness.State{Waiting: []string{"nothing: the server is stopping"}})
}

func TestOnlyTheReplicasOwnLagMakesItUnready(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pending := time.Now()
		l := readiness.New(func() time.Duration { return time.Since(pending) }, 30*time.Second)
		<-time.After(30 * time.Second)
		if !l.Ready() {
			t.Fatal("unready within the bound")
		}
		<-time.After(2 * time.Second)
		if s := l.State(); s.Ready || s.Waiting[0] != "the builder, which is 32s behind" {
			t.Fatalf("state = %+v, want unready and why", s)
		}
		pending = time.Now()
		if !l.Ready() {
			t.Fatal("unready though the builder has caught up")
		}
	})
}
