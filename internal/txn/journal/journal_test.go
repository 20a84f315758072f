package journal_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"reflect"
	"strings"
	"testing"

	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/journal"
	"meshlite.dev/internal/txn/journal/journaltest"
)

func TestContract(t *testing.T) {
	journaltest.Run(t, func(*testing.T) journaltest.Content { return journaltest.NewMem() })
}

func encode(tb testing.TB, r txn.Record) []byte {
	tb.Helper()
	b, err := journal.Encode(r)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// TestTheFormIsTheOneThatIsStated spells one record out: a release that changes
// a byte must count Version up.
func TestTheFormIsTheOneThatIsStated(t *testing.T) {
	r := journaltest.Record("t1", 3, 300)
	r.Parties[0].Body, r.Parties[0].Text, r.Parties[0].Group, r.Parties[0].Stage = []byte("x"), "no", "g", 7
	want := hex.EncodeToString([]byte("mtxn\x01")) + "00000042" +
		"027431" + "0474657374" + "077b226e223a317d" + "07616c6c2d796573" + "00" + // t1 test {"n":1} all-yes, not held
		"9cb2cccaef66" + "dcdbd3caef66" + "00" + "00" + // started, deadline, decided, ended
		"03" + "ac02" + "01" + "00" + "00" + // term 3, sequence 300, preparing, undecided, no reason
		"02" + "0161" + "07" + "0167" + "0178" + "01" + "00" + "026e6f" +
		"0162" + "00" + "00" + "00" + "01" + "00" + "00"
	got := hex.EncodeToString(encode(t, r))
	if got[:len(got)-8] != want {
		t.Errorf("the record is\n%s and a checksum; want\n%s", got[:len(got)-8], want)
	}
}

func TestRecordsComeBack(t *testing.T) {
	for _, r := range []txn.Record{journaltest.Record("a", 1, 1), journaltest.Full(9), journaltest.Largest(1)} {
		b := encode(t, r)
		got, err := journal.Decode(b)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%s comes back as\n%v, %v\nwant\n%v", r.ID, got, err, r)
		}
		if r.ID[0] == 'i' && (len(b) < txn.MaxContent || len(b) > txn.MaxRecord) {
			t.Errorf("the largest record has %d bytes", len(b))
		}
	}
}

// TestEveryBitCounts damages each bit of a record in turn, and cuts it.
func TestEveryBitCounts(t *testing.T) {
	whole := encode(t, journaltest.Full(9))
	for i := range len(whole) * 8 {
		b := bytes.Clone(whole)
		b[i/8] ^= 1 << (i % 8)
		if _, err := journal.Decode(b); err == nil || !errors.Is(err, journal.ErrDamaged) && i/8 != 4 {
			t.Fatalf("with bit %d of byte %d changed, Decode = %v", i%8, i/8, err)
		}
	}
	for n := range whole {
		if _, err := journal.Decode(whole[:n]); !errors.Is(err, journal.ErrDamaged) {
			t.Fatalf("of the first %d bytes, Decode = %v", n, err)
		}
	}
	whole[4] = 2
	if _, err := journal.Decode(whole); err == nil || !strings.Contains(err.Error(), "version 2, this release reads 1") {
		t.Errorf("of another version, Decode = %v", err)
	}
}

// seal puts a right length and checksum around a payload.
func seal(payload []byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte("mtxn\x01"), uint32(len(payload)))
	b = append(b, payload...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// TestImplausibleRecords have a right checksum, and nothing that Step could have
// written.
func TestImplausibleRecords(t *testing.T) {
	for name, change := range map[string]func(*txn.Record){
		"no id":                     func(r *txn.Record) { r.ID = "" },
		"no term":                   func(r *txn.Record) { r.Term = 0 },
		"no sequence":               func(r *txn.Record) { r.Seq = 0 },
		"no phase":                  func(r *txn.Record) { r.Phase = 0 },
		"an unknown phase":          func(r *txn.Record) { r.Phase = 5 },
		"done and undecided":        func(r *txn.Record) { r.Phase = txn.Done },
		"decided while preparing":   func(r *txn.Record) { r.Outcome = txn.Commit },
		"an abort that commits":     func(r *txn.Record) { r.Phase, r.Outcome = txn.Committing, txn.Abort },
		"a commit that rolls back":  func(r *txn.Record) { r.Phase, r.Outcome = txn.Aborting, txn.Commit },
		"an unknown vote":           func(r *txn.Record) { r.Parties[1].Vote = 5 },
		"an unknown ending":         func(r *txn.Record) { r.Parties[0].Ending = 6 },
		"more parties than allowed": func(r *txn.Record) { r.Parties = make([]txn.Party, txn.MaxParties+1) },
	} {
		r := journaltest.Record("a", 1, 1)
		change(&r)
		if _, err := journal.Decode(encode(t, r)); !errors.Is(err, journal.ErrDamaged) {
			t.Errorf("%s: Decode = %v", name, err)
		}
	}
	payload := encode(t, journaltest.Record("a", 1, 1))
	payload = payload[9 : len(payload)-4]
	long := bytes.Replace(payload, []byte{1, 'a'}, []byte{0x81, 0x00, 'a'}, 1) // a length in two bytes where one does
	for name, p := range map[string][]byte{"a byte more": append(bytes.Clone(payload), 0), "a byte less": payload[:len(payload)-1], "another form": long, "nothing": nil} {
		if _, err := journal.Decode(seal(p)); !errors.Is(err, journal.ErrDamaged) {
			t.Errorf("%s: Decode = %v", name, err)
		}
	}
	if _, err := journal.Decode(seal(payload)); err != nil {
		t.Errorf("the payload itself: Decode = %v", err)
	}
}

// FuzzDecode checks that no bytes make Decode panic, that what it accepts has
// one form, and that Step can go on from there.
func FuzzDecode(f *testing.F) {
	for _, r := range []txn.Record{journaltest.Record("a", 1, 1), journaltest.Full(9)} {
		b := encode(f, r)
		f.Add(b[9 : len(b)-4])
	}
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 40))
	f.Fuzz(func(t *testing.T, payload []byte) {
		_, _ = journal.Decode(payload) // as it comes: mostly no frame
		b := seal(payload)
		r, err := journal.Decode(b)
		if err != nil {
			return
		}
		if again := encode(t, r); !bytes.Equal(again, b) {
			t.Fatalf("%x comes back as %x", b, again)
		}
		s, _ := txn.Step(txn.State{Record: r}, txn.Input{Event: txn.Recover{Term: r.Term + 1}})
		if r.Phase != txn.Done && r.Term+1 > r.Term && s.Outcome == txn.Undecided {
			t.Fatalf("after a restart it is %s, %s", s.Phase, s.Outcome)
		}
	})
}
