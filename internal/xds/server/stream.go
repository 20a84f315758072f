package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"meshlite.dev/internal/xds/cache"
)

// stream is one connected proxy. Its handler waits for the end; one goroutine
// receives and edits the state under mu, one flushes and sends without it, so
// that a proxy that does not read stops nobody but itself.
type stream struct {
	srv   *Server
	wire  wire
	sotw  bool
	addr  string
	since time.Time
	watch *cache.Watch

	// Written before the first flush, constant afterwards.
	node  Node
	bit   uint64 // of the build, in what items learn
	fit   fit
	proxy *proxy

	mu        sync.Mutex
	from      *cache.Store // whose index seen is
	seen      *cache.Index // what a name without a note was brought to
	kinds     [cache.Kinds]kindState
	listeners map[string]*cache.Item // of the profile; nil until asked for
	gates     map[string]gate        // clusters that routes wait for
	inflight  []*sent                // oldest first
	polls     []*poll                // the first is on; see Poll
	nonces    uint64
	waiting   bool // a name is due and could not be sent
	deadline  *time.Timer
	events    []func() // to be called without mu

	settled bool // has once had all that it asked for; see Survey
	gone    bool // the watch is closed

	once    sync.Once
	done    chan struct{}
	flushed chan struct{} // closed when nothing is sent any more
	err     error
}

// kindState is one type on one stream.
type kindState struct {
	asked  bool // a request has come
	all    bool // wildcard, named or legacy
	named  bool // names were given once: an empty list means none (state of the world)
	fresh  bool // the first request brought nothing along
	first  bool // the first answer is owed
	repush bool // the first answer carries everything, whatever was brought
	again  bool // the set is to be sent again (state of the world)
	trial  int  // suspects under way, one at a time (state of the world)
	own    int  // unproven responses under way
	count  int  // names that the proxy has, acknowledged or not

	last      string // newest nonce sent (state of the world)
	notes     map[string]*note
	sent, ack time.Time
}

func newStream(s *Server, w wire, sotw bool, addr string) *stream {
	return &stream{srv: s, wire: w, sotw: sotw, addr: addr, since: time.Now(),
		done: make(chan struct{}), flushed: make(chan struct{})}
}

// close ends the stream with err, once.
func (st *stream) close(err error) {
	st.once.Do(func() {
		st.err = err
		close(st.done)
	})
}

// run serves the stream until it ends and returns the error for the proxy. The
// two goroutines end soon after; the server waits for them when it drains.
func (st *stream) run(ctx context.Context) error {
	st.srv.goroutines.Add(1)
	go st.receiveAll(ctx)
	<-st.done
	return st.err
}

func (st *stream) receiveAll(ctx context.Context) {
	defer st.srv.goroutines.Done()
	req, err := st.open(ctx)
	if err != nil {
		st.close(err)
		return
	}
	defer st.srv.leave(st)
	go st.flushAll()
	for err == nil {
		if err = st.handle(req); err == nil {
			req, err = st.wire.receive()
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil // the proxy said goodbye
	}
	st.close(err)
}

// open reads the first message, which alone carries the node.
func (st *stream) open(ctx context.Context) (*request, error) {
	late := time.AfterFunc(st.srv.cfg.SendTimeout, func() {
		st.close(status.Error(codes.DeadlineExceeded, "no request came"))
	})
	req, err := st.wire.receive()
	late.Stop()
	if err != nil {
		return nil, err
	}
	if st.node, err = ParseNode(req.node); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if auth := st.srv.cfg.Authorize; auth != nil {
		if err := auth(ctx, st.node.Service); err != nil {
			st.srv.refuse("unauthorized")
			st.srv.cfg.Log.WarnContext(ctx, "proxy refused", "node", st.node.ID, "service", st.node.Service, "err", err)
			return nil, status.Error(codes.PermissionDenied, err.Error())
		}
	}
	req.node = nil // tens of kilobytes
	st.watch = st.srv.cfg.Store.Watch(st.node.Service)
	st.from = st.source()
	st.seen = st.from.Index()
	st.srv.join(st)
	return req, nil
}

// flushAll sends what is due whenever something is.
func (st *stream) flushAll() {
	defer close(st.flushed)
	stuck := time.AfterFunc(time.Hour, func() {
		st.srv.cfg.Log.Warn("stream closed: the proxy does not read", slog.String("node", st.node.ID))
		st.close(status.Error(codes.DeadlineExceeded, "the proxy does not read"))
	})
	stuck.Stop()
	defer stuck.Stop()
	for {
		select {
		case <-st.done:
			return
		case <-st.watch.C:
		}
		for _, r := range st.flush() {
			stuck.Reset(st.srv.cfg.SendTimeout)
			r.fit = st.fit
			err := st.wire.send(r)
			stuck.Stop()
			if err != nil {
				st.close(err)
				return
			}
			st.srv.cfg.Observer.Sent(r.kind.String(), len(r.items), len(r.removed), r.size())
		}
	}
}

// tell queues a call for after the lock.
func (st *stream) tell(f func()) { st.events = append(st.events, f) }

// unlock releases mu and makes the queued calls.
func (st *stream) unlock() {
	events := st.events
	st.events = nil
	st.mu.Unlock()
	for _, f := range events {
		f()
	}
}

// handle takes one request.
func (st *stream) handle(req *request) error {
	k, ok := cache.KindOf(req.typeURL)
	if !ok {
		st.srv.cfg.Log.Debug("type not served", slog.String("node", st.node.ID), slog.String("type_url", req.typeURL))
		return nil
	}
	st.mu.Lock()
	defer st.unlock()
	st.advance()
	if k == cache.LDS && st.listeners == nil {
		st.makeListeners()
	}
	if st.sotw {
		st.handleSotW(k, req)
	} else {
		st.handleDelta(k, req)
	}
	if n := st.watch.Count(k); n > st.srv.cfg.MaxNames {
		return status.Errorf(codes.ResourceExhausted, "%d names subscribed, at most %d are served", n, st.srv.cfg.MaxNames)
	}
	return nil
}

// makeListeners asks once for the listeners of the profile.
func (st *stream) makeListeners() {
	st.listeners = map[string]*cache.Item{}
	if st.srv.cfg.Listeners == nil {
		return
	}
	for _, r := range st.srv.cfg.Listeners(st.node.Profile(st.srv.cfg.Upstream)) {
		if item, ok := cache.NewItem(r, st.since); ok {
			st.listeners[r.Name] = item
		}
	}
}
