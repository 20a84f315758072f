package report

import (
	"time"

	"meshlite.dev/internal/xds/server"
)

// Observer returns an observer that has the fleet surveyed when something about
// it changes. of returns the reporter, nil until there is one: the stream server
// that it asks is made with this observer.
func Observer(of func() *Reporter) server.Observer { return observer{of: of} }

type observer struct {
	server.NopObserver
	of func() *Reporter
}

func (o observer) poke() {
	if r := o.of(); r != nil {
		r.Proxies()
	}
}

func (o observer) Connected(server.Proxy) { o.poke() }

func (o observer) Disconnected(string, string) { o.poke() }

func (o observer) Rejected(string, server.Rejection) { o.poke() }

// Acked leaves endpoints out, which come all the time and from no policy.
func (o observer) Acked(typ string, _ int, _ time.Duration) {
	if typ != "EDS" {
		o.poke()
	}
}
