package coordinator_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/coordinator"
	"meshlite.dev/internal/txn/journal"
	"meshlite.dev/internal/txn/journal/bolt"
)

// TestKilledAtEachRecord runs a coordinator with a journal in a file in a process
// of its own, which kills itself (SIGKILL) before or after its n-th record, for
// every n; then one that recovers, killed at its first record, one at its second
// and so on, until one comes to the end. Then every party has done as the journal
// says, and none was forgotten.
func TestKilledAtEachRecord(t *testing.T) {
	for _, when := range []string{"before", "after"} {
		t.Run(when, func(t *testing.T) {
			killed := 0
			for n := 1; ; n++ {
				dir := t.TempDir()
				if !live(t, dir, "begin", when, n) {
					examine(t, dir, true)
					break
				}
				killed++
				again := 1
				for live(t, dir, "recover", when, again) {
					again++
				}
				examine(t, dir, false)
			}
			if killed < 2*orders { // each has two records at least
				t.Errorf("it was killed %d times only", killed)
			}
		})
	}
}

const (
	childDir  = "TXN_TEST_DIR" // set in the process that is to be killed, with the next three
	childWhat = "TXN_TEST_WHAT"
	childWhen = "TXN_TEST_WHEN"
	childKill = "TXN_TEST_KILL"

	orders = 6
)

// live runs a child; true when it was killed.
func live(t *testing.T, dir, what, when string, kill int) bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childDir+"="+dir, childWhat+"="+what, childWhen+"="+when, childKill+"="+strconv.Itoa(kill), "GORACE=atexit_sleep_ms=0")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() && s.Signal() == syscall.SIGKILL {
			return true
		}
	}
	if err != nil {
		t.Fatalf("child %s, kill %s record %d: %v\n%s", what, when, kill, err, out)
	}
	return false
}

