package app

import (
	"io"
	"os"

	"meshlite.dev/internal/xds/resource"
)

// Option changes what no flag reaches; tests and embedders use them.
type Option func(*options)

type options struct {
	logs    io.Writer
	started func(Addrs)
	mutate  func(name string, message any)
}

// Addrs are the addresses that were bound, ports filled in.
type Addrs struct{ XDS, Admin, App string }

// WithLogWriter sends the log to w instead of standard error.
func WithLogWriter(w io.Writer) Option { return func(o *options) { o.logs = w } }

// WithStarted calls f once every socket is bound, before the first proxy is
// served; with port 0 in the settings f learns the real one.
func WithStarted(f func(Addrs)) Option { return func(o *options) { o.started = f } }

// WithMutate edits every message of the model before it is validated and
// marshalled: the way to see how a fleet refuses what our validation lets
// through.
func WithMutate(f func(name string, message any)) Option { return func(o *options) { o.mutate = f } }

func optionsOf(opts []Option) options {
	o := options{logs: os.Stderr, started: func(Addrs) {}}
	for _, set := range opts {
		set(&o)
	}
	return o
}

func (o options) resourceConfig(egress resource.Egress) resource.Config {
	return resource.Config{Egress: egress, Mutate: o.mutate}
}
