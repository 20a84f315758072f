package mem

import (
	"context"
	"strconv"
	"sync"

	"meshlite.dev/internal/store"
)

// boards are the named boards of one process.
type boards struct {
	mu     sync.Mutex
	posted uint64
	on     map[string]map[string]*poster // by board and name
}

// poster is one that posts on a board.
type poster struct {
	note []byte        // nil: none yet
	news chan struct{} // holds one token while another's note changed
}

var _ store.Board = (*Store)(nil)

// Post implements store.Board, among the goroutines of one process.
func (s *Store) Post(ctx context.Context, board string, notes <-chan []byte, heard func(map[string][]byte)) {
	name, me := s.boards.join(board)
	defer s.boards.change(board, name, func(all map[string]*poster) { delete(all, name) })
	for {
		select {
		case <-ctx.Done():
			return
		case note := <-notes:
			s.boards.change(board, name, func(all map[string]*poster) { all[name].note = note })
		case <-me.news:
			heard(s.boards.others(board, name))
		}
	}
}

func (b *boards) join(board string) (name string, me *poster) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.posted++
	name, me = strconv.FormatUint(b.posted, 10), &poster{news: make(chan struct{}, 1)}
	if b.on == nil {
		b.on = map[string]map[string]*poster{}
	}
	if b.on[board] == nil {
		b.on[board] = map[string]*poster{}
	}
	b.on[board][name] = me
	me.news <- struct{}{}
	return name, me
}

// change edits a board and tells all but the one that did.
func (b *boards) change(board, by string, edit func(map[string]*poster)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	edit(b.on[board])
	for name, p := range b.on[board] {
		if name == by {
			continue
		}
		select {
		case p.news <- struct{}{}:
		default:
		}
	}
}

func (b *boards) others(board, me string) map[string][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[string][]byte{}
	for name, p := range b.on[board] {
		if name != me && p.note != nil {
			out[name] = p.note
		}
	}
	return out
}
