package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"meshlite.dev/internal/catalog/consul/consultest"
	"meshlite.dev/internal/store"
	"meshlite.dev/internal/store/kv"
	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/journal"
	"meshlite.dev/internal/txn/journal/bolt"
	"meshlite.dev/internal/txn/journal/journaltest"
	"meshlite.dev/internal/txn/journal/stored"
)

// BenchmarkJournal makes records durable, one in a commit and, as a busy
// coordinator does, sixteen; beside the floor: the same bytes appended to a file
// and synced, with no index and no fence. Consul is measured where .tools has it.
func BenchmarkJournal(b *testing.B) {
	for _, n := range []int{1, 16} {
		b.Run(fmt.Sprintf("floor/%d", n), func(b *testing.B) { floorJournal(b, n) })
		b.Run(fmt.Sprintf("bolt/%d", n), func(b *testing.B) {
			db, err := bolt.Open(filepath.Join(b.TempDir(), "transactions.db"))
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			commits(b, bolt.New(db, nil), n)
		})
	}
	if _, err := os.Stat(filepath.Join("..", ".tools", "bin", "consul")); err != nil {
		b.Log("without Consul: ", err)
		return
	}
	s, err := kv.New(kv.Config{Addr: consultest.Start(b, consultest.Options{Data: true}).Addr})
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{1, 16} {
		b.Run(fmt.Sprintf("consul/%d", n), func(b *testing.B) {
			ctx, leave := context.WithCancel(b.Context())
			defer leave()
			s.HoldFenced(ctx, "bench", func(_ context.Context, f store.Fence) {
				defer leave()
				commits(b, stored.New(s, f, fmt.Sprint("txn", n)), n)
			})
		})
	}
}

// benchRecords are n records, each the seq-th of its transaction, of which there
// are a thousand.
func benchRecords(term, seq uint64, n int) []txn.Record {
	out := make([]txn.Record, n)
	for i := range out {
		out[i] = journaltest.Record(txn.ID(fmt.Sprintf("t%03d", (seq*uint64(n)+uint64(i))%1_000)), term, seq)
	}
	return out
}

func commits(b *testing.B, j journal.Journal, n int) {
	b.Helper()
	term, _, err := j.Recover(b.Context())
	if err != nil {
		b.Error(err)
		return
	}
	for seq := uint64(1); b.Loop(); seq++ {
		if err := j.Append(b.Context(), benchRecords(term, seq, n)...); err != nil {
			b.Error(err)
			return
		}
	}
	perSecond(b, n)
}

func perSecond(b *testing.B, n int) {
	b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "records/s")
}

func floorJournal(b *testing.B, n int) {
	f, err := os.Create(filepath.Join(b.TempDir(), "journal"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for seq := uint64(1); b.Loop(); seq++ {
		var all []byte
		for _, r := range benchRecords(1, seq, n) {
			raw, err := journal.Encode(r)
			if err != nil {
				b.Fatal(err)
			}
			all = append(all, raw...)
		}
		if _, err := f.Write(all); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	perSecond(b, n)
}
