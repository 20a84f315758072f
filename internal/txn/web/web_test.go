package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/coordinator"
	"meshlite.dev/internal/txn/journal/bolt"
	"meshlite.dev/internal/txn/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mall is all participants: a proxy that answers for every host.
type mall struct {
	*httptest.Server
	mu     sync.Mutex
	calls  []string                                                    // "stock prepare"
	keys   map[string][]string                                         // by call: the Idempotency-Keys seen
	traces map[string]bool                                             // trace ids seen
	answer func(w http.ResponseWriter, service, op string, n int) bool // n counts the call; false leaves it to 200
}

func newMall(t *testing.T) *mall {
	m := &mall{keys: map[string][]string{}, traces: map[string]bool{}}
	m.Server = httptest.NewServer(m)
	t.Cleanup(m.Close)
	return m
}

func (m *mall) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	service, op := r.URL.Hostname(), r.Header.Get(web.HeaderOp)
	call := service + " " + op
	m.mu.Lock()
	m.calls = append(m.calls, call)
	m.keys[call] = append(m.keys[call], r.Header.Get(web.HeaderKey))
	m.traces[strings.Split(r.Header.Get("traceparent"), "-")[1]] = true
	n, answer := len(m.keys[call]), m.answer
	m.mu.Unlock()
	if want := "/tx/" + op; r.URL.Path != want || r.Header.Get(web.HeaderBranch) != service {
		http.Error(w, "called at "+r.URL.Path+", want "+want, http.StatusTeapot)
		return
	}
	if answer == nil || !answer(w, service, op, n) {
		w.WriteHeader(http.StatusNoContent)
	}
}

func (m *mall) seen() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.calls)
}

// desk is a server of transactions over a journal on disk.
type desk struct {
	t       *testing.T
	handler web.Handler
	journal string
	halt    func()
	c       *coordinator.Coordinator
}

func newDesk(t *testing.T, m *mall) *desk {
	d := &desk{t: t, journal: t.TempDir() + "/transactions.db"}
	d.handler = web.Handler{
		Coordinator: func() *coordinator.Coordinator { return d.c },
		OptedIn: func(service string) (string, error) {
			switch service {
			case "order", "stock", "payment":
				return "/tx", nil
			case "plain":
				return "", fmt.Errorf("takes no part in transactions: its instances need the meta mesh-transactions")
			}
			return "", fmt.Errorf("is not in the catalog")
		},
	}
	d.start(m)
	t.Cleanup(func() { d.halt() })
	return d
}

func (d *desk) start(m *mall) {
	d.t.Helper()
	proxy, err := url.Parse(m.URL)
	if err != nil {
		d.t.Fatal(err)
	}
	caller := web.NewCaller(proxy)
	db, err := bolt.Open(d.journal)
	if err != nil {
		d.t.Fatal(err)
	}
	cfg := coordinator.Default()
	cfg.Journal, cfg.Participant, cfg.Backoff = bolt.New(db, nil), caller.Participant, 20*time.Millisecond
	if d.c, err = coordinator.New(cfg); err != nil {
		d.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.c.Run(ctx) }()
	d.halt = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			d.t.Error(err)
		}
		caller.Close()
		if err := db.Close(); err != nil {
			d.t.Error(err)
		}
	})
}

func body(id string, services ...string) string {
	r := web.Request{ID: id, Timeout: "5s"}
	for _, s := range services {
		r.Participants = append(r.Participants, web.Participant{Service: s, Prepare: "/tx/prepare", Commit: "/tx/commit", Rollback: "/tx/rollback", Data: []byte(`{"n": 1}`)})
	}
	raw, _ := json.Marshal(r) // plain data
	return string(raw)
}

func (d *desk) post(text string, header ...string) (int, web.Transaction, web.Problem) {
	d.t.Helper()
	r := httptest.NewRequest(http.MethodPost, web.Path, strings.NewReader(text))
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return d.serve(r)
}

func (d *desk) get(id string) web.Transaction {
	d.t.Helper()
	status, tx, p := d.serve(httptest.NewRequest(http.MethodGet, web.Path+"/"+id, nil))
	if status != http.StatusOK {
		d.t.Fatalf("inquiry about %s: %d %+v", id, status, p)
	}
	return tx
}

