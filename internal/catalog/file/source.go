// Package file reads services from a folder of Consul service definitions,
// JSON and HCL, and fills the port catalog.Source. A definition needs an
// address; every instance passes, and its HTTP, TCP or gRPC check is made by
// the callers' Envoys. An instance whose meta says datacenter belongs to that
// datacenter's service of the name.
//
// The folder is read as one state. A file that is broken keeps what it held
// last; what disappears is read twice and meets the guard; a folder that
// cannot be read changes nothing.
package file

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
)

// Config says which folder is read. Dir is needed.
type Config struct {
	Dir string
	// Services are the only ones served of the own datacenter; empty means all.
	Services []string
	// LastGood is what an earlier run published: it holds the folder to its
	// word when it is young, or when a file is broken at the start.
	LastGood catalog.LastGood
	// Rescan is how often the folder is looked at without being told of a
	// change; default 5 s.
	Rescan time.Duration
	Log    *slog.Logger
}

// Measures of reading.
const (
	quiet   = 50 * time.Millisecond  // without a change, before a folder is read
	atMost  = 500 * time.Millisecond // a folder that never rests is read all the same
	twiceIn = 150 * time.Millisecond // between a loss and the reading that confirms it
	seedAge = 10 * time.Minute       // of last known good that holds the folder to its word
)

// Source watches one folder. It implements catalog.Source.
type Source struct {
	cfg  Config
	log  *slog.Logger
	wake chan struct{} // holds one: Accept changed something

	mu       sync.Mutex
	guard    *catalog.Guard
	ledger   catalog.Ledger
	contents contents
	said     catalogue // the latest reading
	print    string
	readings uint64
	readAt   time.Time
	lastErr  string
	vanished bool // the folder could not be read since
	blind    bool // some file has never been right
	before   map[string]*catalog.Service
}

var _ catalog.Source = (*Source)(nil)

// New returns a source that reads nothing until Run.
func New(cfg Config) (*Source, error) {
	if cfg.Dir == "" {
		return nil, errors.New("the file catalog needs a folder of service definitions")
	}
	cfg.Dir = filepath.Clean(cfg.Dir)
	if cfg.Rescan == 0 {
		cfg.Rescan = 5 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Source{cfg: cfg, log: cfg.Log, wake: make(chan struct{}, 1), guard: catalog.NewGuard(catalog.GuardConfig{}), before: map[string]*catalog.Service{}}
	return s, nil
}

// Read reads a folder once, as a source does that knows nothing yet. What is
// wrong with its files stands in the snapshot's Problems.
func Read(ctx context.Context, dir string) (catalog.Snapshot, error) {
	s, err := New(Config{Dir: dir})
	if err == nil {
		err = s.first(ctx)
	}
	if err != nil {
		return catalog.Snapshot{}, err
	}
	return s.ledger.Publish(), nil
}

// Run reads the folder and follows its changes until ctx ends. Its error is a
// folder that cannot be read at the start.
func (s *Source) Run(ctx context.Context, publish func(catalog.Snapshot)) error {
	hints, stop := s.follow(ctx)
	defer stop()
	if err := s.first(ctx); err != nil {
		return err
	}
	rescan := time.NewTicker(s.cfg.Rescan)
	defer rescan.Stop()
	confirm := time.NewTimer(time.Hour)
	defer confirm.Stop()
	for {
		s.mu.Lock()
		due := s.ledger.Pending()
		var snap catalog.Snapshot
		if due {
			snap = s.ledger.Publish()
		}
		next, waits := s.guard.Next(true)
		s.mu.Unlock()
		if due {
			publish(snap)
		}
		wait := time.Hour
		if waits {
			wait = max(time.Until(next), twiceIn)
		}
		confirm.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-confirm.C:
			s.look(ctx, true)
		case <-rescan.C:
			s.look(ctx, false)
		case <-hints:
			settled(ctx, hints)
			s.look(ctx, false)
		}
	}
}

// settled waits until no change has been told for a while.
func settled(ctx context.Context, hints <-chan struct{}) {
	end := time.After(atMost)
	for {
		select {
		case <-hints:
		case <-time.After(quiet):
			return
		case <-end:
			return
		case <-ctx.Done():
			return
		}
	}
}

