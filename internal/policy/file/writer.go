package file

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/policy"
)

// Writer writes into a folder that a Source reads: one file a document,
// KIND.NAMESPACE.NAME.yaml. Files with other names are the operator's own and
// are never touched.
type Writer struct {
	Dir string
	mu  sync.Mutex // from the check of a change set to its last file
}

var _ policy.Writer = (*Writer)(nil)

// fileOf is the name of a document's own file.
func fileOf(k policy.Key) string {
	return strings.ToLower(k.Kind) + "." + k.Namespace + "." + k.Name + ".yaml"
}

// Held implements policy.Writer. A file's version is its content's.
func (w *Writer) Held(_ context.Context, keys []policy.Key) (map[policy.Key]policy.Held, error) {
	state, err := read(w.Dir)
	if err != nil {
		return nil, fmt.Errorf("read the policy folder: %w", err)
	}
	return heldIn(state, keys), nil
}

func heldIn(state folder, keys []policy.Key) map[policy.Key]policy.Held {
	owners := ownersIn(state)
	out := map[policy.Key]policy.Held{}
	for _, k := range keys {
		own, ok := state[fileOf(k)]
		switch {
		case owners[k] != "":
			out[k] = policy.Held{Owner: owners[k]}
		case ok:
			sum := sha256.Sum256([]byte(own.data))
			out[k] = policy.Held{Text: []byte(own.data), Version: hex.EncodeToString(sum[:])}
		}
	}
	return out
}

// ownersIn finds the files of the operator's own by the documents in them, those
// with faults too.
func ownersIn(state folder) map[policy.Key]string {
	out := map[policy.Key]string{}
	for name, c := range state {
		p := policy.Decode(name, []byte(c.data))
		keys := make([]policy.Key, 0, len(p.Documents)+len(p.Refused))
		for _, d := range p.Documents {
			keys = append(keys, d.Key)
		}
		for _, r := range p.Refused {
			keys = append(keys, r.Key)
		}
		for _, k := range keys {
			if name != fileOf(k) {
				out[k] = name
			}
		}
	}
	return out
}

// Check implements policy.Writer.
func (w *Writer) Check(ctx context.Context, changes []policy.Change) error {
	held, err := w.Held(ctx, policy.KeysOf(changes))
	if err != nil {
		return err
	}
	return policy.Refused(held, changes)
}

// Write implements policy.Writer. Every file is written aside before the first
// takes its place.
func (w *Writer) Write(ctx context.Context, changes []policy.Change) (err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.Check(ctx, changes); err != nil {
		return err
	}
	staged := map[string]string{} // by the name that it will have
	defer func() {
		for _, aside := range staged {
			err = errors.Join(err, os.Remove(aside))
		}
	}()
	for _, c := range changes {
		if c.Document == nil {
			continue
		}
		aside, err := w.stage(c)
		if aside != "" {
			staged[fileOf(c.Key)] = aside
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", fileOf(c.Key), err)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for name, aside := range staged {
		if err := os.Rename(aside, filepath.Join(w.Dir, name)); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		delete(staged, name)
	}
	for _, c := range changes {
		if c.Document != nil {
			continue
		}
		if err := os.Remove(filepath.Join(w.Dir, fileOf(c.Key))); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", c.Key, err)
		}
	}
	return nil
}

// stage writes a file that no reader sees: its name begins with a dot, which
// Source ignores.
func (w *Writer) stage(c policy.Change) (aside string, err error) {
	text, err := c.Document.Text()
	if err == nil {
		text, err = yaml.JSONToYAML(text)
	}
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp(w.Dir, "."+fileOf(c.Key)+".*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(text)
	return f.Name(), errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
}
