package file

import (
	"context"
	"path/filepath"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// follow tells of changes to the folder and to the link that leads to it. A
// hint may come for nothing, and may be missing where the system has no more
// watches to give: Rescan makes up for that.
func (s *Source) follow(ctx context.Context) (hints <-chan struct{}, stop func()) {
	out := make(chan struct{}, 1)
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		s.log.WarnContext(ctx, "catalog folder cannot be followed; it is read at intervals", "every", s.cfg.Rescan, "err", err)
		return out, func() {}
	}
	s.point(watcher)
	var done sync.WaitGroup
	done.Go(func() {
		for {
			select {
			case event, open := <-watcher.Events:
				if !open {
					return
				}
				if !s.concerns(event.Name) {
					continue
				}
			case err, open := <-watcher.Errors:
				if !open {
					return
				}
				s.log.DebugContext(ctx, "catalog folder watch", "err", err)
			}
			s.point(watcher)
			select {
			case out <- struct{}{}:
			default:
			}
		}
	})
	return out, func() {
		watcher.Close()
		done.Wait()
	}
}

// point makes the watcher follow the folder and the one that it stands in, by
// their real names, and nothing else. What does not exist is tried again with
// the next hint.
func (s *Source) point(w *fsnotify.Watcher) {
	wanted := map[string]bool{}
	for _, dir := range []string{filepath.Dir(s.cfg.Dir), s.cfg.Dir} {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			wanted[real] = true
		}
	}
	for _, dir := range w.WatchList() {
		if !wanted[dir] {
			_ = w.Remove(dir) // gone already
		}
	}
	for dir := range wanted {
		_ = w.Add(dir) // Rescan makes up for it; a repetition does nothing
	}
}

// concerns tells what happens to the folder from what happens to its
// neighbours.
func (s *Source) concerns(path string) bool {
	parent, err := filepath.EvalSymlinks(filepath.Dir(s.cfg.Dir))
	return err != nil || filepath.Dir(path) != parent || filepath.Base(path) == filepath.Base(s.cfg.Dir)
}
