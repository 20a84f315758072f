//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/web"
	"meshlite.dev/test/lab"
)

// shop are the services of a shop that take part in transactions, and the test's own
// ledger of what each was told.
type shop struct {
	t *testing.T

	mu      sync.Mutex
	ledger  map[string]string // "transaction service": prepared, committed or rolled back
	keys    map[string]string // of a call, by transaction, service and op
	faults  []string
	trouble func(service, id, op string) int // a status, 0 for its duty; nil is always 0
}

// newShop starts and registers one instance of each service.
func newShop(t *testing.T, l *lab.Lab, services ...string) *shop {
	s := &shop{t: t, ledger: map[string]string{}, keys: map[string]string{}}
	for _, name := range services {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, name) }))
		t.Cleanup(srv.Close)
		addr := srv.Listener.Addr().(*net.TCPAddr)
		l.Registry.Register(lab.Instance{ID: name + "-1", Name: name, Address: addr.IP.String(), Port: addr.Port, Meta: map[string]string{"mesh-transactions": "/tx"}})
	}
	return s
}

func (s *shop) serve(w http.ResponseWriter, r *http.Request, service string) {
	_, _ = io.Copy(io.Discard, r.Body)
	id, op := r.Header.Get(web.HeaderID), r.Header.Get(web.HeaderOp)
	s.mu.Lock()
	defer s.mu.Unlock()
	call := id + " " + service
	if key := r.Header.Get(web.HeaderKey); s.keys[call+" "+op] == "" {
		s.keys[call+" "+op] = key
	} else if s.keys[call+" "+op] != key {
		s.faults = append(s.faults, fmt.Sprintf("%s %s came with key %s and %s", call, op, s.keys[call+" "+op], key))
	}
	if s.trouble != nil {
		if status := s.trouble(service, id, op); status != 0 {
			if op == "prepare" && status != http.StatusConflict && s.ledger[call] == "" {
				s.ledger[call] = "prepared" // it has done it, and its answer is lost
			}
			if op == "prepare" && status == http.StatusConflict {
				delete(s.ledger, call) // who says no holds nothing, whatever it said before
			}
			http.Error(w, "trouble", status)
			return
		}
	}
	was, now := s.ledger[call], map[string]string{"prepare": "prepared", "commit": "committed", "rollback": "rolled back"}[op]
	switch {
	case op == "prepare" && was == "rolled back":
		http.Error(w, "it was rolled back", http.StatusConflict)
		return
	case op == "prepare" && was != "":
		now = was // once more
	case op == "commit" && was == "rolled back", op == "rollback" && was == "committed", op == "commit" && was == "":
		s.faults = append(s.faults, fmt.Sprintf("%s is told to %s and was %q", call, op, was))
	}
	s.ledger[call] = now
	w.WriteHeader(http.StatusNoContent)
}

// state is what a service was told of a transaction last.
func (s *shop) state(id, service string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ledger[id+" "+service]
}

// coordinated starts an xds-server that coordinates, through a sidecar of its own,
// and a client's sidecar.
func coordinated(l *lab.Lab, flags ...string) (*lab.Server, *lab.Sidecar) {
	s, _ := startCoordinator(l, "coordinator-1", flags...)
	return s, l.Sidecar("client")
}

// startCoordinator is coordinated without the client; app is where it takes
// transactions.
func startCoordinator(l *lab.Lab, id string, flags ...string) (s *lab.Server, app string) {
	own := lab.FreePort(l)
	app = fmt.Sprint("127.0.0.1:", lab.FreePort(l))
	s = l.StartServer(append([]string{
		"--roles", "xds,admin,transactions", "--app-addr", app, "--app-proxy", fmt.Sprint("http://127.0.0.1:", own),
	}, flags...)...)
	c := l.NewSidecar("coordinator", id, "--outbound-port", strconv.Itoa(own))
	c.Start()
	c.WaitReady(20 * time.Second)
	return s, app
}

func order(id, timeout string, services ...string) []byte {
	r := web.Request{ID: id, Timeout: timeout}
	for _, s := range services {
		r.Participants = append(r.Participants, web.Participant{Service: s, Prepare: "/tx/prepare", Commit: "/tx/commit", Rollback: "/tx/rollback", Data: []byte(`{"n":1}`)})
	}
	raw, _ := json.Marshal(r) // plain data
	return raw
}

// transact posts a transaction through the client's sidecar, as curl would.
func transact(c *http.Client, raw []byte, header ...string) (int, web.Transaction, error) {
	req, err := http.NewRequest(http.MethodPost, "http://transactions.mesh/v1/transactions", bytes.NewReader(raw))
	if err != nil {
		return 0, web.Transaction{}, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return ask(c, req)
}

// taken waits until somebody coordinates.
func taken(t *testing.T, client *lab.Sidecar, limit time.Duration) {
	t.Helper()
	lab.Until(t, limit, "transactions are taken", func() error {
		status, _, err := inquire(client.Client(), "none")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%d", status)
		}
		return err
	})
}

