package journal

import (
	"bytes"
	"fmt"

	"meshlite.dev/internal/txn"
)

// Admit is what every backend asks before it puts r in the place of stored, nil
// for none, on behalf of the coordinator of term own: the bytes to put, and
// whether they are there already. ErrFenced when r may not take that place.
func Admit(own uint64, stored []byte, r txn.Record) (encoded []byte, there bool, err error) {
	if own == 0 || r.Term != own {
		return nil, false, fmt.Errorf("append transaction %s of term %d in term %d: %w", r.ID, r.Term, own, ErrFenced)
	}
	if encoded, err = Encode(r); err != nil {
		return nil, false, err
	}
	if stored == nil || bytes.Equal(stored, encoded) {
		return encoded, stored != nil, nil
	}
	old, err := Decode(stored)
	if err != nil {
		return nil, false, fmt.Errorf("append transaction %s: %w", r.ID, err)
	}
	if old.Term > r.Term || old.Term == r.Term && old.Seq >= r.Seq {
		return nil, false, fmt.Errorf("append record %d of transaction %s, term %d, after record %d of term %d: %w", r.Seq, r.ID, r.Term, old.Seq, old.Term, ErrFenced)
	}
	return encoded, false, nil
}
