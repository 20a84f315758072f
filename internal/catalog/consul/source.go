package consul

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"meshlite.dev/internal/catalog"
)

// Source watches one Consul. It implements catalog.Source.
type Source struct {
	client   client
	log      *slog.Logger
	wake     chan struct{} // holds one: the book changed
	confirms *rate.Limiter
	directs  *rate.Limiter

	mu   sync.Mutex
	book *book
}

var _ catalog.Source = (*Source)(nil)

// New returns a source that reads nothing until Run. Its error says which
// setting of the client is wrong.
func New(cfg Config) (*Source, error) {
	c, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	cfg.setDefaults(c.https)
	c.room(cfg.MaxWatches)
	return &Source{
		client: c, log: cfg.Log, book: newBook(cfg),
		wake:     make(chan struct{}, 1),
		confirms: rate.NewLimiter(confirmsPerSecond, confirmsAtOnce),
		directs:  rate.NewLimiter(directPerSecond, directPerSecond/2),
	}, nil
}

// Run watches Consul until ctx ends. Its error, only before the first publish,
// is a token that Consul refuses or misses.
func (s *Source) Run(ctx context.Context, publish func(catalog.Snapshot)) error {
	parent := ctx
	ctx, fail := context.WithCancelCause(parent)
	var crew sync.WaitGroup
	defer s.client.transport.CloseIdleConnections()
	defer crew.Wait()
	defer fail(nil)
	s.change(func(b *book, now time.Time) { b.begin(now) })
	home := func(ctx context.Context) error { return s.followNames(ctx, s.book.home) }
	for _, follow := range []func(context.Context) error{home, s.followDefaults, s.probeToken} {
		crew.Go(func() {
			if err := follow(ctx); err != nil {
				fail(err)
			}
		})
	}
	held := map[string]string{}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			if parent.Err() != nil {
				return nil
			}
			return context.Cause(ctx)
		case <-s.wake:
		case <-timer.C:
		}
		next := s.turn(ctx, &crew, publish, held)
		timer.Reset(next)
	}
}

// turn moves the book on, starts what it asks for, and publishes. It returns
// how long nothing is to be done.
func (s *Source) turn(ctx context.Context, crew *sync.WaitGroup, publish func(catalog.Snapshot), held map[string]string) time.Duration {
	s.mu.Lock()
	now := time.Now()
	hire := s.book.step(now)
	for _, w := range hire {
		wctx, stop := context.WithCancel(ctx)
		w.stop = stop
		crew.Go(func() { s.watch(wctx, w) })
	}
	for _, p := range s.book.open() {
		pctx, stop := context.WithCancel(ctx)
		p.stop = stop
		crew.Go(func() { _ = s.followNames(pctx, p) }) // only the own one's faults are fatal
	}
	for _, name := range s.book.guard.Ask(now, confirmsAtOnce-s.book.asking) {
		s.book.asking++
		ask := s.book.ask(name)
		crew.Go(func() { s.confirm(ctx, ask) })
	}
	var snap catalog.Snapshot
	due := s.book.ready(now) && s.book.ledger.Pending()
	if due {
		snap = s.book.ledger.Publish()
		s.book.published = true
	}
	holds := s.book.guard.Holds(now)
	next := s.book.next(now)
	s.mu.Unlock()
	if due {
		publish(snap)
	}
	s.tell(ctx, holds, held)
	if next.IsZero() {
		return time.Hour
	}
	return max(time.Until(next), time.Millisecond)
}

// tell logs holds that began, changed their reason or ended.
func (s *Source) tell(ctx context.Context, holds []catalog.Hold, told map[string]string) {
	now := make(map[string]bool, len(holds))
	for _, h := range holds {
		now[h.Service] = true
		if told[h.Service] != h.Reason {
			told[h.Service] = h.Reason
			s.log.WarnContext(ctx, "catalog loss not believed; instances are kept", "service", h.Service, "lost", len(h.Lost), "reason", h.Reason)
		}
	}
	for name := range told {
		if !now[name] {
			delete(told, name)
			s.log.InfoContext(ctx, "catalog hold ended", "service", name)
		}
	}
}

// change edits the book and lets Run look at it.
func (s *Source) change(edit func(*book, time.Time)) {
	s.mu.Lock()
	edit(s.book, time.Now())
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Status tells how fresh each part is.
func (s *Source) Status() catalog.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.book.status(time.Now(), s.client.address)
}

// Accept believes Consul about the named services, or all, at once.
func (s *Source) Accept(names []string, all bool) (accepted []string) {
	s.change(func(b *book, now time.Time) {
		accepted = b.guard.Accept(names, all)
		b.compose(now, accepted...)
	})
	return accepted
}
