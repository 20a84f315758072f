package chain

import (
	"bytes"
	"encoding/json"
	"fmt"

	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/journal"
)

// layout counts changes of the form of heads and batches.
const layout = 1

// batch is what one write adds to the chain: first it forgets, then it keeps. Its
// value is one line of JSON and the records after it, as journal.Encode gives them.
type batch struct {
	Version int      `json:"version"`
	Prev    string   `json:"prev,omitempty"` // the batch before; "": it is the first
	Forget  []txn.ID `json:"forget,omitempty"`
	Sizes   []int    `json:"sizes,omitempty"` // of the records

	name    string
	ids     []txn.ID // of records
	records [][]byte
	raw     []byte
}

func (b *batch) add(id txn.ID, record []byte) {
	b.ids, b.records, b.Sizes = append(b.ids, id), append(b.records, record), append(b.Sizes, len(record))
}

func (b *batch) size() (n int) {
	for _, s := range b.Sizes {
		n += s
	}
	return n
}

func (b *batch) encode() ([]byte, error) {
	b.Version = layout
	line, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encode a batch: %w", err)
	}
	return bytes.Join([][]byte{line, bytes.Join(b.records, nil)}, []byte("\n")), nil
}

func decode(raw []byte) (b batch, err error) {
	line, rest, _ := bytes.Cut(raw, []byte("\n"))
	if err := json.Unmarshal(line, &b); err != nil {
		return b, fmt.Errorf("%w: %w", journal.ErrDamaged, err)
	}
	if b.Version != layout {
		return b, fmt.Errorf("it has version %d, this release reads %d", b.Version, layout)
	}
	for _, n := range b.Sizes {
		if n < 0 || n > len(rest) {
			return b, fmt.Errorf("%w: a record of %d bytes, and %d are left", journal.ErrDamaged, n, len(rest))
		}
		r, err := journal.Decode(rest[:n])
		if err != nil {
			return b, err
		}
		b.ids, b.records, rest = append(b.ids, r.ID), append(b.records, rest[:n]), rest[n:]
	}
	if len(rest) > 0 {
		return b, fmt.Errorf("%w: %d bytes after the last record", journal.ErrDamaged, len(rest))
	}
	return b, nil
}
