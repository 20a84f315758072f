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
	"time"

	"github.com/fsnotify/fsnotify"

	"meshlite.dev/internal/policy"
)

// Config of a Source. Dir is required; zero durations stand for Default's.
type Config struct {
	Dir string
	// Quiet gathers edits: a set is proposed once nothing changed for so
	// long. A tool that writes twenty files makes one revision.
	Quiet time.Duration
	// AtMost bounds that wait under edits that never end.
	AtMost time.Duration
	// Rescan finds what no notification told of (network file systems).
	Rescan time.Duration
	Log    *slog.Logger
}

// Default returns the durations in use when a field is zero.
func Default() Config {
	return Config{Quiet: 2 * time.Second, AtMost: 10 * time.Second, Rescan: 5 * time.Second}
}

// Source proposes the documents of a folder.
type Source struct{ cfg Config }

var _ policy.Source = (*Source)(nil)

// New returns a source for cfg.Dir, or an error that says why it cannot be
// read.
func New(cfg Config) (*Source, error) {
	d := Default()
	if cfg.Quiet <= 0 {
		cfg.Quiet = d.Quiet
	}
	if cfg.AtMost <= 0 {
		cfg.AtMost = max(d.AtMost, cfg.Quiet)
	}
	if cfg.Rescan <= 0 {
		cfg.Rescan = d.Rescan
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if _, err := os.ReadDir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("read the policy folder: %w", err)
	}
	return &Source{cfg: cfg}, nil
}

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
	state, err := read(s.cfg.Dir)
	if err != nil {
		return fmt.Errorf("read the policy folder: %w", err)
	}
	propose(state.proposal())
	f := follower{Source: s, watcher: watcher, last: state, propose: propose}
	return f.run(ctx)
}

// follower proposes what changes after the first reading.
type follower struct {
	*Source
	watcher *fsnotify.Watcher
	propose func(policy.Proposal)
	last    folder // proposed last
	missing bool
}

func (f *follower) run(ctx context.Context) error {
	rescan := time.NewTicker(f.cfg.Rescan)
	defer rescan.Stop()
	quiet := time.NewTimer(time.Hour)
	defer quiet.Stop()
	var first time.Time // of the edits that wait; zero: none
	touch := func() {
		now := time.Now()
		if first.IsZero() {
			first = now
		}
		quiet.Reset(max(min(f.cfg.Quiet, first.Add(f.cfg.AtMost).Sub(now)), 0))
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-f.watcher.Events:
			if ok {
				touch()
			}
		case err, ok := <-f.watcher.Errors:
			if ok {
				f.cfg.Log.WarnContext(ctx, "policy folder notifications", "err", err)
				touch()
			}
		case <-rescan.C:
			if first.IsZero() && f.differs(ctx) {
				touch()
			}
		case <-quiet.C:
			first = time.Time{}
			f.look(ctx)
		}
	}
}

// differs reads the folder for what no notification told of.
func (f *follower) differs(ctx context.Context) bool {
	state, ok := f.read(ctx)
	return ok && !state.equal(f.last)
}

func (f *follower) look(ctx context.Context) {
	state, ok := f.read(ctx)
	if !ok || state.equal(f.last) {
		return
	}
	f.last = state
	f.propose(state.proposal())
}

// read returns the folder's state; a folder that is away is told of once.
func (f *follower) read(ctx context.Context) (folder, bool) {
	state, err := read(f.cfg.Dir)
	if err != nil {
		if !f.missing {
			f.cfg.Log.ErrorContext(ctx, "the policy folder cannot be read; the policies in force stay", "err", err)
		}
		f.missing = true
		return nil, false
	}
	if f.missing {
		f.missing = false
		f.cfg.Log.InfoContext(ctx, "the policy folder is back")
		_ = f.watcher.Add(f.cfg.Dir) // the rescan goes on without it
	}
	return state, true
}

// folder is the content of every file by name.
type folder map[string]content

type content struct {
	data string
	err  string // why the file could not be read
}

func (a folder) equal(b folder) bool {
	if len(a) != len(b) {
		return false
	}
	for name, c := range a {
		if other, ok := b[name]; !ok || other != c {
			return false
		}
	}
	return true
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
		if next, err = scan(dir); err == nil && next.equal(last) {
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

func (a folder) proposal() policy.Proposal {
	var parts []policy.Proposal
	for name, c := range a {
		if c.err != "" {
			parts = append(parts, policy.Proposal{Refused: []policy.Refusal{{Source: name, Faults: []policy.FieldError{{Source: name, Reason: c.err}}}}})
			continue
		}
		parts = append(parts, policy.Decode(name, []byte(c.data)))
	}
	return policy.Join(parts...)
}
