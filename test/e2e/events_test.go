//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"meshlite.dev/internal/events"
	"meshlite.dev/test/lab"
)

// toldEvent is what a reader of the log sees.
type toldEvent struct {
	ID, Source, Type, Subject string
	Time                      time.Time
	Data                      struct{ ID, Health, Service string }
}

// eventsOf reads the log of a server.
func eventsOf(t *testing.T, s *lab.Server, query string) (out []toldEvent) {
	t.Helper()
	for line := range strings.Lines(s.Text("/v1/events" + query)) {
		var e toldEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		out = append(out, e)
	}
	return out
}

// untilTold waits for n events of a type about a subject.
func untilTold(t *testing.T, s *lab.Server, typ, subject string, n int) []toldEvent {
	t.Helper()
	return untilToldIn(t, 20*time.Second, s, typ, subject, n)
}

func untilToldIn(t *testing.T, limit time.Duration, s *lab.Server, typ, subject string, n int) (all []toldEvent) {
	t.Helper()
	lab.Until(t, limit, typ+" is told of "+subject, func() error {
		all = slices.DeleteFunc(eventsOf(t, s, "?type="+typ), func(e toldEvent) bool { return e.Subject != subject })
		if len(all) < n {
			return fmt.Errorf("%d of %d", len(all), n)
		}
		return nil
	})
	return all
}

// TestACheckThatFailsIsTold within a second, each time as another event.
func TestACheckThatFailsIsTold(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	consul := l.UseConsul()
	consul.Register(lab.Instance{ID: "web-1", Name: "web", Address: "127.0.0.1", Port: 9, Check: lab.TTL("web-1")})
	s := l.StartServer()
	untilTold(t, s, events.EndpointAdded, "service/web", 1)
	const flaps = 10
	var slowest time.Duration
	for i := range flaps {
		begin := time.Now()
		consul.SetHealth("web-1", "critical")
		told := untilTold(t, s, events.EndpointUnhealthy, "service/web", i+1)
		slowest = max(slowest, told[i].Time.Sub(begin))
		consul.SetHealth("web-1", "passing")
		untilTold(t, s, events.EndpointHealthy, "service/web", i+1)
	}
	t.Logf("from the check to the event: %s at most, %d times", slowest.Round(time.Millisecond), flaps)
	if slowest > time.Second {
		t.Error("over a second")
	}
	ids, want := map[string]bool{}, events.EndpointUnhealthy
	for _, e := range eventsOf(t, s, "?type=mesh.endpoint.*") {
		if ids[e.ID] {
			t.Errorf("%s %s is there twice", e.Type, e.ID)
		}
		ids[e.ID] = true
		if e.Type == events.EndpointAdded {
			continue
		}
		if e.Type != want {
			t.Errorf("told %s, want %s", e.Type, want)
		}
		want = map[string]string{events.EndpointHealthy: events.EndpointUnhealthy, events.EndpointUnhealthy: events.EndpointHealthy}[e.Type]
	}
	consul.Deregister(lab.Instance{ID: "web-1", Name: "web"})
	removed := untilTold(t, s, events.EndpointRemoved, "service/web", 1)
	gone := untilToldIn(t, 60*time.Second, s, events.ServiceDeregistered, "service/web", 1) // an empty service lingers for half a minute
	t.Logf("from the last instance's end to the service's: %s", gone[0].Time.Sub(removed[0].Time).Round(time.Millisecond))
}

// TestSidecarsAreTold when they come, are synced, and go.
func TestSidecarsAreTold(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 1)
	s := l.StartServer()
	client := l.Sidecar("client")
	subject := "proxy/" + client.ID
	untilTold(t, s, events.ProxyConnected, subject, 1)
	untilTold(t, s, events.ProxySynced, subject, 1)
	client.Kill()
	lab.Until(t, 90*time.Second, "the sidecar is told to be gone", func() error { // a minute's grace after the start
		if len(eventsOf(t, s, "?type="+events.ProxyDisconnected)) == 0 {
			return fmt.Errorf("it is not")
		}
		return nil
	})
}

