//go:build e2e

package kube_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"meshlite.dev/internal/kube"
	"meshlite.dev/internal/store"
	storekube "meshlite.dev/internal/store/kube"
	"meshlite.dev/internal/store/storetest"
	"meshlite.dev/test/lab"
)

func TestMain(m *testing.M) {
	if err := lab.FindTools(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// api is a real Kubernetes API whose clients can be cut off one by one.
type api struct {
	cluster *lab.Cluster
	spaces  atomic.Int64
}

func startAPI(t *testing.T) *api {
	a := &api{cluster: lab.New(t).StartCluster()}
	a.cluster.InstallCRDs()
	return a
}

// namespace makes one more, with nothing in it.
func (a *api) namespace() string {
	name := fmt.Sprint("test-", a.spaces.Add(1))
	a.cluster.MustKubectl("create", "namespace", name)
	return name
}

// wired is a store with connections of its own.
type wired struct {
	*storekube.Store
	wire *wire
}

func (a *api) open(t *testing.T, namespace string) wired {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	cfg, err := kube.Connect(a.cluster.Kubeconfig(), log)
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{}
	cfg.Dial = w.dial
	s, err := storekube.New(storekube.Config{REST: cfg, Namespace: namespace, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	return wired{s, w}
}

// wire is the way of one process to the API.
type wire struct {
	mu    sync.Mutex
	isCut bool
	conns []net.Conn
}

var errCut = errors.New("the wire is cut")

func (w *wire) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.isCut {
		_ = conn.Close()
		return nil, errCut
	}
	w.conns = append(w.conns, conn)
	return conn, nil
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isCut = true
	for _, c := range w.conns {
		_ = c.Close()
	}
}

func (a *api) outage() func() {
	a.cluster.Kill()
	return func() { a.cluster.Start(); a.cluster.WaitReady(60 * time.Second) }
}

func TestContract(t *testing.T) {
	a := startAPI(t)
	storetest.Run(t, func(t *testing.T) store.Store { return a.open(t, a.namespace()) })
}

func TestLocks(t *testing.T) {
	a := startAPI(t)
	storetest.RunLocker(t, func(*testing.T) storetest.Locks {
		ns := a.namespace()
		return storetest.Locks{
			Open:   func(t *testing.T) store.Locker { return a.open(t, ns) },
			Cut:    func(l store.Locker) { l.(wired).wire.cut() },
			Outage: a.outage,
		}
	})
}

func TestBoards(t *testing.T) {
	a := startAPI(t)
	storetest.RunBoard(t, func(*testing.T) storetest.Boards {
		ns := a.namespace()
		return storetest.Boards{
			Open:   func(t *testing.T) store.Board { return a.open(t, ns) },
			Cut:    func(b store.Board) { b.(wired).wire.cut() },
			Outage: a.outage,
		}
	})
}

// TestPeopleCanReadIt: documents, sets and the pointer are objects that kubectl
// lists, a set of thousands of documents fits one, and what was read back is
// what was written.
func TestPeopleCanReadIt(t *testing.T) {
	a := startAPI(t)
	ns := a.namespace()
	s := a.open(t, ns)
	document := `{"apiVersion":"meshlite.dev/v1alpha1","kind":"ResiliencePolicy","metadata":{"name":"orders","namespace":"default"},"spec":{"retry":{"attempts":2},"targetRefs":[{"kind":"Service","name":"orders"}]}}`
	sum := sha256.Sum256([]byte(document))
	hash := hex.EncodeToString(sum[:])
	record := `{"kind":"ResiliencePolicy","namespace":"default","name":"orders","generation":1,"source":"kube:x","document":` + document + `}`
	for _, n := range []int{1, 5_000} {
		var pins []string
		for i := range n {
			pins = append(pins, fmt.Sprintf(`{"kind":"ResiliencePolicy","namespace":"default","name":"p%05d","generation":%d,"document":"%s"}`, i, i+1, hash))
		}
		set := fmt.Sprintf(`{"number":%d,"documents":%d,"pins":[%s]}`, n, n, strings.Join(pins, ","))
		key := fmt.Sprintf("revisions/%064d", n)
		err := s.Commit(t.Context(), store.Op{Key: "documents/" + hash, Value: []byte(record)}, store.Op{Key: key, Value: []byte(set)},
			store.Op{Key: "revision", Value: fmt.Appendf(nil, `{"hash":"%064d","number":%d,"builder":"1"}`, n, n)})
		if err != nil {
			t.Fatal(err)
		}
		for key, want := range map[string]string{key: set, "documents/" + hash: record, "revision": fmt.Sprintf(`{"hash":"%064d","number":%d,"builder":"1"}`, n, n)} {
			e, err := s.Get(t.Context(), key)
			if err != nil || !sameJSON(t, e.Value, []byte(want)) {
				t.Errorf("%s reads %.300s, %v; want %.300s", key, e.Value, err, want)
			}
		}
	}
	for _, tc := range []struct{ args, says string }{
		{"get prev", "orders"}, {"get pro", "5000"}, {"get pro current", "5000"}, {"get mesh", "current"},
	} {
		if out := a.cluster.MustKubectl(append(strings.Fields(tc.args), "-n", ns)...); !strings.Contains(out, tc.says) {
			t.Errorf("kubectl %s shows no %q:\n%s", tc.args, tc.says, out)
		}
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var texts [2]string
	for i, raw := range [][]byte{a, b} {
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatal(err)
		}
		out, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		texts[i] = string(out)
	}
	return texts[0] == texts[1]
}
