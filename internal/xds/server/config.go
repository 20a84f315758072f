package server

import (
	"context"
	"log/slog"
	"time"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/xds/cache"
	"meshlite.dev/internal/xds/resource"
)

// Config is what a Server needs. Store is required; zero durations and sizes
// stand for the values of Default.
type Config struct {
	Store *cache.Store

	// Listeners returns the listeners of a proxy, a pure function of its
	// profile. Called once per stream. Nil serves those of the store alone.
	Listeners func(resource.Profile) []*resource.Resource

	// Upstream tells what is known of a service behind a local port of a
	// proxy, to complete its profile. Nil leaves HTTP1 and no destination.
	Upstream func(caller, service string) (mesh.Protocol, *mesh.Destination)

	// Synthesize answers for a name that the index lacks: the endpoints of a
	// local cluster that the catalog does not know, the route configuration of
	// a configured upstream. Nil, or a nil answer, leaves the name unanswered
	// until it exists. A pure function.
	Synthesize func(typeURL, name string) *resource.Resource

	// Authorize refuses a stream by the service its node claims
	// (node.cluster); the error's text reaches the proxy with
	// PERMISSION_DENIED. Nil lets everybody in.
	Authorize func(ctx context.Context, service string) error

	// Capabilities are the fields that are kept from proxies whose Envoy is too
	// old to know them. Nil is mesh.Capabilities.
	Capabilities []mesh.Capability

	Observer Observer
	Log      *slog.Logger // nil is silent

	GateDeadline time.Duration // how long a route may wait before it is reported; default 5s
	// Linger is how long a cluster that is removed stays once no route leads to
	// it: a request that waits between its route and its cluster, for a delay or
	// its next try, would be answered 503. Default 30s; below zero: not at all.
	Linger time.Duration

	// WaveRate is how many proxies a second take a change of a cluster that they
	// have, which closes their connections to it. A fleet of up to 50 takes it at
	// once, a larger one over at least 10 s. Default 50; below zero: at once.
	WaveRate int

	SendTimeout time.Duration // a send that takes longer ends the stream; default 20s
	Remember    time.Duration // how long a gone proxy stays in the ledger; default 1h
	DrainPeriod time.Duration // over which Drain spreads the closing of streams; default 2s

	BatchBytes int     // a response grows no larger, a single resource apart; default 1 MiB
	Window     int     // unproven responses a type may have under way on a stream; default 32
	MaxNames   int     // subscribed names per stream; default 100,000
	MaxStreams int     // streams at a time; default 20,000
	StreamRate float64 // new streams per second; default 1,000
	Burst      int     // new streams at once; default 2,000
}

// Default returns the values of fields that are zero.
func Default() Config {
	return Config{
		GateDeadline: 5 * time.Second,
		Linger:       30 * time.Second,
		WaveRate:     50,
		SendTimeout:  20 * time.Second,
		Remember:     time.Hour,
		DrainPeriod:  2 * time.Second,
		BatchBytes:   1 << 20,
		Window:       32,
		MaxNames:     100_000,
		MaxStreams:   20_000,
		StreamRate:   1000,
		Burst:        2000,
	}
}

func (c Config) withDefaults() Config {
	d := Default()
	or(&c.GateDeadline, d.GateDeadline)
	or(&c.Linger, d.Linger)
	or(&c.WaveRate, d.WaveRate)
	or(&c.SendTimeout, d.SendTimeout)
	or(&c.Remember, d.Remember)
	or(&c.DrainPeriod, d.DrainPeriod)
	or(&c.BatchBytes, d.BatchBytes)
	or(&c.Window, d.Window)
	or(&c.MaxNames, d.MaxNames)
	or(&c.MaxStreams, d.MaxStreams)
	or(&c.StreamRate, d.StreamRate)
	or(&c.Burst, d.Burst)
	if c.Capabilities == nil {
		c.Capabilities = mesh.Capabilities()
	}
	if c.Observer == nil {
		c.Observer = NopObserver{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func or[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}
