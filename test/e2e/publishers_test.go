//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"meshlite.dev/test/lab"
)

// publishers post events through a sidecar, each of its own subject and with growing
// ids, and remember which of them were answered for. What is not is not sent again.
type publishers struct {
	stop chan struct{}
	crew sync.WaitGroup

	mu    sync.Mutex
	taken map[string]bool
	took  []time.Duration
}

// startPublishers starts n of them, each with an event every pace.
func startPublishers(c *lab.Sidecar, n int, pace time.Duration) *publishers {
	p := &publishers{stop: make(chan struct{}), taken: map[string]bool{}}
	for subject := range n {
		p.crew.Go(func() {
			tick := time.NewTicker(pace)
			defer tick.Stop()
			for i := 0; ; i++ {
				select {
				case <-p.stop:
					return
				case <-tick.C:
				}
				id, begin := fmt.Sprintf("%d-%06d", subject, i), time.Now()
				status, _, err := publish(c, fmt.Sprintf(`{"type":"order.created","id":%q,"source":"/shop","subject":"p%d"}`, id, subject))
				if err == nil && status == http.StatusAccepted {
					p.mu.Lock()
					p.taken[id], p.took = true, append(p.took, time.Since(begin))
					p.mu.Unlock()
				}
			}
		})
	}
	return p
}

// count is how many events were answered for so far.
func (p *publishers) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.taken)
}

// more waits until n more are answered for.
func (p *publishers) more(t *testing.T, n int) {
	t.Helper()
	n += p.count()
	lab.Until(t, 60*waitUnit, "events are taken", func() error {
		if got := p.count(); got < n {
			return fmt.Errorf("%d of %d", got, n)
		}
		return nil
	})
}

// end stops them; nothing is under way any more.
func (p *publishers) end() {
	close(p.stop)
	p.crew.Wait()
}

// allArrive waits until a consumer has every event that was answered for. Those of
// a subject come in their order; one that comes again is the same to the byte.
func (p *publishers) allArrive(t *testing.T, sub *subscriber) {
	t.Helper()
	seen, newest, twice := map[string]string{}, map[string]string{}, 0
	limit := time.After(60 * time.Second)
	for missing := len(p.taken); missing > 0; {
		select {
		case d, ok := <-sub.deliveries:
			if !ok {
				t.Fatal("the subscriber's channel has ended")
			}
			subject, _, _ := strings.Cut(d.MessageId, "-")
			before, again := seen[d.MessageId]
			switch {
			case again && before != string(d.Body):
				t.Errorf("%s comes again as another: %s, then %s", d.MessageId, before, d.Body)
			case again:
				twice++
			case d.MessageId < newest[subject]:
				t.Errorf("%s comes after %s", d.MessageId, newest[subject])
			case p.taken[d.MessageId]:
				missing--
			}
			seen[d.MessageId], newest[subject] = string(d.Body), max(newest[subject], d.MessageId)
		case <-limit:
			t.Fatalf("%d of %d events that were answered for do not come", missing, len(p.taken))
		}
	}
	t.Logf("%d events answered for, all there and in order; %d came again, the same", len(p.taken), twice)
	if len(p.taken) < 200 {
		t.Errorf("only %d were taken", len(p.taken))
	}
}

// kills is how often a test kills a server: few, or what the environment says.
func kills(t *testing.T, few int) int {
	t.Helper()
	text := os.Getenv("MESHLITE_KILLS")
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("MESHLITE_KILLS is %q; use a number from 1 up", text)
	}
	return n
}
