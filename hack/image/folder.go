package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// folder is the one layer of an image. Faults are kept until it is built.
type folder struct {
	entries []entry
	faults  []error
}

type entry struct {
	name string // without a leading slash
	mode fs.FileMode
	uid  int
	data []byte // nil for a folder
}

// dir adds a folder.
func (f *folder) dir(name string, mode fs.FileMode, uid int) {
	f.entries = append(f.entries, entry{name: name, mode: mode, uid: uid})
}

func (f *folder) file(name string, mode fs.FileMode, data []byte) {
	f.entries = append(f.entries, entry{name: name, mode: mode, data: data})
}

// copy adds a program of this machine.
func (f *folder) copy(from, to string) {
	data, err := os.ReadFile(from)
	if err != nil {
		f.faults = append(f.faults, err)
		return
	}
	f.file(to, 0o755, data)
}

// user makes name and id known, and a /tmp for everyone.
func (f *folder) user(name string, id int) {
	f.file("etc/passwd", 0o644, fmt.Appendf(nil, "root:x:0:0:root:/:/none\n%s:x:%d:%d:%s:/tmp:/none\n", name, id, id, name))
	f.file("etc/group", 0o644, fmt.Appendf(nil, "root:x:0:\n%s:x:%d:\n", name, id))
	f.dir("tmp", 0o777|fs.ModeSticky, 0)
}

// certificates adds the public CAs of this machine, for a Consul behind HTTPS
// with a public certificate.
func (f *folder) certificates() {
	for _, from := range []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"} {
		data, err := os.ReadFile(from)
		if err == nil {
			f.file("etc/ssl/certs/ca-certificates.crt", 0o644, data)
			return
		}
	}
	f.faults = append(f.faults, errors.New("this machine has no CA certificates; install them (Debian: apt-get install ca-certificates)"))
}

// loaded matches a line of ldd: "libc.so.6 => /lib/libc.so.6 (0x…)", or the
// loader's "/lib64/ld-linux-x86-64.so.2 (0x…)".
var loaded = regexp.MustCompile(`(?m)^\s*(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$`)

// libraries adds what the dynamic loader would load for program, under the
// paths where it looks.
func (f *folder) libraries(program string) {
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		f.faults = append(f.faults, fmt.Errorf("list the libraries of %s: %w", program, err))
		return
	}
	found := loaded.FindAllStringSubmatch(string(out), -1)
	if len(found) == 0 {
		f.faults = append(f.faults, fmt.Errorf("ldd names no library of %s", program))
	}
	for _, m := range found {
		f.copy(m[1], strings.TrimPrefix(m[1], "/"))
	}
}

// made is the time of every file: the commit's (SOURCE_DATE_EPOCH), or none, so
// that the same content has the same digest.
func made() time.Time {
	var seconds int64
	if _, err := fmt.Sscan(os.Getenv("SOURCE_DATE_EPOCH"), &seconds); err != nil {
		seconds = 0
	}
	return time.Unix(seconds, 0).UTC()
}

// image builds the image of the folder's one layer.
func (f *folder) image(cfg v1.Config, arch string) (v1.Image, error) {
	if err := errors.Join(f.faults...); err != nil {
		return nil, err
	}
	raw, err := f.tar()
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil })
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Config, file.OS, file.Architecture, file.Created = cfg, "linux", arch, v1.Time{Time: made()}
	return mutate.ConfigFile(image, file)
}

// tar writes the entries sorted, each below folders of its own.
func (f *folder) tar() ([]byte, error) {
	all := map[string]entry{}
	for _, e := range f.entries {
		for parent := path.Dir(e.name); parent != "."; parent = path.Dir(parent) {
			if _, ok := all[parent]; !ok {
				all[parent] = entry{name: parent, mode: 0o755}
			}
		}
		all[e.name] = e
	}
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range names {
		e := all[name]
		h := &tar.Header{
			Typeflag: tar.TypeReg, Name: name, Size: int64(len(e.data)), Mode: int64(e.mode.Perm()),
			Uid: e.uid, Gid: e.uid, ModTime: made(), Format: tar.FormatPAX,
		}
		if e.data == nil {
			h.Typeflag, h.Name = tar.TypeDir, name+"/"
		}
		if e.mode&fs.ModeSticky != 0 {
			h.Mode |= 0o1000
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), w.Close()
}