// examine compares the parties' ledger with the journal.
func examine(t *testing.T, dir string, whole bool) {
	t.Helper()
	db, err := bolt.Open(filepath.Join(dir, "transactions.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, records, err := bolt.New(db, nil).Recover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ledger, err := readLedger(filepath.Join(dir, "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	outcomes := map[txn.Outcome]int{}
	for _, r := range records {
		outcomes[r.Outcome]++
		want := map[txn.Outcome]string{txn.Commit: "committed", txn.Abort: "rolled back"}[r.Outcome]
		if r.Phase != txn.Done || r.Status() == txn.Heuristic {
			t.Errorf("%s ends %s, %s", r.ID, r.Phase, r.Status())
		}
		for _, p := range r.Parties {
			key := fmt.Sprint(r.ID, "/", p.ID)
			if got := ledger[key]; got != want && (got != "" || want == "committed") {
				t.Errorf("the journal says %s, %s is %q", r.Outcome, key, got)
			}
			delete(ledger, key)
		}
	}
	for key, is := range ledger {
		t.Errorf("the journal does not know %s, which is %s", key, is)
	}
	if whole && (len(records) != orders || outcomes[txn.Commit] == 0 || outcomes[txn.Abort] == 0) {
		t.Errorf("without a kill there are %d transactions: %v", len(records), outcomes)
	}
}

// readLedger gives what each party did last; an error where one did both.
func readLedger(path string) (map[string]string, error) {
	raw, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	is := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		key, now, _ := strings.Cut(strings.TrimSpace(line), " ")
		if old := is[key]; old != "" && old != "prepared" && old != now && now != "prepared" {
			return nil, fmt.Errorf("%s was %s and is %s", key, old, now)
		}
		if old := is[key]; old == "" || old == "prepared" {
			is[key] = now
		}
	}
	return is, nil
}

// child is the process that is killed; false in any other.
func child() bool {
	dir := os.Getenv(childDir)
	if dir == "" {
		return false
	}
	if err := work(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

func work(dir string) error {
	kill, err := strconv.Atoi(os.Getenv(childKill))
	if err != nil {
		return err
	}
	db, err := bolt.Open(filepath.Join(dir, "transactions.db"))
	if err != nil {
		return err
	}
	p, err := openFolk(filepath.Join(dir, "ledger"))
	if err != nil {
		return err
	}
	cfg := coordinator.Default()
	cfg.Journal = &deadly{Journal: bolt.New(db, nil), after: os.Getenv(childWhen) == "after", left: kill}
	cfg.Participant = func(txn.Tx, txn.Party) coordinator.Participant { return p }
	cfg.Backoff, cfg.MaxBackoff = time.Millisecond, 10*time.Millisecond
	c, err := coordinator.New(cfg)
	if err != nil {
		return err
	}
	ctx, leave := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	err = use(ctx, c)
	leave()
	return errors.Join(err, <-ended, db.Close())
}

// use begins the orders, where that is the task, and waits until all are done.
func use(ctx context.Context, c *coordinator.Coordinator) error {
	if os.Getenv(childWhat) == "begin" {
		begun := make(chan error, orders)
		for i := range orders {
			go func() {
				o := order(txn.ID(fmt.Sprint("t", i)), "a", "b", "c")
				o.Timeout = 50 * time.Millisecond // of those that are silent
				if i == 0 {                       // this one commits, however slow the machine is
					o.Timeout = time.Minute
				}
				_, err := c.Begin(ctx, o)
				begun <- err
			}()
		}
		for range orders {
			if err := <-begun; err != nil {
				return err
			}
		}
	}
	views, err := c.List(ctx)
	for _, v := range views {
		_, wait := c.Await(ctx, v.ID, done)
		err = errors.Join(err, wait)
	}
	return err
}

// deadly kills its process before or after a record. It writes one at a time.
type deadly struct {
	journal.Journal
	after bool
	left  int
}

func (d *deadly) Append(ctx context.Context, records ...txn.Record) error {
	for _, r := range records {
		d.left--
		if d.left == 0 && !d.after {
			die()
		}
		if err := d.Journal.Append(ctx, r); err != nil {
			return err
		}
		if d.left == 0 {
			die()
		}
	}
	return nil
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // until it comes
}

// folk are the parties of the child: what they do they write down first.
type folk struct {
	*shop
	file *os.File
}

func openFolk(path string) (*folk, error) {
	is, err := readLedger(path)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	s := newShop()
	s.ledger = is
	return &folk{s, f}, nil
}

// luck is a number that a party of a transaction always has.
func luck(b coordinator.Branch) uint32 {
	h := fnv.New32a()
	fmt.Fprint(h, b.Tx.ID, b.Party.ID)
	return h.Sum32() % 8
}

func (f *folk) write(b coordinator.Branch, now string) error {
	_, err := fmt.Fprintf(f.file, "%s/%s %s\n", b.Tx.ID, b.Party.ID, now)
	return err
}

func (f *folk) Prepare(ctx context.Context, b coordinator.Branch) coordinator.Answer {
	f.mu.Lock()
	old := f.ledger[fmt.Sprint(b.Tx.ID, "/", b.Party.ID)]
	f.mu.Unlock()
	if old == "rolled back" || b.Tx.ID != "t0" && luck(b) == 0 {
		return coordinator.Answer{Vote: txn.No, Text: "bad luck"}
	}
	if err := f.write(b, "prepared"); err != nil {
		return coordinator.Answer{Vote: txn.No, Text: err.Error()}
	}
	if b.Tx.ID != "t0" && luck(b) == 1 {
		<-ctx.Done()
		return coordinator.Answer{}
	}
	return yes
}

func (f *folk) Commit(_ context.Context, b coordinator.Branch) error {
	if b.Try < int(luck(b))/2 {
		return errAway
	}
	return f.write(b, "committed")
}

func (f *folk) Rollback(_ context.Context, b coordinator.Branch) error {
	if b.Try < int(luck(b))/2 {
		return errAway
	}
	return f.write(b, "rolled back")
}