// TestAnApplicationPublishes with plain HTTP through its sidecar.
func TestAnApplicationPublishes(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Service("orders", 1)
	s := l.NewServer("--roles", "xds,admin,events", "--app-addr", fmt.Sprint("127.0.0.1:", lab.FreePort(l)))
	s.Start()
	s.WaitReady(20 * time.Second)
	client := l.Sidecar("client")
	untilTaken(t, client)
	for body, want := range map[string]int{
		`{"type":"order.created","data":{"n":1},"subject":"eu/7"}`:             202,
		`{"specversion":"1.0","id":"x","source":"/shop","type":"order.paid"}`:  202,
		`{"type":"mesh.service.registered"}`:                                   400,
		`hello`:                                                                400,
		`{"type":"order.created","data":"` + strings.Repeat("x", 5<<20) + `"}`: 413,
		`[{"type":"order.shipped"},{"type":"order.received"}]`:                 202,
	} {
		status, answer, err := publish(client, body)
		if err != nil || status != want {
			t.Errorf("%.60s: %d %.200s %v, want %d", body, status, answer, err, want)
		}
	}
	got := map[string]int{}
	for _, e := range eventsOf(t, s, "?type=order.*") {
		got[e.Type]++
	}
	if len(got) != 4 || got["order.created"] != 1 {
		t.Errorf("kept %v", got)
	}
}

func publish(c *lab.Sidecar, body string) (int, string, error) {
	resp, err := c.Client().Post("http://events.mesh/v1/events", "application/json", strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(raw), err
}

// untilTaken waits until the sidecar leads to a server.
func untilTaken(t *testing.T, c *lab.Sidecar) {
	t.Helper()
	lab.Until(t, 20*time.Second, "events are taken", func() error {
		status, _, err := publish(c, `{"type":"mesh.none"}`)
		if err == nil && status != http.StatusBadRequest {
			err = fmt.Errorf("%d", status)
		}
		return err
	})
}

// TestEventsOutliveTheServer: killed again and again while applications publish and
// the catalog changes, what was answered with 202 is there, and what is told last
// of every service is how it is.
func TestEventsOutliveTheServer(t *testing.T) {
	t.Parallel()
	const publishers = 8
	kills := kills(t, 15)
	l := lab.New(t)
	l.Service("orders", 1)
	s := l.NewServer("--roles", "xds,admin,events", "--app-addr", fmt.Sprint("127.0.0.1:", lab.FreePort(l)))
	s.Start()
	s.WaitReady(20 * time.Second)
	client := l.Sidecar("client")
	var mu sync.Mutex
	taken, took := map[string]bool{}, []time.Duration(nil)
	there := map[string]bool{}
	for kill := range kills {
		untilTaken(t, client)
		stop := make(chan struct{})
		var crew sync.WaitGroup
		for p := range publishers {
			crew.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					id, begin := fmt.Sprintf("%d-%d-%d", kill, p, i), time.Now()
					status, _, err := publish(client, fmt.Sprintf(`{"type":"order.created","id":%q,"source":"/shop"}`, id))
					if err == nil && status == http.StatusAccepted {
						mu.Lock()
						taken[id], took = true, append(took, time.Since(begin))
						mu.Unlock()
					}
				}
			})
		}
		crew.Go(func() {
			for i := range 40 {
				name := fmt.Sprint("shop-", rand.IntN(5))
				in := lab.Instance{ID: name, Name: name, Address: "127.0.0.1", Port: 1000 + i}
				if there[name] {
					l.Registry.Deregister(in)
				} else {
					l.Registry.Register(in)
				}
				there[name] = !there[name]
				<-time.After(10 * time.Millisecond) // a pace of changes
			}
		})
		<-time.After(time.Duration(100+rand.IntN(700)) * time.Millisecond) // the moment of the kill is what varies
		s.Kill()
		close(stop)
		crew.Wait()
		s.Start()
		s.WaitReady(20 * time.Second)
	}
	lab.Until(t, 20*time.Second, "the log says how it is", func() error { return agrees(eventsOf(t, s, ""), there, taken) })
	slices.Sort(took)
	t.Logf("%d kills; %d events taken, from request to 202: median %s, p99 %s", kills, len(took),
		took[len(took)/2].Round(100*time.Microsecond), took[len(took)*99/100].Round(100*time.Microsecond))
	if len(taken) < 100 {
		t.Errorf("only %d events were taken", len(taken))
	}
}

// agrees compares a log with what is, and with what was answered for.
func agrees(log []toldEvent, there, taken map[string]bool) error {
	heard, kept, own := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, e := range log {
		switch {
		case e.Source == "/shop":
			kept[e.ID] = true
		case own[e.ID]:
			return lab.Stop(fmt.Errorf("%s %s of %s is told twice", e.Type, e.ID, e.Subject))
		default:
			own[e.ID] = true
		}
		switch e.Type {
		case events.ServiceRegistered:
			heard[e.Data.Service] = true
		case events.ServiceDeregistered:
			heard[e.Data.Service] = false
		}
	}
	for id := range taken {
		if !kept[id] {
			return lab.Stop(fmt.Errorf("%s was answered with 202 and is not there", id))
		}
	}
	for name, is := range there {
		if heard[name] != is {
			return fmt.Errorf("%s is there: %t, told: %t", name, is, heard[name])
		}
	}
	return nil
}
