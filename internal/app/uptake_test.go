package app

import (
	"fmt"
	"testing"

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
