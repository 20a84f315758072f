// Package catalog is the port through which the control plane sees services
// and their instances, and the guard that keeps a lying or failing source from
// taking working endpoints away. The adapters consul and file fill the port;
// catalogtest holds the contract that both pass.
package catalog

import (
	"context"
	"time"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/pmap"
)

// Source reports the whole catalog whenever it changes. Run may be called
// once; it calls publish from one goroutine at a time, never with a part of
// the catalog, and never keeps what it published to change it later: a failed
// read is counted and retried, the old state stays. It returns nil once ctx
// ends, and an error only for faults that waiting cannot cure, such as a
// folder that does not exist or a refused token at the start.
type Source interface {
	Run(ctx context.Context, publish func(Snapshot)) error
	// Status tells how fresh each part is. It may be called at any time.
	Status() Status
	// Accept ends the guard's hold on the named services, or on all: the
	// catalog's own word then counts, whatever it takes away.
	Accept(names []string, all bool) (accepted []string)
}

// Snapshot is the whole catalog at one moment, immutable.
type Snapshot struct {
	Services pmap.Map[*Service]
	// Changed names the services that differ from the snapshot published
	// before (added, changed, removed), sorted. The first snapshot names all.
	Changed []string
	// Datacenter is the own, whose services go without its name; "" where the
	// source knows of none.
	Datacenter string
	// Problems are what the source skipped or had to choose.
	Problems []mesh.Finding
}

// Service is one service as its source describes it.
type Service struct {
	Name      string // a DNS label, or mesh.ServiceKey of one for another datacenter's: "orders@dc2"
	Namespace string // "" where neither meta nor mapping says one
	Protocol  mesh.Protocol
	Synced    bool // false: the source has not answered for it yet, Endpoints mean nothing
	// Endpoints are sorted as in mesh.Service; an empty list of a synced
	// service is the truth.
	Endpoints   []mesh.Endpoint
	HealthCheck *mesh.HealthCheck // the catalog's own check for Envoy to run (file catalog only)
	Meta        map[string]string // service-level meta that Meshlite reads, e.g. mesh-transactions
}

// Status is a source's account of itself.
type Status struct {
	Kind      string // "consul" or "file"
	Address   string // where it reads: HOST:PORT or a folder
	Connected bool   // the last read of the name list succeeded
	LastError string
	Stale     bool // serving last known good: no successful read since the start
	Watches   []Watch
	Holds     []Hold
	// Skipped names what is in the source and not served, with the reason.
	Skipped []Skipped
	// Notes are hints for doctor (token rights, connection limits).
	Notes []mesh.Finding
}

// Watch is the freshness of one service, or of a name list: "" is the own
// datacenter's, "@dc2" that of another.
type Watch struct {
	Service   string
	LastRead  time.Time // last successful answer; zero: none yet
	Index     uint64    // Consul's index
	LastError string
}

// Hold is a loss that the guard does not believe yet.
type Hold struct {
	Service string
	Lost    []string // instance ids that the source no longer names
	Reason  string   // "mass loss", "index went backwards", "confirming read refused: …"
	Since   time.Time
	Expires time.Time // when a confirming read alone will do; zero: only Accept
}

// Skipped is a name that is not served.
type Skipped struct{ Name, Reason, Hint string }