func inquire(c *http.Client, id string) (int, web.Transaction, error) {
	req, err := http.NewRequest(http.MethodGet, "http://transactions.mesh/v1/transactions/"+id, nil)
	if err != nil {
		return 0, web.Transaction{}, err
	}
	return ask(c, req)
}

func ask(c *http.Client, req *http.Request) (int, web.Transaction, error) {
	var tx web.Transaction
	resp, err := c.Do(req)
	if err != nil {
		return 0, tx, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err == nil && strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		err = json.Unmarshal(raw, &tx)
	}
	return resp.StatusCode, tx, err
}

// TestTransactionsThroughTheMesh: a plain client and plain services, each behind
// nothing but an Envoy.
func TestTransactionsThroughTheMesh(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	s := newShop(t, l, "order", "stock", "payment")
	l.Registry.Register(lab.Instance{ID: "plain-1", Name: "plain", Address: "127.0.0.1", Port: 9})
	_, client := coordinated(l)
	taken(t, client, 15*time.Second)
	for _, tt := range []struct {
		name    string
		trouble func(service, id, op string) int
		status  int
		want    txn.Status
		end     string
	}{
		{"all-yes", nil, http.StatusOK, txn.Committed, "committed"},
		{"one-no", func(service, _, op string) int {
			if service == "payment" && op == "prepare" {
				return http.StatusConflict
			}
			return 0
		}, http.StatusConflict, txn.RolledBack, "rolled back"},
		{"one-silent", func(service, _, op string) int {
			if service == "stock" && op == "prepare" {
				return http.StatusTooEarly
			}
			return 0
		}, http.StatusConflict, txn.RolledBack, "rolled back"},
		{"one-crash", func(service, _, op string) int {
			if service == "order" && op == "prepare" {
				return http.StatusInternalServerError
			}
			return 0
		}, http.StatusConflict, txn.RolledBack, "rolled back"},
	} {
		s.mu.Lock()
		s.trouble = tt.trouble
		s.mu.Unlock()
		status, tx, err := transact(client.Client(), order(tt.name, "1500ms", "order", "stock", "payment"))
		if err != nil || status != tt.status || tx.Status != tt.want {
			t.Errorf("%s: %d %+v, %v", tt.name, status, tx, err)
		}
		lab.Until(t, 10*time.Second, tt.name+" has ended everywhere", func() error {
			for _, service := range []string{"order", "stock", "payment"} {
				if got := s.state(tt.name, service); got != tt.end && !(tt.end == "rolled back" && got == "") {
					return fmt.Errorf("%s is %q", service, got)
				}
			}
			return nil
		})
	}
	status, _, err := transact(client.Client(), order("not-in", "5s", "order", "plain"))
	if err != nil || status != http.StatusBadRequest || s.state("not-in", "order") != "" {
		t.Errorf("with one that has not opted in: %d, %v", status, err)
	}
	if len(s.faults) > 0 {
		t.Error(s.faults)
	}
}

// TestTransactionsOutliveTheirCoordinator: killed again and again with many under way
// and participants that fail at random, no participant ends otherwise than the
// journal says, and none is forgotten.
func TestTransactionsOutliveTheirCoordinator(t *testing.T) {
	t.Parallel()
	const kills, each = 8, 200
	l := lab.New(t)
	services := []string{"order", "stock", "payment"}
	s := newShop(t, l, services...)
	s.trouble = atRandom
	server, client := coordinated(l)
	answers := &told{by: map[string]txn.Status{}}
	for kill := range kills {
		taken(t, client, 20*time.Second)
		var crew sync.WaitGroup
		for i := range each {
			id := fmt.Sprintf("t-%d-%d", kill, i)
			crew.Go(func() {
				if status, tx, err := transact(client.Client(), order(id, "3s", services...)); err == nil && status < 500 {
					answers.note(id, tx.Status)
				}
			})
		}
		<-time.After(time.Duration(50+rand.IntN(600)) * time.Millisecond) // the moment of the kill is what varies
		server.Kill()
		crew.Wait()
		server.Start()
		server.WaitReady(20 * time.Second)
	}
	begin := time.Now()
	lab.Until(t, 60*time.Second, "every transaction has ended everywhere", func() error { return s.agrees(client.Client(), answers) })
	committed := 0
	for _, status := range answers.by {
		if status == txn.Committed {
			committed++
		}
	}
	t.Logf("%d transactions, %d kills, %d answered COMMITTED; all resolved %s after the last restart", kills*each, kills, committed, time.Since(begin).Round(time.Millisecond))
	if committed == 0 {
		t.Error("no transaction was committed")
	}
	toldTransactions(t, server)
	if len(s.faults) > 0 {
		t.Errorf("%d faults, such as %s", len(s.faults), s.faults[0])
	}
}

// atRandom is trouble now and then.
func atRandom(_, id, op string) int {
	switch n := rand.IntN(20); {
	case n == 0 && op == "prepare" && strings.HasSuffix(id, "7"):
		return http.StatusConflict
	case n == 1:
		return http.StatusInternalServerError
	case n == 2:
		return http.StatusTooEarly
	}
	return 0
}