func (d *desk) serve(r *http.Request) (status int, tx web.Transaction, p web.Problem) {
	d.t.Helper()
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	into := any(&tx)
	if w.Header().Get("Content-Type") == "application/problem+json" {
		into = &p
	}
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
		d.t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return w.Code, tx, p
}

// settled waits until nobody is owed anything.
func (d *desk) settled(id string) web.Transaction {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 10*time.Second)
	defer cancel()
	if _, err := d.c.Await(ctx, txn.ID(id), coordinator.Settled); err != nil {
		d.t.Fatal(err)
	}
	return d.get(id)
}

func TestAllYesCommits(t *testing.T) {
	m := newMall(t)
	d := newDesk(t, m)
	status, tx, _ := d.post(body("t-1", "order", "stock", "payment"))
	if status != http.StatusOK || tx.Status != txn.Committed || len(tx.Participants) != 3 {
		t.Fatalf("%d %+v", status, tx)
	}
	if tx = d.settled("t-1"); !tx.Settled || tx.Participants[1].Vote != "yes" || tx.Participants[1].Ending != "acked" {
		t.Errorf("in the end %+v", tx)
	}
	calls := m.seen()
	slices.Sort(calls)
	want := []string{"order commit", "order prepare", "payment commit", "payment prepare", "stock commit", "stock prepare"}
	if diff := cmp.Diff(want, calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if len(m.traces) != 1 {
		t.Errorf("one transaction has traces %v", m.traces)
	}
	// The same again is a question.
	if status, again, _ := d.post(body("t-1", "order", "stock", "payment")); status != http.StatusOK || again.Status != txn.Committed {
		t.Errorf("the same again: %d %+v", status, again)
	}
	if status, _, p := d.post(body("t-1", "order", "stock")); status != http.StatusUnprocessableEntity || !strings.Contains(p.Detail, "new id") {
		t.Errorf("the id with other content: %d %+v", status, p)
	}
	if len(m.seen()) != len(want) {
		t.Errorf("further calls %v", m.seen())
	}
}

func TestNoRollsBack(t *testing.T) {
	m := newMall(t)
	m.answer = func(w http.ResponseWriter, service, op string, _ int) bool {
		if service == "stock" && op == "prepare" {
			http.Error(w, "none left", http.StatusConflict)
			return true
		}
		return false
	}
	d := newDesk(t, m)
	status, tx, _ := d.post(body("t-1", "order", "stock"))
	if status != http.StatusConflict || tx.Status != txn.RolledBack || tx.Participants[1].Text != "none left" || tx.Participants[1].Vote != "no" {
		t.Fatalf("%d %+v", status, tx)
	}
	d.settled("t-1")
	if calls := m.seen(); slices.Contains(calls, "stock rollback") || !slices.Contains(calls, "order rollback") {
		t.Errorf("calls %v: who said no holds nothing, who said yes is told", calls)
	}
}

// A participant that hangs, or is still at it, may be prepared: it gets its roll-back
// once the time is up.
func TestSilenceRollsBack(t *testing.T) {
	m := newMall(t)
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	m.answer = func(w http.ResponseWriter, service, op string, _ int) bool {
		switch {
		case op != "prepare":
		case service == "stock":
			<-hang
		case service == "payment":
			w.WriteHeader(http.StatusTooEarly)
			return true
		}
		return false
	}
	d := newDesk(t, m)
	status, tx, _ := d.post(strings.Replace(body("t-1", "order", "payment", "stock"), "5s", "300ms", 1))
	if status != http.StatusConflict || tx.Status != txn.RolledBack {
		t.Fatalf("%d %+v", status, tx)
	}
	if got := tx.Participants[1].Text + tx.Reason; !strings.Contains(got, "still at it") && !strings.Contains(got, "no answer") {
		t.Errorf("the reason is %q", got)
	}
	d.settled("t-1")
	for _, s := range []string{"order", "payment", "stock"} {
		if !slices.Contains(m.seen(), s+" rollback") {
			t.Errorf("%s may be prepared and was not told: %v", s, m.seen())
		}
	}
}

// A commit is told until it is done, with the same key each time, over restarts too;
// meanwhile the inquiry says COMMITTED.
func TestCommitIsToldUntilDone(t *testing.T) {
	m := newMall(t)
	var mend sync.WaitGroup
	mend.Add(1)
	mended := make(chan struct{})
	m.answer = func(w http.ResponseWriter, service, op string, n int) bool {
		if service != "stock" || op != "commit" {
			return false
		}
		select {
		case <-mended:
			return false
		default:
		}
		if n == 3 {
			mend.Done()
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	d := newDesk(t, m)
	if status, tx, _ := d.post(body("t-1", "order", "stock")); status != http.StatusOK || tx.Settled {
		t.Fatalf("%d %+v", status, tx)
	}
	mend.Wait()
	if tx := d.get("t-1"); tx.Status != txn.Committed || tx.Settled || tx.Participants[1].Fault == "" {
		t.Errorf("while it is not done: %+v", tx)
	}
	d.halt()
	d.start(m)
	if tx := d.get("t-1"); tx.Status != txn.Committed {
		t.Errorf("after a restart: %+v", tx)
	}
	close(mended)
	if tx := d.settled("t-1"); !tx.Settled {
		t.Errorf("in the end %+v", tx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for call, keys := range m.keys {
		slices.Sort(keys)
		if len(slices.Compact(keys)) != 1 {
			t.Errorf("%s came with keys %v", call, keys)
		}
	}
}

// A participant that refuses the decision makes it HEURISTIC, and nobody hides it.
func TestRefusedCommitIsHeuristic(t *testing.T) {
	m := newMall(t)
	m.answer = func(w http.ResponseWriter, service, op string, _ int) bool {
		if service == "stock" && op == "commit" {
			http.Error(w, "the hold has expired", http.StatusConflict)
			return true
		}
		return false
	}
	d := newDesk(t, m)
	d.post(body("t-1", "order", "stock"))
	if tx := d.settled("t-1"); tx.Status != txn.Heuristic || tx.Settled || tx.Participants[1].Ending != "refused" || tx.Participants[1].Text != "the hold has expired" {
		t.Errorf("in the end %+v", tx)
	}
}

func TestAsyncAndInquiry(t *testing.T) {
	m := newMall(t)
	gate := make(chan struct{})
	m.answer = func(_ http.ResponseWriter, _, op string, _ int) bool {
		if op == "prepare" {
			<-gate
		}
		return false
	}
	d := newDesk(t, m)
	status, tx, _ := d.post(body("t-1", "order"), "Prefer", "wait=5, respond-async")
	if status != http.StatusAccepted || tx.Status != txn.Pending {
		t.Errorf("%d %+v", status, tx)
	}
	if tx = d.get("t-1"); tx.Status != txn.Pending {
		t.Errorf("during the vote %+v", tx)
	}
	close(gate)
	if tx = d.settled("t-1"); tx.Status != txn.Committed {
		t.Errorf("afterwards %+v", tx)
	}
	if tx = d.get("never"); tx.Status != txn.RolledBack || !strings.Contains(tx.Reason, "no such transaction") {
		t.Errorf("one that never began %+v", tx)
	}
	d.halt()
	d.c = nil
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, web.Path+"/t-1", nil))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("without a coordinator %d: it must not be taken for rolled back", w.Code)
	}
}

// A server that stops while a caller waits must not say that nothing has begun.
func TestAWaitThatIsCutIsNoBadRequest(t *testing.T) {
	m := newMall(t)
	ctx, cancel := context.WithCancel(t.Context())
	gate := make(chan struct{})
	m.answer = func(_ http.ResponseWriter, _, op string, _ int) bool {
		if op == "prepare" {
			cancel() // it has begun, and its caller waits
			<-gate
		}
		return false
	}
	d := newDesk(t, m)
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, web.Path, strings.NewReader(body("t-1", "order")))
	status, _, p := d.serve(r)
	close(gate)
	if status != http.StatusServiceUnavailable {
		t.Errorf("%d %+v", status, p)
	}
	d.settled("t-1")
}

func TestBadRequests(t *testing.T) {
	m := newMall(t)
	d := newDesk(t, m)
	many := make([]string, 101)
	for i := range many {
		many[i] = "order"
	}
	for _, tt := range []struct {
		name, text string
		status     int
		faults     []string // each within one of the answer's
	}{
		{"not JSON", `{"id": `, 400, []string{"not the JSON of a transaction"}},
		{"a list", `[]`, 400, []string{"cannot unmarshal array"}},
		{"two documents", body("t", "order") + body("t", "order"), 400, []string{"goes on after the transaction"}},
		{"a mistyped field", `{"id": "t", "participant": []}`, 400, []string{`unknown field "participant"`}},
		{"nothing", `{}`, 400, []string{"id: has 0 bytes", "participants: are 0: must be 1 to 100"}},
		{"a strange id", body("a/b", "order"), 400, []string{`id: "a/b"`}},
		{"negative time", strings.Replace(body("t", "order"), "5s", "-1s", 1), 400, []string{`timeout: "-1s": must be a duration over 0s and up to 5m0s`}},
		{"no time", strings.Replace(body("t", "order"), "5s", "soon", 1), 400, []string{`timeout: "soon"`}},
		{"a day", strings.Replace(body("t", "order"), "5s", "24h", 1), 400, []string{`timeout: "24h"`}},
		{"an unknown service", body("t", "order", "ghost"), 400, []string{`participants[1].service: "ghost": is not in the catalog`}},
		{"one that takes no part", body("t", "plain"), 400, []string{`"plain": takes no part in transactions: its instances need the meta mesh-transactions`}},
		{"one service twice", body("t", "order", "order"), 400, []string{"is that of participants[0] too"}},
		{"too many", body("t", many...), 400, []string{"participants: are 101: must be 1 to 100"}},
		{"another path", strings.Replace(body("t", "order"), "/tx/commit", "/admin/commit", 1), 400, []string{`participants[0].commit: "/admin/commit": must be a path under /tx`}},
		{"a path that leads out", strings.Replace(body("t", "order"), "/tx/commit", "/tx/../admin", 1), 400, []string{"participants[0].commit"}},
		{"a like prefix", strings.Replace(body("t", "order"), "/tx/commit", "/txt/commit", 1), 400, []string{"participants[0].commit"}},
		{"a query", strings.Replace(body("t", "order"), "/tx/commit", "/tx/commit?x=1", 1), 400, []string{"without query"}},
		{"no path", strings.Replace(body("t", "order"), "/tx/commit", "", 1), 400, []string{"participants[0].commit: is missing"}},
		{"large data", strings.Replace(body("t", "order"), `{"n":1}`, `"`+strings.Repeat("x", 17<<10)+`"`, 1), 400, []string{"participants[0].data: has 17410 bytes: must be at most 16384"}},
		{"a large body", `{"id": "` + strings.Repeat("x", 200<<10), 413, nil},
		{"everything at once", `{"id": "-", "timeout": "0s", "participants": [{"service": "order"}, {}]}`, 400,
			[]string{`id: "-"`, `timeout: "0s"`, "participants[0].prepare: is missing", "participants[0].rollback", "participants[1].service: is missing"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, _, p := d.post(tt.text)
			if status != tt.status || !strings.Contains(p.Detail, "nothing has begun") {
				t.Errorf("%d %+v", status, p)
			}
			for _, want := range tt.faults {
				if !slices.ContainsFunc(p.Faults, func(f string) bool { return strings.Contains(f, want) }) {
					t.Errorf("no fault says %q: %q", want, p.Faults)
				}
			}
		})
	}
	if list, err := d.c.List(t.Context()); err != nil || len(list) > 0 || len(m.seen()) > 0 {
		t.Errorf("journalled %v, %v; calls %v", list, err, m.seen())
	}
	for _, r := range []struct{ method, path, allow string }{{http.MethodGet, web.Path, "POST"}, {http.MethodDelete, web.Path + "/t", "GET"}, {http.MethodGet, "/", ""}} {
		w := httptest.NewRecorder()
		d.handler.ServeHTTP(w, httptest.NewRequest(r.method, r.path, nil))
		if w.Code != http.StatusMethodNotAllowed && r.allow != "" || w.Header().Get("Allow") != r.allow || w.Code < 400 {
			t.Errorf("%s %s: %d, Allow %q", r.method, r.path, w.Code, w.Header().Get("Allow"))
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(body("t", "order", "stock")))
	f.Add([]byte(`{"id":"t","participants":[{"service":"order","prepare":"/tx","commit":"/tx","rollback":"/tx","data":null}]}`))
	h := web.Handler{
		Coordinator: func() *coordinator.Coordinator { return nil },
		OptedIn:     func(string) (string, error) { return "/tx", nil },
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, web.Path, bytes.NewReader(raw)))
		if w.Code != http.StatusServiceUnavailable && w.Code != http.StatusBadRequest && w.Code != http.StatusRequestEntityTooLarge {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
