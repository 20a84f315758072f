package journaltest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/journal"
)

// Mem is a journal without a disk. Its content outlives the coordinators that
// open it.
type Mem struct {
	// Before is called before each Append and Forget; its error is theirs, and then
	// nothing is written. After is called when an Append has written. Both are set
	// before use.
	Before, After func(records []txn.Record) error

	mu      sync.Mutex
	term    uint64
	records map[txn.ID][]byte
	history []txn.Record
}

// NewMem returns an empty journal.
func NewMem() *Mem { return &Mem{records: map[txn.ID][]byte{}} }

// Open returns a handle for one more coordinator.
func (m *Mem) Open() journal.Journal { return &memHandle{mem: m} }

// History is every record that was appended, in order.
func (m *Mem) History() []txn.Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.history)
}

type memHandle struct {
	mem  *Mem
	term uint64
}

var _ journal.Journal = (*memHandle)(nil)

func (h *memHandle) Recover(context.Context) (uint64, []txn.Record, error) {
	m := h.mem
	m.mu.Lock()
	defer m.mu.Unlock()
	m.term++
	h.term = m.term
	var out []txn.Record
	for _, id := range slices.Sorted(maps.Keys(m.records)) {
		r, err := journal.Decode(m.records[id])
		if err != nil {
			return 0, nil, fmt.Errorf("transaction %s: %w", id, err)
		}
		out = append(out, r)
	}
	return h.term, out, nil
}

func (h *memHandle) Append(_ context.Context, records ...txn.Record) error {
	m := h.mem
	if m.Before != nil {
		if err := m.Before(records); err != nil {
			return err
		}
	}
	if err := h.put(records); err != nil {
		return err
	}
	if m.After != nil {
		return m.After(records)
	}
	return nil
}

func (h *memHandle) put(records []txn.Record) error {
	m := h.mem
	m.mu.Lock()
	defer m.mu.Unlock()
	if h.term != m.term {
		return journal.ErrFenced
	}
	for _, r := range records {
		raw, there, err := journal.Admit(h.term, m.records[r.ID], r)
		if err != nil {
			return err
		}
		if !there {
			m.records[r.ID], m.history = raw, append(m.history, r)
		}
	}
	return nil
}

func (h *memHandle) Forget(_ context.Context, ids ...txn.ID) error {
	m := h.mem
	if m.Before != nil {
		if err := m.Before(nil); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if h.term != m.term {
		return journal.ErrFenced
	}
	for _, id := range ids {
		delete(m.records, id)
	}
	return nil
}
