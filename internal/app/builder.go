package app

import (
	"context"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"meshlite.dev/internal/admin"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/xds/resource"
)

// builder is the road from the sources to the Envoys: it takes what the inbox
// says is due, compiles the services that it touches, makes their messages
// and publishes them. One goroutine runs it; readers get an immutable view.
type builder struct {
	inbox    *inbox
	compiler *compile.Compiler
	cfg      resource.Config
	publish  func([]resource.Set)
	built    func(changed int, took time.Duration) // for metrics
	changed  func(before, next admin.State)        // for watchers
	log      *slog.Logger

	sets  map[string]resource.Set // by service; owned by run
	view  atomic.Pointer[admin.State]
	ready chan struct{} // closed after the first publish
}

func newBuilder(in *inbox, rootNamespace string, cfg resource.Config, publish func([]resource.Set), built func(int, time.Duration), log *slog.Logger) *builder {
	return &builder{
		inbox: in, compiler: compile.New(compile.Config{RootNamespace: rootNamespace}), cfg: cfg,
		publish: publish, built: built, changed: func(admin.State, admin.State) {}, log: log,
		sets: map[string]resource.Set{}, ready: make(chan struct{}),
	}
}

// run builds until ctx ends.
func (b *builder) run(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wait := time.Hour
		for {
			w, next, ok := b.inbox.take(time.Now())
			if ok {
				b.build(ctx, w)
				continue
			}
			if !next.IsZero() {
				wait = time.Until(next)
			}
			break
		}
		timer.Reset(max(wait, 0))
		select {
		case <-ctx.Done():
			return nil
		case <-b.inbox.wake:
		case <-timer.C:
		}
	}
}

func (b *builder) build(ctx context.Context, w work) {
	start := time.Now()
	first := b.view.Load() == nil
	var before admin.State
	if !first {
		before = *b.view.Load()
	}
	result := b.compiler.Update(w.snapshot, w.revision)
	sets := b.rebuild(before.Result.Model, result.Model, result.Changed)
	if first {
		sets = append(sets, resource.Global(b.cfg))
	}
	b.publish(sets)
	next := admin.State{Snapshot: w.snapshot, Revision: w.revision, Result: result, Faults: faults(sets, before.Faults), At: time.Now()}
	b.view.Store(&next)
	b.changed(before, next)
	took := time.Since(start)
	b.built(len(result.Changed), took)
	b.report(ctx, sets)
	if first {
		close(b.ready)
	}
	b.log.DebugContext(ctx, "published", "services", len(result.Changed), "revision", w.revision.Hash, "took", took)
}

// rebuild makes the sets of the changed services, on all cores when many
// changed.
func (b *builder) rebuild(old, model mesh.Model, changed []string) []resource.Set {
	sets := make([]resource.Set, len(changed))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	const chunk = 32
	for from := 0; from < len(changed); from += chunk {
		g.Go(func() error {
			for i := from; i < min(from+chunk, len(changed)); i++ {
				sets[i] = b.one(old, model, changed[i])
			}
			return nil
		})
	}
	_ = g.Wait() // the functions above return nil
	for i, name := range changed {
		if len(sets[i].Resources) == 0 && len(sets[i].Faults) == 0 {
			delete(b.sets, name)
			continue
		}
		b.sets[name] = sets[i]
	}
	return sets
}

func (b *builder) one(old, model mesh.Model, name string) resource.Set {
	next, ok := model.Services.Get(name)
	if !ok {
		return resource.Set{Service: name}
	}
	prev, ok := old.Services.Get(name)
	set, has := b.sets[name]
	if !ok || !has {
		return resource.Build(b.cfg, next)
	}
	return resource.Rebuild(b.cfg, set, prev, next)
}

// faults are the messages that validation refused, of all services.
func faults(rebuilt []resource.Set, before []resource.Fault) []resource.Fault {
	anew := map[string]bool{}
	var all []resource.Fault
	for _, s := range rebuilt {
		anew[s.Service] = true
		all = append(all, s.Faults...)
	}
	for _, f := range before {
		if !anew[f.Service] {
			all = append(all, f)
		}
	}
	return all
}

func (b *builder) report(ctx context.Context, sets []resource.Set) {
	for _, s := range sets {
		for _, f := range s.Faults {
			b.log.ErrorContext(ctx, "message refused by validation; its last good version stays",
				"type_url", f.Type, "resource", f.Name, "policy", f.Policies, "err", f.Err)
		}
	}
}