// first reads the folder at the start.
func (s *Source) first(ctx context.Context) error {
	f, err := s.read(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.contents.take(f)
	if now.Sub(s.cfg.LastGood.At) < seedAge || len(s.contents.blank()) > 0 {
		for _, g := range s.cfg.LastGood.Services {
			if served(g.Name, s.cfg.Services) {
				s.before[g.Name] = g
				s.guard.Seed(g.Name, g.Endpoints)
			}
		}
	}
	s.take(now, f, catalog.Unconfirmed)
	return nil
}

// read reads the folder, again while it changes.
func (s *Source) read(ctx context.Context) (f folder, err error) {
	const tries = 10
	for range tries {
		if f, err = readFolder(s.cfg.Dir); !errors.Is(err, errMoving) {
			return f, err
		}
		select {
		case <-ctx.Done():
			return folder{}, ctx.Err()
		case <-time.After(quiet):
		}
	}
	return f, err
}

// look reads the folder when it may have changed, or to confirm a loss.
func (s *Source) look(ctx context.Context, confirm bool) {
	if !confirm {
		print, _, err := fingerprint(s.cfg.Dir)
		s.mu.Lock()
		same := err == nil && print == s.print && s.lastErr == ""
		if same {
			s.readAt = time.Now()
		}
		s.mu.Unlock()
		if same {
			return
		}
	}
	f, err := s.read(ctx)
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if err != nil {
		s.fail(now, err)
		return
	}
	trust := catalog.Unconfirmed
	if confirm {
		trust = catalog.Confirmed
		s.guard.Ask(now, len(s.before))
	}
	s.contents.take(f)
	s.take(now, f, trust)
}

// fail notes a folder that cannot be read; everything stays.
func (s *Source) fail(now time.Time, err error) {
	if s.lastErr != err.Error() {
		s.log.Warn("catalog folder not read; what is known stays", "dir", s.cfg.Dir, "err", err)
	}
	s.lastErr = err.Error()
	if !errors.Is(err, errMoving) {
		s.vanished = true
	}
	for _, name := range s.guard.Ask(now, len(s.before)) {
		s.guard.Observe(now, catalog.Answer{Service: name, Trust: catalog.Refused, Reason: s.lastErr})
	}
}

// take brings guard and ledger to a reading. Losses beside a file that nobody
// could ever read, or in a folder that had vanished, are not believed.
func (s *Source) take(now time.Time, f folder, trust catalog.Trust) {
	s.readings++
	s.print, s.readAt, s.lastErr = f.print, now, ""
	s.said = s.contents.combine(s.cfg.Services)
	blank := s.contents.blank()
	if len(blank) > 0 {
		trust = catalog.Unconfirmed
	}
	var answers []catalog.Answer
	for name := range s.known() {
		a := catalog.Answer{Service: name, Op: s.readings, Trust: trust}
		if d := s.said.services[name]; d != nil {
			a.Endpoints = d.endpoints
		}
		if s.vanished && len(blank) == 0 {
			a.Trust, a.Reason = catalog.Rewound, "the folder had vanished"
		}
		answers = append(answers, a)
	}
	s.vanished = false
	s.compose(s.guard.Observe(now, answers...)...)
	if len(blank) == 0 {
		s.sighted(now)
		return
	}
	s.blind = true
	for _, a := range answers {
		if s.guard.Suspect(a.Service) {
			s.guard.Observe(now, catalog.Answer{Service: a.Service, Trust: catalog.Refused, Reason: blank[0] + " has never been right"})
		}
	}
}

// sighted asks at once about what was held because of a file that has become
// right, or has gone.
func (s *Source) sighted(now time.Time) {
	if s.blind {
		for name := range s.before {
			s.guard.AskAgain(name, now)
		}
	}
	s.blind = false
}

// known names the services that the folder defines, and those that it did.
func (s *Source) known() map[string]bool {
	m := map[string]bool{}
	for name := range s.said.services {
		m[name] = true
	}
	for name := range s.before {
		m[name] = true
	}
	return m
}

// compose brings services in the ledger to what the guard lets through.
func (s *Source) compose(names ...string) {
	for _, name := range names {
		d := s.said.services[name]
		endpoints := s.guard.Served(name)
		if d == nil && len(endpoints) == 0 && !s.guard.Suspect(name) {
			s.guard.Forget(name)
			s.ledger.Delete(name)
			s.ledger.Report(name, nil)
			delete(s.before, name)
			continue
		}
		s.before[name] = s.composeOne(name, d, endpoints)
	}
	s.ledger.Report("", s.said.findings)
}

func (s *Source) composeOne(name string, d *defined, endpoints []mesh.Endpoint) *catalog.Service {
	svc := &catalog.Service{Name: name, Synced: true, Endpoints: endpoints}
	before := s.before[name]
	var findings []mesh.Finding
	namespace := ""
	switch {
	case d != nil:
		svc.HealthCheck, findings, namespace = d.check, slices.Clone(d.findings), d.namespace
	case before != nil: // held
		svc.HealthCheck, namespace = before.HealthCheck, before.Namespace
	}
	var says []catalog.Says
	for _, e := range endpoints {
		v, _ := catalog.Read(e.ID, e.Tags, e.Meta)
		if v.Namespace == "" {
			v.Namespace = namespace
		}
		says = append(says, v)
	}
	findings = append(findings, catalog.Settle(svc, before, says, "")...)
	s.ledger.Set(svc)
	s.ledger.Report(name, findings)
	return svc
}

// Accept believes the folder about the named services, or all, at once.
func (s *Source) Accept(names []string, all bool) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	accepted := s.guard.Accept(names, all)
	s.compose(accepted...)
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return accepted
}

// Status tells how fresh the folder is.
func (s *Source) Status() catalog.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := catalog.Status{
		Kind: "file", Address: s.cfg.Dir, Connected: s.lastErr == "" && !s.readAt.IsZero(), LastError: s.lastErr,
		Holds: s.guard.Holds(time.Now()), Skipped: slices.Clone(s.said.skipped),
		Watches: []catalog.Watch{{LastRead: s.readAt, LastError: s.lastErr}},
	}
	for _, name := range slices.Sorted(maps.Keys(s.before)) {
		out.Watches = append(out.Watches, catalog.Watch{Service: name, LastRead: s.readAt})
	}
	return out
}
