package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"meshlite.dev/internal/txn"
)

// ErrDamaged reports bytes that are not a record as Encode gave it.
var ErrDamaged = errors.New("journal: damaged record")

// Decode reads what Encode gave, and nothing else: an error is ErrDamaged and
// says what is wrong, or names the version that another release wrote.
func Decode(b []byte) (txn.Record, error) {
	if len(b) < head+trailer || string(b[:len(magic)]) != magic {
		return txn.Record{}, fmt.Errorf("%w: %d bytes that do not begin with %q and a length", ErrDamaged, len(b), magic)
	}
	if v := b[len(magic)]; v != Version {
		return txn.Record{}, fmt.Errorf("journal: the record has version %d, this release reads %d", v, Version)
	}
	if n, have := binary.BigEndian.Uint32(b[len(magic)+1:]), len(b)-head-trailer; uint64(n) != uint64(have) {
		return txn.Record{}, fmt.Errorf("%w: it says %d bytes of payload and has %d", ErrDamaged, n, have)
	}
	end := len(b) - trailer
	if want, got := binary.BigEndian.Uint32(b[end:]), crc32.Checksum(b[:end], castagnoli); want != got {
		return txn.Record{}, fmt.Errorf("%w: its checksum is %08x, its content has %08x", ErrDamaged, want, got)
	}
	d := decoder{rest: b[head:end]}
	r := d.record()
	if d.failed || len(d.rest) > 0 {
		return txn.Record{}, fmt.Errorf("%w: its payload ends too early or too late", ErrDamaged)
	}
	if err := plausible(r); err != nil {
		return txn.Record{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if again, err := Encode(r); err != nil || !bytes.Equal(again, b) {
		return txn.Record{}, fmt.Errorf("%w: it is not in the one form that a record has", ErrDamaged)
	}
	return r, nil
}

// plausible checks what Step relies on.
func plausible(r txn.Record) error {
	if err := r.ID.Validate(); err != nil {
		return err
	}
	decided := r.Outcome == txn.Commit || r.Outcome == txn.Abort
	switch {
	case r.Term == 0 || r.Seq == 0:
		return fmt.Errorf("term %d, sequence %d: must be over 0", r.Term, r.Seq)
	case r.Phase < txn.Preparing || r.Phase > txn.Done || r.Outcome > txn.Abort || decided == (r.Phase == txn.Preparing),
		r.Phase == txn.Committing && r.Outcome != txn.Commit, r.Phase == txn.Aborting && r.Outcome != txn.Abort:
		return fmt.Errorf("phase %s with outcome %s", r.Phase, r.Outcome)
	case len(r.Parties) > txn.MaxParties:
		return fmt.Errorf("%d parties: must be at most %d", len(r.Parties), txn.MaxParties)
	}
	for i, p := range r.Parties {
		if p.Vote > txn.Abstain || p.Ending > txn.Resolved {
			return fmt.Errorf("parties[%d]: vote %s, ending %s", i, p.Vote, p.Ending)
		}
	}
	return nil
}

// decoder takes values off the front of rest; once one does not fit, it failed
// and gives zero values.
type decoder struct {
	rest   []byte
	failed bool
}

func (d *decoder) record() (r txn.Record) {
	r.ID, r.Kind, r.Body, r.Rule = txn.ID(d.text()), d.text(), d.bytes(), d.text()
	r.Hold = d.byte() == 1
	r.Started, r.Deadline, r.Decided, r.Ended = d.time(), d.time(), d.time(), d.time()
	r.Term, r.Seq = d.uvarint(), d.uvarint()
	r.Phase, r.Outcome = txn.Phase(d.byte()), txn.Outcome(d.byte())
	r.Reason = d.text()
	for n := d.uvarint(); n > 0 && !d.failed; n-- {
		r.Parties = append(r.Parties, txn.Party{
			ID: d.text(), Stage: d.byte(), Group: d.text(), Body: d.bytes(),
			Vote: txn.Vote(d.byte()), Ending: txn.Ending(d.byte()), Text: d.text(),
		})
	}
	return r
}

func (d *decoder) take(n uint64) []byte {
	if d.failed || n > uint64(len(d.rest)) {
		d.failed = true
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	d.take(uint64(max(n, 0)))
	d.failed = d.failed || n <= 0
	return v
}

func (d *decoder) time() time.Time {
	v, n := binary.Varint(d.rest)
	d.take(uint64(max(n, 0)))
	if d.failed = d.failed || n <= 0; d.failed || v == 0 {
		return time.Time{}
	}
	return time.UnixMilli(v).UTC()
}

func (d *decoder) text() string { return string(d.take(d.uvarint())) }

func (d *decoder) bytes() []byte {
	if b := d.take(d.uvarint()); len(b) > 0 {
		return bytes.Clone(b)
	}
	return nil
}
