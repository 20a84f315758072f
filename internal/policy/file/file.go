// Package file is the policy carrier of a folder: *.yaml, *.yml and *.json,
// watched and read as one state. Names that start with a dot are ignored, so
// that editors and symlink swaps (Kubernetes' ..data) do no harm. A file that
// is broken, or half written, is refused alone.
package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/gather"
)

// Config of a Source. Dir is required; zero durations stand for Default's.
type Config struct {
	Dir string
	gather.Timing
	// Rescan finds what no notification told of (network file systems).
	Rescan time.Duration
	// Known returns the documents in force when Run begins; nil: none.
	Known func() []*policy.Document
	Log   *slog.Logger
}

// Default returns the durations in use when a field is zero.
func Default() Config { return Config{Timing: gather.Default(), Rescan: 5 * time.Second} }

// Source proposes the documents of a folder.
type Source struct {
	cfg    Config
	gather *gather.Gatherer[content]
}

var _ policy.Source = (*Source)(nil)

// New returns a source for cfg.Dir, or an error that says why it cannot be
// read.
func New(cfg Config) (*Source, error) {
	if cfg.Rescan <= 0 {
		cfg.Rescan = Default().Rescan
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if _, err := os.ReadDir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("read the policy folder: %w", err)
	}
	s := &Source{cfg: cfg}
	s.gather = gather.New(gather.Config[content]{
		Timing: cfg.Timing, Known: cfg.Known, Log: cfg.Log.With("source", cfg.Dir), Decode: decode,
		Read: func(ctx context.Context) (folder, bool) {
			state, err := s.read(ctx)
			return state, err == nil
		},
		Reread: s.read,
	})
	return s, nil
}

// Problem says why what is in force may be older than the folder; "" where all
// is well.
func (s *Source) Problem() string { return s.gather.Problem() }

// Run implements policy.Source. The first set is proposed at once. A folder
// that vanishes is logged, and what was proposed last stays.
func (s *Source) Run(ctx context.Context, propose func(policy.Proposal)) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the policy folder: %w", err)
	}
	defer watcher.Close()
	if err := watcher.Add(s.cfg.Dir); err != nil {
		return fmt.Errorf("watch the policy folder: %w", err)
	}
	first, err := s.read(ctx)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { s.watch(ctx, watcher, first) })
	s.gather.Run(ctx, first, propose)
	stop()
	wg.Wait()
	return nil
}

// watch tells of every notification, and of what none told of.
func (s *Source) watch(ctx context.Context, watcher *fsnotify.Watcher, seen folder) {
	rescan := time.NewTicker(s.cfg.Rescan)
	defer rescan.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-watcher.Events:
			if ok {
				s.gather.Touch()
			}
		case err, ok := <-watcher.Errors:
			if ok {
				s.cfg.Log.WarnContext(ctx, "policy folder notifications", "err", err)
				s.gather.Touch()
			}
		case <-rescan.C:
			state, err := s.read(ctx)
			if err != nil {
				continue
			}
			_ = watcher.Add(s.cfg.Dir) // it may be another folder by now; the rescan goes on without
			if !state.Equal(seen) {
				seen = state
				s.gather.Touch()
			}
		}
	}
}

// read returns the folder's state; a folder that is away is told of once.
func (s *Source) read(ctx context.Context) (folder, error) {
	state, err := read(s.cfg.Dir)
	if err != nil {
		err = fmt.Errorf("read the policy folder: %w", err)
	}
	s.gather.Trouble(ctx, err)
	return state, err
}

// folder is the content of every file by name.
type folder = gather.State[content]

type content struct {
	data string
	err  string // why the file could not be read
}

// maxFile is more than Decode takes, so that its own error names the size.
const maxFile = 17 << 20

// read returns one state of the folder: it reads until two readings agree, so
// that a swap of links half-way shows as neither.
func read(dir string) (folder, error) {
	last, err := scan(dir)
	for range 3 {
		if err != nil {
			return nil, err
		}
		var next folder
		if next, err = scan(dir); err == nil && next.Equal(last) {
			return next, nil
		}
		last = next
	}
	return last, err
}

func scan(dir string) (folder, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	out := folder{}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name)) {
			continue
		}
		path := filepath.Join(dir, name)
		info, err := os.Stat(path) // follows a symlink
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // removed between the two readings
		case err != nil:
			out[name] = content{err: err.Error()}
			continue
		case info.IsDir():
			continue
		case !info.Mode().IsRegular(): // reading a pipe would wait for ever
			out[name] = content{err: "is not a regular file; write the documents into one"}
			continue
		case info.Size() > maxFile:
			out[name] = content{err: fmt.Sprintf("is %d bytes; a file may have 16 MiB", info.Size())}
			continue
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			out[name] = content{err: err.Error()}
			continue
		}
		out[name] = content{data: string(data)}
	}
	return out, nil
}

func decode(name string, c content) policy.Proposal {
	if c.err != "" {
		return policy.Proposal{Refused: []policy.Refusal{{Source: name, Faults: []policy.FieldError{{Source: name, Reason: c.err}}}}}
	}
	return policy.Decode(name, []byte(c.data))
}
