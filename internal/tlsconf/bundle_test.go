package tlsconf_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"meshlite.dev/internal/tlsconf"
)

func TestABundleFollowsItsFile(t *testing.T) {
	ca, next := newAuthority(t), newAuthority(t)
	_, key := ca.issue(t, "localhost")
	file := filepath.Join(t.TempDir(), "ca.crt")
	write(t, file, append(append([]byte("of the mesh\n"), ca.pem...), key...))
	synctest.Test(t, func(t *testing.T) {
		b, err := tlsconf.LoadBundle(file, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(b.PEM()); got != string(ca.pem) {
			t.Fatalf("more than the certificate is passed on:\n%s", got)
		}
		changes := 0
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx, func() { changes++ }) }()
		for _, step := range []struct {
			content string
			want    string
			changes int
		}{
			{string(ca.pem), string(ca.pem), 0},
			{"nothing", string(ca.pem), 0},
			{strings.ReplaceAll(string(next.pem), "M", "N"), string(ca.pem), 0},
			{string(ca.pem) + string(next.pem), string(ca.pem) + string(next.pem), 1},
			{string(next.pem), string(next.pem), 2},
		} {
			write(t, file, []byte(step.content))
			<-time.After(5*time.Second + time.Millisecond)
			synctest.Wait()
			if string(b.PEM()) != step.want || changes != step.changes {
				t.Fatalf("after %.40q: %d changes, %.40q", step.content, changes, b.PEM())
			}
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		<-time.After(5*time.Second + time.Millisecond)
		if string(b.PEM()) != string(next.pem) {
			t.Error("a missing file takes the authority away")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestABundleWithoutACertificateIsRefused(t *testing.T) {
	_, key := newAuthority(t).issue(t, "localhost")
	for name, content := range map[string][]byte{"empty": nil, "a key": key, "broken": []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")} {
		file := filepath.Join(t.TempDir(), "ca.crt")
		write(t, file, content)
		if _, err := tlsconf.LoadBundle(file, nil); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := tlsconf.LoadBundle(filepath.Join(t.TempDir(), "none"), nil); err == nil {
		t.Error("a missing file: taken")
	}
}
