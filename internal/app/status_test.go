package app

import (
	"fmt"
	"testing"
	"time"

	"meshlite.dev/internal/admin"
	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/policy"
)

// Statuses are worked out anew when services and policies change, and not when
// instances do.
func TestInstancesDoNotRestateDocuments(t *testing.T) {
	c := compile.New(compile.Default())
	at := time.Unix(1, 0)
	publish := func(changed []string, services ...*catalog.Service) admin.State {
		at = at.Add(time.Second)
		return admin.State{Result: c.Update(snapshotOf(changed, services...), policy.Revision{}), At: at}
	}
	first := publish([]string{"a"}, serviceWith("a", 1))
	if !restated(admin.State{}, first) {
		t.Error("the first state is news")
	}
	for i, tc := range []struct {
		changed  []string
		services []*catalog.Service
		want     bool
	}{
		{[]string{"a"}, []*catalog.Service{serviceWith("a", 3)}, false},
		{[]string{"b"}, []*catalog.Service{serviceWith("a", 3), serviceWith("b", 1)}, true},
		{[]string{"a"}, []*catalog.Service{serviceWith("b", 1)}, true},
		{[]string{"b"}, []*catalog.Service{{Name: "b", Namespace: "shop", Protocol: "http2", Synced: true}}, true},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			next := publish(tc.changed, tc.services...)
			if got := restated(first, next); got != tc.want {
				t.Errorf("restated = %v, want %v", got, tc.want)
			}
			first = next
		})
	}
}
