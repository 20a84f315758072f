// Package consul reads the service catalog of a Consul and fills the port
// catalog.Source. It is the only package that knows Consul's types.
//
// Every service in use has one goroutine and one blocking query; a further
// one follows the names, one the protocols of service-defaults, one asks each
// minute whether the token still stands. All of them write into one book
// under one lock; Run's goroutine alone publishes.
//
// What Consul says is believed as long as it adds. An answer that loses an
// instance is a suspicion, because a read with an index neither fails for a
// token without rights nor says that results were filtered: catalog.Guard
// keeps the old set until a read without index, consistent and unfiltered,
// confirms the loss. A Consul that was restored or rebuilt shows in an index
// that goes backwards, or in another trust domain, and confirms nothing.
package consul

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"meshlite.dev/internal/catalog"
)

// Config says which Consul is read, and how. The zero value reads all
// services of the agent that CONSUL_HTTP_ADDR names, else of 127.0.0.1:8500.
type Config struct {
	// Addr is HOST:PORT or a URL. Token, TLS and namespace come from Consul's
	// own environment variables (CONSUL_HTTP_TOKEN, CONSUL_CACERT,
	// CONSUL_NAMESPACE and their like), which Consul's client reads itself.
	Addr  string
	Token string // instead of CONSUL_HTTP_TOKEN
	// Services are the only ones served of the own datacenter; empty means
	// every plain service.
	Services []string
	// MaxWatches is how many services are watched at most; 0 means 150 on
	// plain HTTP, where an agent grants a client 200 connections, and 5,000 on
	// HTTPS, whose HTTP/2 shares connections.
	MaxWatches int
	// DrainGrace is how long an instance in maintenance is kept as DRAINING;
	// default 30 s.
	DrainGrace time.Duration
	// Linger is how long a service is kept that is empty and has left the name
	// list, as its last instance may be restarting, or that no route wants any
	// more; default 30 s.
	Linger time.Duration
	// LastGood is what an earlier run published; it stands in for services
	// that do not answer within FirstAnswer. Zero: none.
	LastGood catalog.LastGood
	// FirstAnswer is how long a service may take to answer; default 10 s.
	FirstAnswer time.Duration
	Log         *slog.Logger
}

// Limits of watches, and measures that nobody needed to change so far.
const (
	plainWatches = 150
	tlsWatches   = 5000

	waitService = 60 * time.Second // of a blocking query
	waitNames   = 3 * time.Second  // short: the name list is also the pulse that notices a restore or a weakened token
	waitAbroad  = 10 * time.Second // the same of another datacenter
	slack       = 15 * time.Second // Consul adds up to wait/16; a connection that is dead says nothing
	answerIn    = 10 * time.Second // for a read that does not block
	probeEvery  = time.Minute      // of the token
	seedAge     = 10 * time.Minute // younger last known good holds Consul to its word from the first answer
	settle      = 100 * time.Millisecond

	confirmsPerSecond = 50
	confirmsAtOnce    = 16
	directPerSecond   = 1000 // first reads at the start, and re-reads after a restore
)

// ErrToken reports that Consul refuses the token, or wants one.
var ErrToken = errors.New("consul: token")

func (c *Config) setDefaults(https bool) {
	if c.DrainGrace == 0 {
		c.DrainGrace = 30 * time.Second
	}
	if c.Linger == 0 {
		c.Linger = 30 * time.Second
	}
	if c.FirstAnswer == 0 {
		c.FirstAnswer = 10 * time.Second
	}
	if c.MaxWatches == 0 {
		c.MaxWatches = plainWatches
		if https {
			c.MaxWatches = tlsWatches
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// client is Consul's client with what its Config no longer tells.
type client struct {
	api       *api.Client
	transport *http.Transport
	address   string
	https     bool
	token     bool // one is configured
}

func newClient(c Config) (client, error) {
	cfg := api.DefaultConfig()
	if c.Addr != "" {
		cfg.Address = c.Addr
	}
	if c.Token != "" {
		cfg.Token, cfg.TokenFile = c.Token, ""
	}
	out := client{transport: cfg.Transport, address: cfg.Address, token: cfg.Token != "" || cfg.TokenFile != ""}
	out.https = cfg.Scheme == "https" || strings.HasPrefix(cfg.Address, "https://")
	var err error
	if out.api, err = api.NewClient(cfg); err != nil {
		return client{}, fmt.Errorf("set up the client for Consul at %s: %w", cfg.Address, err)
	}
	return out, nil
}

// room lets as many connections stand as there are watches, and a few for the
// other reads: more would meet the agent's own limit as refusals.
func (c client) room(watches int) {
	const others = 40
	c.transport.MaxIdleConns = 0
	c.transport.MaxIdleConnsPerHost = watches + others
	if !c.https {
		c.transport.MaxConnsPerHost = watches + others
	}
}
