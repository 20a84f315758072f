package admin

import (
	"sync"
	"time"

	"meshlite.dev/internal/admin/adminapi"
)

// watchQueue is how many events a client of /v1/watch may be behind before it
// is hung up on: it reconnects and reads the lists anew.
const watchQueue = 256

// Hub passes events on to the clients of /v1/watch. Publish never waits. Make
// one with NewHub; methods may be called by many goroutines.
type Hub struct {
	now func() time.Time

	mu      sync.Mutex
	clients map[chan adminapi.Event]bool
	hungUp  uint64
}

// NewHub returns a hub without clients. now nil is time.Now.
func NewHub(now func() time.Time) *Hub {
	if now == nil {
		now = time.Now
	}
	return &Hub{now: now, clients: map[chan adminapi.Event]bool{}}
}

// Publish sends e to every client; one whose queue is full is cut off. The time
// is filled in where it is zero.
func (h *Hub) Publish(events ...adminapi.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.clients) == 0 {
		return
	}
	for _, e := range events {
		if e.Time.IsZero() {
			e.Time = h.now()
		}
		for c := range h.clients {
			select {
			case c <- e:
			default:
				delete(h.clients, c)
				close(c)
				h.hungUp++
			}
		}
	}
}

// subscribe returns a queue of the events from now on. It is closed when the
// client was too slow; leave ends it.
func (h *Hub) subscribe() (events <-chan adminapi.Event, leave func()) {
	c := make(chan adminapi.Event, watchQueue)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clients[c] = true
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.clients, c)
	}
}

// Stats returns how many clients watch, and how many were cut off so far.
func (h *Hub) Stats() (clients int, hungUp uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.clients), h.hungUp
}
