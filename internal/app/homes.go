package app

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/store"
	"meshlite.dev/internal/tlsconf"
	"meshlite.dev/internal/xds/resource"
)

// homesBoard is where replicas tell each other which reserved hosts they answer
// for: notes of JSON, {"transactions.mesh": "https://10.0.0.7:18002"}, without the
// scheme where it is spoken to in clear text. Each says so for itself, so that
// replicas may take to TLS one after the other.
const homesBoard = "homes"

// overTLS heads an address that is spoken to by TLS.
const overTLS = "https://"

// home is where this replica says that it answers for reserved hosts.
func home(cfg Config, lis *listening) string {
	addr := cmp.Or(cfg.AppAdvertise, lis.addrs().App)
	if cfg.AppTLSCert != "" {
		return overTLS + addr
	}
	return addr
}

// homes leads the proxies to the replicas that answer for a reserved host. Make one
// with newHomes.
type homes struct {
	board   store.Board // nil: there are no other replicas
	cfg     resource.Config
	publish func([]resource.Set)
	ready   <-chan struct{} // nothing is published before the first configuration
	log     *slog.Logger
	// authority is sent along, to prove those that speak TLS; nil: these are left
	// out.
	authority *tlsconf.Bundle

	mu     sync.Mutex
	own    map[string]string            // by host: an address as it stands in a note
	others map[string]map[string]string // likewise, by replica
	served map[string]bool              // hosts that were ever published
	notes  chan []byte                  // has room for the newest
	turn   chan struct{}                // holds one token while something is to be published
}

func newHomes(board store.Board, cfg resource.Config, publish func([]resource.Set), ready <-chan struct{}, log *slog.Logger) *homes {
	return &homes{
		board: board, cfg: cfg, publish: publish, ready: ready, log: log,
		own: map[string]string{}, served: map[string]bool{}, notes: make(chan []byte, 1), turn: make(chan struct{}, 1),
	}
}

// boardOf is that of a shared store; nil without one.
func boardOf(shared sharedStore) store.Board {
	if shared == nil {
		return nil
	}
	return shared
}

// offer says that this replica answers for a host at an address, until withdraw.
func (h *homes) offer(host, addr string) (withdraw func()) {
	h.edit(func() { h.own[host] = addr })
	return func() { h.edit(func() { delete(h.own, host) }) }
}

// edit changes what this replica knows, and makes it known.
func (h *homes) edit(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
	note, err := json.Marshal(h.own)
	if err != nil {
		return // strings alone: it does not happen
	}
	select {
	case <-h.notes: // an older one that nobody took
	default:
	}
	h.notes <- note
	h.again()
}

// again has it published once more.
func (h *homes) again() {
	select {
	case h.turn <- struct{}{}:
	default:
	}
}

// run publishes until ctx ends.
func (h *homes) run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-h.ready:
	}
	var posting sync.WaitGroup
	defer posting.Wait()
	if h.board != nil {
		posting.Go(func() { h.board.Post(ctx, homesBoard, h.notes, h.hear) })
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.turn:
			h.publish(h.sets())
		}
	}
}

// hear takes what the other replicas offer.
func (h *homes) hear(notes map[string][]byte) {
	others := map[string]map[string]string{}
	for replica, raw := range notes {
		var offers map[string]string
		if err := json.Unmarshal(raw, &offers); err != nil {
			h.log.Warn("a replica's note about the hosts it answers for cannot be read", "replica", replica, "err", err)
			continue
		}
		others[replica] = offers
	}
	h.mu.Lock()
	h.others = others
	h.mu.Unlock()
	h.again()
}

// sets are what is published of every host that was ever offered: one without a
// server answers 503, which says more than an unknown host.
func (h *homes) sets() []resource.Set {
	h.mu.Lock()
	defer h.mu.Unlock()
	addrs := map[string][]string{}
	for _, offers := range append(slices.Collect(maps.Values(h.others)), h.own) {
		for host, addr := range offers {
			if mesh.ReservedHost(host) {
				addrs[host], h.served[host] = append(addrs[host], addr), true
			}
		}
	}
	var sets []resource.Set
	for _, host := range slices.Sorted(maps.Keys(h.served)) {
		sets = append(sets, resource.Reserved(h.cfg, host, h.servers(host, addrs[host])))
	}
	return sets
}

// servers sorts addresses by how they are spoken to. One that is told both ways is a
// replica that took to TLS, and the note that it left before.
func (h *homes) servers(host string, addrs []string) resource.Servers {
	var s resource.Servers
	if h.authority != nil {
		s.CA = h.authority.PEM()
	}
	slices.Sort(addrs)
	for _, addr := range slices.Compact(addrs) {
		bare, secure := strings.CutPrefix(addr, overTLS)
		e, ok := serverAt(bare)
		switch {
		case !ok, !secure && slices.Contains(addrs, overTLS+bare):
		case secure:
			s.TLS = append(s.TLS, e)
		default:
			s.Plain = append(s.Plain, e)
		}
	}
	if len(s.TLS) > 0 && s.CA == nil {
		h.log.Warn("a replica answers by TLS, and nothing proves it to the sidecars of this one: set --app-ca here too", "host", host)
	}
	return s
}

func serverAt(addr string) (mesh.Endpoint, bool) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return mesh.Endpoint{}, false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return mesh.Endpoint{ID: addr, Address: host, Port: uint32(n), Weight: 1}, err == nil && net.ParseIP(host) != nil
}
