package storetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"meshlite.dev/internal/store"
)

// Boards is how the suite reaches the boards of one backend.
type Boards struct {
	// Open returns the boards as one more process sees them.
	Open func(t *testing.T) store.Board
	// Cut and Outage are those of Locks.
	Cut    func(b store.Board)
	Outage func() (over func())
}

const forgotten = 30 * time.Second // the note of a process that is gone; what store.Board promises

// RunBoard checks the contract of store.Board; open returns empty boards.
func RunBoard(t *testing.T, open func(t *testing.T) Boards) {
	t.Run("each hears the others and not itself", func(t *testing.T) {
		b := open(t)
		a, c := post(t, b, "x"), post(t, b, "x")
		a.hears(t, soon, "")
		a.notes <- []byte("a")
		c.notes <- []byte("c")
		a.hears(t, soon, "c")
		c.hears(t, soon, "a")
	})
	t.Run("the newest note counts", func(t *testing.T) {
		b := open(t)
		a, c := post(t, b, "x"), post(t, b, "x")
		big := strings.Repeat("note", 20_000)
		for _, note := range []string{"1", "2", big} {
			a.notes <- []byte(note)
			c.hears(t, soon, note)
		}
	})
	t.Run("boards of two names are two", func(t *testing.T) {
		b := open(t)
		a, c := post(t, b, "x"), post(t, b, "y")
		a.notes <- []byte("a")
		c.hears(t, soon, "")
		select {
		case all := <-c.heard:
			t.Errorf("heard %v from another board", all)
		case <-time.After(time.Second):
		}
	})
	t.Run("who leaves is forgotten at once", func(t *testing.T) {
		b := open(t)
		a, c := post(t, b, "x"), post(t, b, "x")
		a.notes <- []byte("a")
		c.hears(t, soon, "a")
		a.leave()
		c.hears(t, soon, "")
	})
	t.Run("who is cut off is forgotten", func(t *testing.T) {
		b := open(t)
		if b.Cut == nil {
			return
		}
		a, c := post(t, b, "x"), post(t, b, "x")
		a.notes <- []byte("a")
		c.hears(t, soon, "a")
		b.Cut(a.board)
		c.hears(t, forgotten, "")
	})
	t.Run("an outage of the backend is waited out", func(t *testing.T) {
		b := open(t)
		if b.Outage == nil {
			return
		}
		a, c := post(t, b, "x"), post(t, b, "x")
		a.notes <- []byte("1")
		c.hears(t, soon, "1")
		over := b.Outage()
		a.notes <- []byte("2")
		over()
		c.hears(t, forgotten, "2")
	})
}

// participant is one process that posts.
type participant struct {
	board store.Board
	notes chan []byte
	heard chan map[string][]byte
	leave context.CancelFunc
}

func post(t *testing.T, b Boards, name string) *participant {
	ctx, leave := context.WithCancel(t.Context())
	p := &participant{board: b.Open(t), notes: make(chan []byte), heard: make(chan map[string][]byte, 64), leave: leave}
	left := make(chan struct{})
	go func() {
		defer close(left)
		p.board.Post(ctx, name, p.notes, func(all map[string][]byte) { p.heard <- all })
	}()
	t.Cleanup(func() { leave(); <-left })
	return p
}

// hears waits until the notes of the others are want, joined.
func (p *participant) hears(t *testing.T, within time.Duration, want string) {
	t.Helper()
	late := time.After(within)
	var last string
	for {
		select {
		case all := <-p.heard:
			var notes []string
			for _, name := range slices.Sorted(maps.Keys(all)) {
				notes = append(notes, string(all[name]))
			}
			if last = strings.Join(notes, " "); last == want {
				return
			}
		case <-late:
			t.Fatalf("heard %s, not %s within %s", short(last), short(want), within)
		}
	}
}

func short(s string) string { return fmt.Sprintf("%.40q", s) }
