package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"meshlite.dev/internal/txn"
)

// Version counts changes of the record's form. A release reads its own only.
const Version = 1

const (
	magic   = "mtxn"
	head    = len(magic) + 1 + 4 // magic, version, length
	trailer = 4                  // checksum
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode gives the record's bytes. One record has one form:
//
//	offset  bytes  content
//	0       4      "mtxn"
//	4       1      version, 1
//	5       4      n, the payload's length, big endian
//	9       n      payload
//	9+n     4      CRC-32C (Castagnoli) of everything before, big endian
//
// The payload is, one after the other, without gaps:
//
//	string   ID                      uvarint  number of parties; for each:
//	string   Kind                      string   ID
//	string   Body                      byte     Stage
//	string   Rule                      string   Group
//	byte     1 when Hold, else 0       string   Body
//	varint   Started                   byte     Vote
//	varint   Deadline                  byte     Ending
//	varint   Decided                   string   Text
//	varint   Ended
//	uvarint  Term
//	uvarint  Seq
//	byte     Phase
//	byte     Outcome
//	string   Reason
//
// A string is its length in bytes as uvarint, then the bytes. Varints are those
// of encoding/binary, each as short as it can be; a time is milliseconds since
// 1970 UTC, 0 for none.
func Encode(r txn.Record) ([]byte, error) {
	b := make([]byte, head, head+256+len(r.Body)+64*len(r.Parties))
	copy(b, magic)
	b[len(magic)] = Version
	b = payload(b, r)
	if len(b)+trailer > txn.MaxRecord {
		return nil, fmt.Errorf("encode transaction %s: %d bytes; a record has at most %d", r.ID, len(b)+trailer, txn.MaxRecord)
	}
	binary.BigEndian.PutUint32(b[len(magic)+1:], uint32(len(b)-head))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

func payload(b []byte, r txn.Record) []byte {
	b = str(b, r.ID)
	b = str(b, r.Kind)
	b = str(b, r.Body)
	b = str(b, r.Rule)
	b = append(b, flag(r.Hold))
	for _, t := range []time.Time{r.Started, r.Deadline, r.Decided, r.Ended} {
		b = binary.AppendVarint(b, millis(t))
	}
	b = binary.AppendUvarint(b, r.Term)
	b = binary.AppendUvarint(b, r.Seq)
	b = append(b, byte(r.Phase), byte(r.Outcome))
	b = str(b, r.Reason)
	b = binary.AppendUvarint(b, uint64(len(r.Parties)))
	for _, p := range r.Parties {
		b = str(b, p.ID)
		b = append(b, p.Stage)
		b = str(b, p.Group)
		b = str(b, p.Body)
		b = append(b, byte(p.Vote), byte(p.Ending))
		b = str(b, p.Text)
	}
	return b
}

func str[T ~string | ~[]byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func flag(v bool) byte {
	if v {
		return 1
	}
	return 0
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
