package admin

import (
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/xds/server"
)

// Observers tells each of several observers.
type Observers []server.Observer

var _ server.Observer = Observers(nil)

// Connected implements server.Observer.
func (os Observers) Connected(p server.Proxy) {
	for _, o := range os {
		o.Connected(p)
	}
}

// Disconnected implements server.Observer.
func (os Observers) Disconnected(id, cause string) {
	for _, o := range os {
		o.Disconnected(id, cause)
	}
}

// Refused implements server.Observer.
func (os Observers) Refused(cause string) {
	for _, o := range os {
		o.Refused(cause)
	}
}

// Sent implements server.Observer.
func (os Observers) Sent(typ string, resources, removed, bytes int) {
	for _, o := range os {
		o.Sent(typ, resources, removed, bytes)
	}
}

// Acked implements server.Observer.
func (os Observers) Acked(typ string, resources int, took time.Duration) {
	for _, o := range os {
		o.Acked(typ, resources, took)
	}
}

// Rejected implements server.Observer.
func (os Observers) Rejected(id string, r server.Rejection) {
	for _, o := range os {
		o.Rejected(id, r)
	}
}

// Held implements server.Observer.
func (os Observers) Held(id string, h server.Held) {
	for _, o := range os {
		o.Held(id, h)
	}
}

// Observer returns an observer that publishes what happens to proxies.
func (h *Hub) Observer() server.Observer { return hubObserver{hub: h} }

type hubObserver struct {
	server.NopObserver
	hub *Hub
}

func (o hubObserver) Connected(p server.Proxy) {
	o.hub.Publish(adminapi.Event{Type: "proxy.connected", Service: p.Service, Proxy: p.ID, Message: "connected from " + p.Address + ", Envoy " + p.Envoy})
}

func (o hubObserver) Disconnected(id, cause string) {
	o.hub.Publish(adminapi.Event{Type: "proxy.gone", Proxy: id, Message: cause})
}

func (o hubObserver) Rejected(id string, r server.Rejection) {
	o.hub.Publish(adminapi.Event{
		Type: "proxy.error", Service: r.Service, Proxy: id, Policies: r.Policies,
		Message: r.Type + " " + r.Resource + " rejected: " + r.Message + "; the last good version serves",
	})
}
