package bench

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"meshlite.dev/internal/txn/coordinator"
	"meshlite.dev/internal/txn/journal/bolt"
	"meshlite.dev/internal/txn/web"
)

const callersAtOnce = 32

// BenchmarkTransactions runs applications' transactions with three participants on
// loopback, 1 and 32 at a time, with the journal on disk; beside them a plain loop of
// the same six calls, which decides nothing and survives nothing. Told is with an
// event of each beginning and each decision, in the outbox; ms-behind is how long after
// the last transaction the last event was there.
func BenchmarkTransactions(b *testing.B) {
	services := []string{"order", "stock", "payment"}
	participants := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	b.Cleanup(participants.Close)
	proxy, err := url.Parse(participants.URL)
	if err != nil {
		b.Fatal(err)
	}
	for _, at := range []int{1, callersAtOnce} {
		run := func(b *testing.B, edits ...func(*coordinator.Config)) int {
			h := coordinate(b, proxy, edits...)
			n := share(b, at, func(n int) error {
				var ps []string
				for _, s := range services {
					ps = append(ps, fmt.Sprintf(`{"service": %q, "prepare": "/tx/p", "commit": "/tx/c", "rollback": "/tx/r", "data": {"n": 1}}`, s))
				}
				body := fmt.Sprintf(`{"id": "t-%d", "participants": [%s]}`, n, strings.Join(ps, ","))
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, web.Path, strings.NewReader(body)))
				if w.Code != http.StatusOK {
					return fmt.Errorf("%d %s", w.Code, w.Body)
				}
				return nil
			})
			transactions(b, n)
			return n
		}
		b.Run(fmt.Sprintf("coordinated/%d", at), func(b *testing.B) { run(b) })
		b.Run(fmt.Sprintf("told/%d", at), func(b *testing.B) {
			edit, wait := telling(b)
			n := run(b, edit)
			begin := time.Now()
			wait(2 * uint64(n))
			b.ReportMetric(float64(time.Since(begin).Milliseconds()), "ms-behind")
		})
		b.Run(fmt.Sprintf("plain-loop/%d", at), func(b *testing.B) {
			transport := &http.Transport{Proxy: http.ProxyURL(proxy), MaxIdleConnsPerHost: 100}
			b.Cleanup(transport.CloseIdleConnections)
			client := &http.Client{Transport: transport}
			transactions(b, share(b, at, func(int) error {
				for _, op := range []string{"p", "c"} {
					for _, s := range services {
						resp, err := client.Post("http://"+s+"/tx/"+op, "application/json", strings.NewReader(`{"n": 1}`))
						if err != nil {
							return err
						}
						resp.Body.Close()
					}
				}
				return nil
			}))
		})
	}
}

// share does things, at of them at a time, and returns how many.
func share(b *testing.B, at int, do func(n int) error) int {
	next := make(chan int)
	var crew sync.WaitGroup
	for range at {
		crew.Go(func() {
			for n := range next {
				if err := do(n); err != nil {
					b.Error(err)
				}
			}
		})
	}
	n := 0
	for b.Loop() {
		next <- n
		n++
	}
	close(next)
	crew.Wait()
	return n
}

// transactions reports how many went in a second.
func transactions(b *testing.B, n int) {
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "transactions/s")
}

func coordinate(b *testing.B, proxy *url.URL, edits ...func(*coordinator.Config)) web.Handler {
	db, err := bolt.Open(filepath.Join(b.TempDir(), "transactions.db"))
	if err != nil {
		b.Fatal(err)
	}
	caller := web.NewCaller(proxy)
	cfg := coordinator.Default()
	cfg.Journal, cfg.Participant = bolt.New(db, nil), caller.Participant
	for _, edit := range edits {
		edit(&cfg)
	}
	c, err := coordinator.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
		caller.Close()
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	return web.Handler{
		Coordinator: func() *coordinator.Coordinator { return c },
		OptedIn:     func(string) (string, error) { return "/tx", nil },
	}
}
