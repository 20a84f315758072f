package file_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/file"
	"meshlite.dev/internal/policy/gather"
	"meshlite.dev/internal/policy/policytest"
	"meshlite.dev/internal/policy/revision"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func document(name string, attempts string) string {
	return "apiVersion: meshlite.dev/v1alpha1\nkind: ResiliencePolicy\nmetadata: {name: " + name + "}\nspec:\n  targetRefs: [{kind: Service, name: " + name + "}]\n  retry: {attempts: " + attempts + "}\n"
}

// follow runs a source on dir; next returns each proposal.
func follow(t *testing.T, dir string) (next func() policy.Proposal) {
	t.Helper()
	s, err := file.New(file.Config{Dir: dir, Timing: gather.Timing{Quiet: 20 * time.Millisecond}, Rescan: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	proposals, done := make(chan policy.Proposal, 16), make(chan error, 1)
	go func() { done <- s.Run(ctx, func(p policy.Proposal) { proposals <- p }) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return func() policy.Proposal {
		t.Helper()
		select {
		case p := <-proposals:
			return p
		case <-time.After(10 * time.Second):
			t.Fatal("nothing was proposed")
			return policy.Proposal{}
		}
	}
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func names(p policy.Proposal) string {
	var out []string
	for _, d := range p.Documents {
		out = append(out, d.Name)
	}
	return strings.Join(out, " ")
}

func TestTheFolderIsProposedWheneverItChanges(t *testing.T) {
	dir := t.TempDir()
	next := follow(t, dir)
	if p := next(); len(p.Documents)+len(p.Refused) != 0 {
		t.Fatalf("an empty folder proposed %v", p)
	}
	write(t, dir, "orders.yaml", document("orders", "3"))
	if p := next(); names(p) != "orders" {
		t.Fatalf("proposed %q", names(p))
	}
	write(t, dir, ".hidden.yaml", document("hidden", "3"))
	write(t, dir, "notes.txt", "not a policy")
	write(t, dir, "billing.yaml", document("billing", "many"))
	if p := next(); names(p) != "orders" || len(p.Refused) != 1 || p.Refused[0].Key.Name != "billing" {
		t.Fatalf("proposed %q, refused %v", names(p), p.Refused)
	}
	if err := os.Remove(filepath.Join(dir, "orders.yaml")); err != nil {
		t.Fatal(err)
	}
	if p := next(); names(p) != "" {
		t.Fatalf("proposed %q after the removal", names(p))
	}
}

func TestAFolderThatVanishesKeepsThePoliciesAndIsReadWhenItReturns(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "policies")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "orders.yaml", document("orders", "3"))
	next := follow(t, dir)
	next()
	if err := os.Rename(dir, dir+".gone"); err != nil {
		t.Fatal(err)
	}
	write(t, dir+".gone", "orders.yaml", document("orders", "4"))
	if err := os.Rename(dir+".gone", dir); err != nil {
		t.Fatal(err)
	}
	if p := next(); names(p) != "orders" || *p.Documents[0].Resilience.Retry.Attempts != 4 {
		t.Fatalf("proposed %q", names(p))
	}
}

// Reading a pipe waits for somebody who writes, and the server with it.
func TestAPipeIsRefusedAndNotReadFor(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "orders.yaml", document("orders", "3"))
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := follow(t, dir)()
	if names(p) != "orders" || len(p.Refused) != 1 || p.Refused[0].Source != "pipe.yaml" || !strings.Contains(p.Refused[0].Faults[0].Reason, "regular file") {
		t.Fatalf("proposed %q, refused %v", names(p), p.Refused)
	}
}

func TestSwappedLinksAreOneChange(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "policies")
	for _, v := range []string{"v1", "v2"} {
		if err := os.Mkdir(filepath.Join(root, v), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(root, "v1"), "a.yaml", document("one", "1"))
	write(t, filepath.Join(root, "v2"), "a.yaml", document("two", "1"))
	if err := os.Symlink("v1", dir); err != nil {
		t.Fatal(err)
	}
	next := follow(t, dir)
	if p := next(); names(p) != "one" {
		t.Fatalf("proposed %q", names(p))
	}
	if err := os.Symlink("v2", dir+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+".new", dir); err != nil {
		t.Fatal(err)
	}
	if p := next(); names(p) != "two" {
		t.Fatalf("proposed %q", names(p))
	}
}

func TestAFolderThatIsNotThereFailsTheStart(t *testing.T) {
	if _, err := file.New(file.Config{Dir: filepath.Join(t.TempDir(), "nope")}); err == nil || !strings.Contains(err.Error(), "policy folder") {
		t.Fatalf("New = %v", err)
	}
}

func TestContract(t *testing.T) {
	policytest.Run(t, func(t *testing.T) policytest.Carrier {
		t.Parallel()
		dir := filepath.Join(t.TempDir(), "policies")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		rename := func(from, to string) {
			t.Helper()
			if err := os.Rename(from, to); err != nil {
				t.Fatal(err)
			}
		}
		own := func(name string) string { return "resiliencepolicy.default." + name + ".yaml" }
		return policytest.Carrier{
			Source: func(timing gather.Timing, known func() []*policy.Document) policy.Source {
				s, err := file.New(file.Config{Dir: dir, Timing: timing, Rescan: 100 * time.Millisecond, Known: known})
				if err != nil {
					t.Fatal(err)
				}
				return s
			},
			Put: func(texts ...string) {
				for _, text := range texts {
					_, name, _ := strings.Cut(text, "name: ")
					name, _, _ = strings.Cut(name, "\n")
					write(t, dir, own(name), text)
				}
			},
			Remove: func(keys ...policy.Key) {
				for _, k := range keys {
					if err := os.Remove(filepath.Join(dir, own(k.Name))); err != nil {
						t.Fatal(err)
					}
				}
			},
			Down:   func() { rename(dir, dir+".away") },
			Up:     func() { rename(dir+".away", dir) },
			Writer: &file.Writer{Dir: dir},
		}
	})
}

// TestTwoDocumentsOfOneName: nobody can say which one is meant, so that both
// are refused and what is in force stays.
func TestTwoDocumentsOfOneName(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.yaml", document("orders", "1"))
	next := follow(t, dir)
	before := revision.Decide(policy.Revision{}, next())
	write(t, dir, "b.yaml", document("orders", "2"))
	p := next()
	if names(p) != "" || len(p.Refused) != 2 || !strings.Contains(p.Refused[0].Faults[0].Error(), "is also in b.yaml") {
		t.Fatalf("proposed %q, refused %v", names(p), p.Refused)
	}
	if rev := revision.Decide(before, p); len(rev.Documents) != 1 || *rev.Documents[0].Resilience.Retry.Attempts != 1 {
		t.Errorf("in force are %d documents", len(rev.Documents))
	}
}
