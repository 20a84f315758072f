package app

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"meshlite.dev/internal/store/mem"
)

func TestTheCatalogIsKeptForTheNextStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New()
		l := &lastGood{store: s, log: slog.New(slog.DiscardHandler), vouched: func() (time.Time, bool) { return time.Now(), true }}
		ctx, stop := context.WithCancel(t.Context())
		go func() { _ = l.run(ctx) }()
		l.note(snapshotOf([]string{"orders"}, serviceWith("orders", 1)))
		<-time.After(lastGoodEvery)
		synctest.Wait()
		kept, ok, err := loadLastGood(ctx, s)
		if !ok || err != nil || len(kept.Services) != 1 || len(kept.Services[0].Endpoints) != 1 {
			t.Fatalf("kept %v, %v, %v", kept, ok, err)
		}
		l.note(snapshotOf([]string{"orders"}, serviceWith("orders", 1, 2)))
		stop()
		synctest.Wait()
		kept, _, _ = loadLastGood(t.Context(), s)
		if len(kept.Services[0].Endpoints) != 2 {
			t.Fatal("what changed just before the end was lost")
		}
	})
}

func TestStateThatCameFromTheFileIsNotWrittenAsFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New()
		l := &lastGood{store: s, log: slog.New(slog.DiscardHandler), vouched: func() (time.Time, bool) { return time.Time{}, false }}
		l.note(snapshotOf([]string{"orders"}, serviceWith("orders", 1)))
		if err := l.save(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, ok, _ := loadLastGood(t.Context(), s); ok {
			t.Fatal("a catalog that no source vouched for was kept")
		}
	})
}
