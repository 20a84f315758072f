package app

import (
	"fmt"
	"testing"

	"meshlite.dev/internal/rollout"
	"meshlite.dev/internal/xds/server"
)

func TestUptakeCountsTheConnected(t *testing.T) {
	var proxies []server.Proxy
	for i := range 15 {
		proxies = append(proxies, server.Proxy{Node: server.Node{ID: fmt.Sprint("late-", i)}, Connected: true, Status: server.Stale})
	}
	proxies = append(proxies, server.Proxy{Node: server.Node{ID: "well"}, Connected: true, Status: server.Synced}, server.Proxy{Status: server.Synced},
		server.Proxy{Node: server.Node{ID: "odd"}, Connected: true, Status: server.Error})
	if got := uptakeOf(proxies); got.Connected != 17 || got.Running != 1 || got.Refusing != 1 || len(got.Late) != 10 {
		t.Errorf("%+v", got)
	}
}

func TestWhoRefusesNothingNewIsExcused(t *testing.T) {
	orders, stock := rollout.Refusal{Type: "RDS", Resource: "orders", Message: "too long"}, rollout.Refusal{Type: "CDS", Resource: "stock"}
	inForce := []server.Rejection{{Type: "RDS", Resource: "orders", Message: "too long still"}, {Type: "RDS", Resource: "stock"}}
	if got := already([]rollout.Refusal{orders}, inForce); got != "already refuses what is in force of RDS orders: too long" {
		t.Errorf("of what it refuses already: %q", got)
	}
	if got := already([]rollout.Refusal{orders, stock}, inForce); got != "" {
		t.Errorf("a cluster is new: %q", got)
	}
	if got := already([]rollout.Refusal{orders}, nil); got != "" {
		t.Errorf("nothing is refused in force: %q", got)
	}
}
