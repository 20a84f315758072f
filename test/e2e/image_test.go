//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"meshlite.dev/test/lab"
)

// TestImagesHoldAllThatTheyRun builds both images and runs their programs with
// nothing but what is in them.
func TestImagesHoldAllThatTheyRun(t *testing.T) {
	root, err := lab.Root()
	if err != nil {
		t.Fatal(err)
	}
	bin, out := t.TempDir(), t.TempDir()
	build := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0", "SOURCE_DATE_EPOCH=1")
		text, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("go %v: %v\n%s", args, err, text)
		}
		return string(text)
	}
	build("build", "-trimpath", "-o", bin+"/", "./cmd/...")
	first := build("run", "./hack/image", "--bin", bin, "--out", out)
	if second := build("run", "./hack/image", "--bin", bin, "--out", out); first != second {
		t.Errorf("the same content has other digests:\n%s%s", first, second)
	}
	server, proxy := unpack(t, filepath.Join(out, "meshlite.tar")), unpack(t, filepath.Join(out, "meshlite-proxy.tar"))
	for _, tc := range []struct {
		dir  string
		uid  uint32
		argv []string
		says string
	}{
		{server, 65532, []string{"/usr/local/bin/xds-server", "--help"}, "--catalog"},
		{server, 65532, []string{"/usr/local/bin/meshctl", "version", "--client"}, "client"},
		{proxy, 15000, []string{"/usr/local/bin/meshctl", "proxy", "ready", "--help"}, "LIVE"},
		{proxy, 15000, []string{"/usr/local/bin/envoy", "--version"}, "1.40.0"},
	} {
		if text := chroot(t, tc.dir, tc.uid, tc.argv...); !strings.Contains(text, tc.says) {
			t.Errorf("%v in the image says %q, want %q", tc.argv, text, tc.says)
		}
	}
}

// unpack writes the files of an image into a folder.
func unpack(t *testing.T, path string) string {
	t.Helper()
	image, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	files := mutate.Extract(image)
	defer files.Close()
	dir := t.TempDir()
	for r := tar.NewReader(files); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, filepath.Clean("/"+h.Name))
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(to, 0o755)
		} else {
			var data []byte
			if data, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(to, data, h.FileInfo().Mode())
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// chroot runs a program that sees dir alone, as a user without rights; where
// the test is no root itself, in a user namespace.
func chroot(t *testing.T, dir string, uid uint32, argv ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Path, cmd.Err = argv[0], nil // it need not exist outside
	cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/local/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: dir}
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: uid}
	} else {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v in the image: %v\n%s", argv, err, text.String())
	}
	return text.String()
}
