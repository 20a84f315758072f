package ctl

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"meshlite.dev/internal/policy"
)

// files are the documents that a command is given.
type files struct {
	names     []string // file, folder, or "-"
	recursive bool
}

func (f *files) flags(cmd *cobra.Command, usage string) {
	cmd.Flags().StringSliceVarP(&f.names, "filename", "f", nil, usage)
	cmd.Flags().BoolVarP(&f.recursive, "recursive", "R", false, "with -f FOLDER: the folders below it too")
	_ = cmd.MarkFlagFilename("filename", extensions...) // the flag is there: see above
}

// extensions of the files that are read in a folder; the server reads the same.
var extensions = []string{"yaml", "yml", "json"}

var errNoFile = usagef("name a file or a folder with -f, or -f - for stdin")

// given demands that there is a -f.
func (f *files) given() error {
	if len(f.names) == 0 {
		return errNoFile
	}
	return nil
}

// manifest is the text of one file.
type manifest struct {
	name string
	data []byte
}

// read returns the files behind every -f.
func (f *files) read(stdin io.Reader) ([]manifest, error) {
	var out []manifest
	for _, name := range f.names {
		if name == "-" {
			data, err := io.ReadAll(stdin)
			if err != nil {
				return nil, fmt.Errorf("read stdin: %w", err)
			}
			out = append(out, manifest{"stdin", data})
			continue
		}
		paths, err := f.paths(name)
		if err != nil {
			return nil, unreadable(err)
		}
		for _, p := range paths {
			data, err := os.ReadFile(p)
			if err != nil {
				return nil, unreadable(err)
			}
			out = append(out, manifest{p, data})
		}
	}
	return out, nil
}

func unreadable(err error) error {
	return &exitError{ExitBadInput, fmt.Errorf("read -f: %w", err)}
}

// paths are the files behind one -f. Names that begin with a dot are left out
// of folders: editors and Kubernetes' volumes keep theirs so.
func (f *files) paths(name string) ([]string, error) {
	info, err := os.Stat(name)
	if err != nil || !info.IsDir() {
		return []string{name}, err
	}
	var out []string
	root := name + string(filepath.Separator) // follows a link
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		hidden := path != root && strings.HasPrefix(d.Name(), ".")
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (hidden || !f.recursive):
			return fs.SkipDir
		case d.IsDir() || hidden || !slices.Contains(extensions, strings.TrimPrefix(filepath.Ext(path), ".")):
			return nil
		}
		if info, err := os.Stat(path); err == nil && info.IsDir() { // a link to a folder
			return nil
		}
		out = append(out, path)
		return nil
	})
	return out, err
}

// proposal decodes every document behind -f, on all cores.
func (f *files) proposal(stdin io.Reader) (policy.Proposal, error) {
	manifests, err := f.read(stdin)
	if err != nil {
		return policy.Proposal{}, err
	}
	parts := make([]policy.Proposal, len(manifests))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, m := range manifests {
		g.Go(func() error {
			parts[i] = policy.Decode(m.name, m.data)
			return nil
		})
	}
	_ = g.Wait() // the functions above return nil
	return policy.Join(parts...), nil
}

// valid returns the documents behind -f, none of which may have a fault.
func (f *files) valid(stdin io.Reader) ([]*policy.Document, error) {
	all, err := f.proposal(stdin)
	if err != nil {
		return nil, err
	}
	if len(all.Refused) > 0 {
		var faults []error
		for _, f := range faultsOf(all) {
			faults = append(faults, f)
		}
		return nil, &exitError{ExitBadInput, errors.Join(faults...)}
	}
	return all.Documents, nil
}

func faultsOf(p policy.Proposal) (faults []policy.FieldError) {
	for _, r := range p.Refused {
		faults = append(faults, r.Faults...)
	}
	return faults
}