// TestReplicasTakeTurnsToCoordinate: with the journal in Consul one of two servers
// coordinates and the other says so; killed with many under way, the other takes over
// and brings each of them to the end that the journal says.
func TestReplicasTakeTurnsToCoordinate(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.UseConsul(l.DataFolder()...)
	takeTurns(t, l, "--store", "consul")
}

// TestReplicasTakeTurnsOnKubernetes: the same with the journal in a real Kubernetes
// API, by the rights of the manifests.
func TestReplicasTakeTurnsOnKubernetes(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	applied(t, l)
	takeTurns(t, l, "--store", "kube", "--kubeconfig", l.Cluster.KubeconfigFor("meshlite-system/xds-server"), "--root-namespace", "meshlite-system")
}

func takeTurns(t *testing.T, l *lab.Lab, flags ...string) {
	const each = 200
	services := []string{"order", "stock", "payment"}
	s := newShop(t, l, services...)
	s.trouble = atRandom
	first, _ := startCoordinator(l, "coordinator-1", flags...)
	second, app := startCoordinator(l, "coordinator-2", append(flags, "--state-dir", t.TempDir())...)
	client := l.Sidecar("client") // of the second, and led to the first
	taken(t, client, 20*time.Second)
	if resp, err := http.Get("http://" + app + web.Path + "/none"); err != nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("the replica that does not coordinate answers %+v, %v", resp, err)
	} else {
		resp.Body.Close()
	}
	answers := &told{by: map[string]txn.Status{}}
	var crew sync.WaitGroup
	for i := range each {
		id := fmt.Sprintf("t-%d", i)
		crew.Go(func() {
			if status, tx, err := transact(client.Client(), order(id, "5s", services...)); err == nil && status < 500 {
				answers.note(id, tx.Status)
			}
		})
	}
	lab.Until(t, 10*time.Second, "some have ended", func() error {
		answers.mu.Lock()
		defer answers.mu.Unlock()
		if n := len(answers.by); n < each/10 {
			return fmt.Errorf("%d answers", n)
		}
		return nil
	})
	first.Kill()
	begin := time.Now()
	crew.Wait()
	taken(t, client, 60*time.Second)
	t.Logf("%d of %d were answered before the kill; the other server took over after %s", len(answers.by), each, time.Since(begin).Round(100*time.Millisecond))
	lab.Until(t, 60*time.Second, "every transaction has ended everywhere", func() error { return s.agrees(client.Client(), answers) })
	t.Logf("all resolved %s after the kill", time.Since(begin).Round(100*time.Millisecond))
	if status, tx, err := transact(client.Client(), order("after", "5s", services...)); err != nil || status != http.StatusOK {
		t.Errorf("a transaction at the other server: %d %+v, %v", status, tx, err)
	}
	toldTransactions(t, second)
	first.Start()
	first.WaitReady(20 * time.Second)
	toldTransactions(t, second, first) // the same ids in both
	if len(s.faults) > 0 {
		t.Errorf("%d faults, such as %s", len(s.faults), s.faults[0])
	}
}

// told are the answers that clients got.
type told struct {
	mu sync.Mutex
	by map[string]txn.Status
}

func (a *told) note(id string, s txn.Status) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.by[id] = s
}

// agrees compares the ledger with the inquiry, and with what clients were told.
func (s *shop) agrees(c *http.Client, answers *told) error {
	s.mu.Lock()
	s.trouble = nil
	ledger := maps.Clone(s.ledger)
	s.mu.Unlock()
	byID := map[string]map[string]bool{}
	for call, state := range ledger {
		id, _, _ := strings.Cut(call, " ")
		if byID[id] == nil {
			byID[id] = map[string]bool{}
		}
		byID[id][state] = true
	}
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		status, tx, err := inquire(c, id)
		if err != nil {
			return fmt.Errorf("inquiry about %s: %w", id, err)
		}
		if status != http.StatusOK {
			return fmt.Errorf("inquiry about %s: %d", id, status)
		}
		want := map[txn.Status]string{txn.Committed: "committed", txn.RolledBack: "rolled back"}[tx.Status]
		if len(byID[id]) != 1 || !byID[id][want] {
			return fmt.Errorf("%s is %s, and the services have %v", id, tx.Status, byID[id])
		}
		if was, ok := answers.by[id]; ok && was != tx.Status {
			return lab.Stop(fmt.Errorf("%s is %s, and its client was told %s", id, tx.Status, was))
		}
	}
	return nil
}

// TestExampleOfTransactions runs the example as its reader would.
func TestExampleOfTransactions(t *testing.T) {
	root, err := lab.Root()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", filepath.Join(root, "examples", "transactions", "run.sh"))
	cmd.Env = append(os.Environ(), "BIN="+filepath.Dir(lab.Binaries.XDSServer), "NO_COLOR=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"COMMITTED: all 3 said yes\nleft: 3 books, 20 coins", "ROLLED_BACK: payment: 100 coins are wanted and 20 left\nleft: 3 books, 20 coins", "ROLLED_BACK: no answer from payment", "order-3   ROLLED_BACK"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	if got := strings.Count(string(out), "left: 3 books, 20 coins"); got != 3 {
		t.Errorf("the shop is %d times as it should be, want 3:\n%s", got, out)
	}
}
