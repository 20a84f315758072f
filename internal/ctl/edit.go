package ctl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"meshlite.dev/internal/policy"
)

func (s *session) policyEdit() *cobra.Command {
	var namespace string
	var w writing
	cmd := &cobra.Command{
		Use: "edit (KIND/NAME | KIND NAME | NAME)", Args: cobra.RangeArgs(1, 2), ValidArgsFunction: s.completePolicies,
		Short: "Change one policy in your editor",
		Long: `Change one policy in your editor: $VISUAL, else $EDITOR, else vi. Faults open it again, told
as comments on top; a text left as it was changes nothing. A document that somebody else
changed meanwhile is not overwritten. Whenever your text is not taken over it stays in a
file that is named.`,
		Example: `  meshctl policy edit rp/orders
  EDITOR='code --wait' meshctl policy edit tr orders -n shop --wait`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := w.check(); err != nil {
				return err
			}
			gone, err := s.named(files{}, args, namespace)
			if err != nil {
				return err
			}
			if len(gone) != 1 {
				return usagef("edit takes one policy at a time")
			}
			return s.edit(cmd.Context(), w, gone[0])
		},
	}
	s.namespaceFlag(cmd, &namespace, namespaceUsage)
	w.waitFlags(cmd)
	return cmd
}

func (s *session) edit(ctx context.Context, w writing, key policy.Key) error {
	to, err := s.carrier(ctx)
	if err != nil {
		return err
	}
	held, ok, err := to.Held(ctx, key)
	switch {
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("no policy %s\nhint: meshctl policy get -A lists them", key)
	case held.Owner != "":
		return fmt.Errorf("%s stands in %s, which is yours: edit it there", key, held.Owner)
	}
	e := &editing{session: s, key: key}
	defer e.close()
	if err := e.start(held.Text); err != nil {
		return err
	}
	d, err := e.run(ctx)
	if err != nil || d == nil {
		return err
	}
	if err := s.change(ctx, w, []policy.Change{{Key: key, Document: d, Version: held.Version}}); err != nil {
		return e.keep(err)
	}
	return nil
}

// editing is one document in an editor.
type editing struct {
	*session
	key   policy.Key
	file  string
	first string // as it was read, without comments
	kept  bool
}

// start writes the document to a file of the user's own.
func (e *editing) start(text []byte) error {
	if json.Valid(text) {
		var err error
		if text, err = yaml.JSONToYAML(text); err != nil {
			return fmt.Errorf("write %s as YAML: %w", e.key, err)
		}
	}
	dir, err := os.MkdirTemp("", "meshctl-edit-")
	if err != nil {
		return fmt.Errorf("make a file to edit: %w", err)
	}
	e.file = filepath.Join(dir, strings.ToLower(e.key.Kind)+".yaml")
	e.first = uncommented(text)
	return e.put(e.first, nil)
}

// editHead stands on top of the file.
const editHead = "# Edit the document below. Lines that begin with '#' do not count; an empty file\n# cancels the edit.\n#\n"

// put writes the file with what is wrong on top, a line each.
func (e *editing) put(text string, faults []error) error {
	head := editHead
	for _, f := range faults {
		head += "# " + oneLine(f.Error()) + "\n"
	}
	if err := os.WriteFile(e.file, []byte(head+text), 0o600); err != nil {
		return fmt.Errorf("write the file to edit: %w", err)
	}
	return nil
}

// uncommented is a text without the lines that are comments.
func uncommented(text []byte) string {
	var b strings.Builder
	for line := range bytes.Lines(text) {
		if !bytes.HasPrefix(bytes.TrimSpace(line), []byte("#")) {
			b.Write(line)
		}
	}
	return b.String()
}

// run opens the editor until the text has no faults; nil is a cancelled edit.
func (e *editing) run(ctx context.Context) (*policy.Document, error) {
	last := e.first
	var faults []error
	for {
		if err := e.open(ctx); err != nil {
			return nil, e.keep(err)
		}
		text, err := os.ReadFile(e.file)
		if err != nil {
			return nil, fmt.Errorf("read the edited file: %w", err)
		}
		now := uncommented(text)
		switch {
		case strings.TrimSpace(now) == "":
			e.hint("Edit cancelled: the file is empty.")
			return nil, nil
		case now == e.first && len(faults) == 0:
			e.hint("Edit cancelled: nothing was changed.")
			return nil, nil
		case now == last:
			return nil, e.keep(&exitError{ExitBadInput, fmt.Errorf("edit cancelled: the faults are still there\n%w", errors.Join(faults...))})
		}
		d, found := e.read(now)
		if len(found) == 0 {
			return d, nil
		}
		if err := e.put(now, found); err != nil {
			return nil, err
		}
		last, faults = now, found
	}
}

// read decodes the text, which must still be the same document. Lines count as
// put will write them.
func (e *editing) read(text string) (*policy.Document, []error) {
	p := policy.Decode(filepath.Base(e.file), []byte(text))
	var faults []error
	found := faultsOf(p)
	for _, f := range found {
		if f.Line > 0 {
			f.Line += strings.Count(editHead, "\n") + len(found)
		}
		faults = append(faults, f)
	}
	switch {
	case len(faults) > 0:
		return nil, faults
	case len(p.Documents) != 1:
		return nil, []error{fmt.Errorf("there are %s; edit takes one", count(len(p.Documents), "document"))}
	case p.Documents[0].Key != e.key:
		return nil, []error{fmt.Errorf("it is %s now; kind, namespace and name must stay %s", p.Documents[0].Key, e.key)}
	}
	return p.Documents[0], nil
}

// open runs the editor and waits for it.
func (e *editing) open(ctx context.Context) error {
	editor, ok := e.chosen("", "VISUAL")
	if !ok {
		editor, ok = e.chosen("", "EDITOR")
	}
	if !ok {
		editor = "vi"
	}
	// A shell takes the variable apart, as it does for git and kubectl. The
	// editor is its user's to end.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "sh", "-c", editor+` "$1"`, editor, e.file)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = e.In, e.Out, e.Err
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run the editor %q: %w\nhint: VISUAL or EDITOR names another", editor, err)
	}
	return nil
}

// keep names the file in which the user's text stays.
func (e *editing) keep(err error) error {
	if text, rerr := os.ReadFile(e.file); rerr != nil || uncommented(text) == e.first {
		return err
	}
	e.kept = true
	e.hint("your text is kept in %s", e.file)
	return err
}

// close removes the file, unless it is kept.
func (e *editing) close() {
	if e.file != "" && !e.kept {
		_ = os.RemoveAll(filepath.Dir(e.file)) // what stays harms nobody
	}
}
