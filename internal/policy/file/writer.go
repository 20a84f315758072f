package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/policy"
)

// Writer writes into a folder that a Source reads: one file a document,
// KIND.NAMESPACE.NAME.yaml. Files with other names are the operator's own and
// are never touched.
type Writer struct{ Dir string }

var _ policy.Writer = Writer{}

// fileOf is the name of a document's own file.
func fileOf(k policy.Key) string {
	return strings.ToLower(k.Kind) + "." + k.Namespace + "." + k.Name + ".yaml"
}

// Write implements policy.Writer. Each file is replaced by a rename.
func (w Writer) Write(ctx context.Context, put []*policy.Document, remove []policy.Key) error {
	state, err := read(w.Dir)
	if err != nil {
		return fmt.Errorf("read the policy folder: %w", err)
	}
	elsewhere := map[policy.Key]string{}
	for name, c := range state {
		for _, d := range policy.Decode(name, []byte(c.data)).Documents {
			if name != fileOf(d.Key) {
				elsewhere[d.Key] = name
			}
		}
	}
	var faults []error
	check := func(k policy.Key) {
		if name, ok := elsewhere[k]; ok {
			faults = append(faults, fmt.Errorf("%s stands in %s, which is yours: edit it there", k, name))
		}
	}
	texts := map[string][]byte{}
	for _, d := range put {
		check(d.Key)
		text, err := yaml.JSONToYAML(d.Canonical)
		if err != nil {
			faults = append(faults, fmt.Errorf("write %s: %w", d.Key, err))
		}
		texts[fileOf(d.Key)] = text
	}
	for _, k := range remove {
		check(k)
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	for name, text := range texts {
		if err := w.replace(name, text); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	for _, k := range remove {
		if err := os.Remove(filepath.Join(w.Dir, fileOf(k))); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", k, err)
		}
	}
	return ctx.Err()
}

// replace writes a file that no reader sees half of: the temporary name begins
// with a dot, which Source ignores.
func (w Writer) replace(name string, text []byte) (err error) {
	f, err := os.CreateTemp(w.Dir, "."+name+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(w.Dir, name))
}
