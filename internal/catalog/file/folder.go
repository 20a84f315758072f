package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// folder is one reading of a folder.
type folder struct {
	print string            // changes with every change that a reading can see
	files map[string][]byte // by base name
	// faults are files that could not be read.
	faults map[string]error
}

// errMoving reports a folder that changed while it was read: a symlink was
// swapped, or a file written. It is read again.
var errMoving = errors.New("the folder changes while it is read")

// readFolder reads all definition files as one state: what it saw before and
// after must be the same.
func readFolder(dir string) (folder, error) {
	before, paths, err := fingerprint(dir)
	if err != nil {
		return folder{}, err
	}
	f := folder{print: before, files: map[string][]byte{}, faults: map[string]error{}}
	for name, path := range paths {
		raw, err := readFile(path)
		if err != nil {
			f.faults[name] = err
			continue
		}
		f.files[name] = raw
	}
	after, _, err := fingerprint(dir)
	if err != nil {
		return folder{}, err
	}
	if before != after {
		return folder{}, errMoving
	}
	return f, nil
}

// readFile reads a file, but not more of it than the decoder takes.
func readFile(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe that nobody writes to would wait for ever
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("is not a regular file"))
	}
	return io.ReadAll(io.LimitReader(file, maxSize+1))
}

// fingerprint describes the definition files of a folder without reading
// them, and returns their real paths by base name. Links are followed once, so
// that a swapped link shows.
func fingerprint(dir string) (string, map[string]string, error) {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", nil, explain(dir, err)
	}
	entries, err := os.ReadDir(real)
	if err != nil {
		return "", nil, explain(dir, err)
	}
	var b strings.Builder
	fmt.Fprintln(&b, real)
	paths := map[string]string{}
	for _, e := range entries {
		if !isDefinition(e.Name()) {
			continue
		}
		path, err := filepath.EvalSymlinks(filepath.Join(real, e.Name()))
		var info fs.FileInfo
		if err == nil {
			info, err = os.Stat(path)
		}
		switch {
		case err != nil:
			path = filepath.Join(real, e.Name()) // reading it will tell
			fmt.Fprintf(&b, "%s: %v\n", e.Name(), err)
		case info.IsDir():
			continue
		default:
			fmt.Fprintf(&b, "%s %s %d %s\n", e.Name(), path, info.Size(), info.ModTime().Format(time.RFC3339Nano))
		}
		paths[e.Name()] = path
	}
	return b.String(), paths, nil
}

// isDefinition reports whether a file is read: JSON and HCL, not hidden.
func isDefinition(name string) bool {
	ext := strings.ToLower(filepath.Ext(name))
	return !strings.HasPrefix(name, ".") && (ext == ".json" || ext == ".hcl")
}

func explain(dir string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("read the folder of service definitions: %s does not exist", dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("read the folder of service definitions: %s may not be read by this user", dir)
	default:
		return fmt.Errorf("read the folder of service definitions: %w", err)
	}
}
