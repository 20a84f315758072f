package ctl

import (
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/term"

	"meshlite.dev/internal/admin/adminapi"
)

const (
	redraw     = 500 * time.Millisecond // of the bar: times go on without news
	plainEvery = 5 * time.Second        // a line off a terminal while a phase goes on
	usualWidth = 80                     // of a terminal that does not tell
)

// rolloutProgress tells how a rollout goes: on a terminal by a bar that is drawn
// anew, elsewhere by a line for each phase, and now and then one in between.
type rolloutProgress struct {
	to    io.Writer
	live  bool
	width func() int
	stop  chan struct{}
	ended sync.WaitGroup

	mu   sync.Mutex
	last adminapi.Rollout
	said time.Time // when the last plain line was
}

func (s *session) rolloutProgress() *rolloutProgress {
	p := &rolloutProgress{to: s.Err, live: s.progress().live, width: func() int { return usualWidth }, stop: make(chan struct{})}
	if f, ok := s.Err.(interface{ Fd() uintptr }); ok {
		p.width = func() int {
			if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
				return w
			}
			return usualWidth
		}
	}
	if p.live {
		p.ended.Go(p.keep)
	}
	return p
}

// keep draws the bar anew until close.
func (p *rolloutProgress) keep() {
	tick := time.NewTicker(redraw)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-tick.C:
			p.mu.Lock()
			p.draw(time.Now())
			p.mu.Unlock()
		}
	}
}

// draw is called under the lock.
func (p *rolloutProgress) draw(now time.Time) {
	if p.last.ID != "" {
		fmt.Fprintf(p.to, "%s%s", eraseLine, barLine(p.last, p.width()-1, now)) // the last column would wrap
	}
}

// show tells of r as it is now.
func (p *rolloutProgress) show(r adminapi.Rollout) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	moved := r.Phase != p.last.Phase || r.State != p.last.State
	p.last = r
	switch {
	case p.live:
		p.draw(now)
	case moved || now.Sub(p.said) >= plainEvery:
		p.said = now
		text, _ := stage(r, now)
		fmt.Fprintln(p.to, text)
	}
}

// say is a line of its own.
func (p *rolloutProgress) say(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live {
		fmt.Fprint(p.to, eraseLine)
	}
	fmt.Fprintln(p.to, text)
}

// close ends the bar and erases it.
func (p *rolloutProgress) close() {
	close(p.stop)
	p.ended.Wait()
	if p.live {
		fmt.Fprint(p.to, eraseLine)
	}
}
