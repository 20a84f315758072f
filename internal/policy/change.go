package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrChanged reports that a document is not the one any more that its editor
// read. Read it again, then repeat the edit.
var ErrChanged = errors.New("changed since it was read")

// Absent is the version of a document that is not there.
const Absent = "absent"

// Change puts one document, or removes it.
type Change struct {
	Key
	Document *Document // nil removes
	// Version that the carrier must still hold; "" is any. Absent demands that
	// it holds none.
	Version string
}

// Held is one document as a carrier holds it, with faults or without.
type Held struct {
	Text    []byte // YAML or JSON; empty where Owner has it
	Version string // the carrier's own count: another one after each write
	Owner   string // the operator's own file in which it stands; no Writer touches it
}

// Writer puts documents where a carrier's Source reads them.
type Writer interface {
	// Held returns what is there now under keys; what is not is left out.
	Held(ctx context.Context, keys []Key) (map[Key]Held, error)
	// Check says what Write would refuse now, and writes nothing.
	Check(ctx context.Context, changes []Change) error
	// Write makes the changes. A fault of one (ErrChanged, a file that is
	// somebody else's) leaves all as they were; its error names every fault.
	// Removing what is not there is no fault.
	Write(ctx context.Context, changes []Change) error
}

// Refused joins what keeps changes from being written over what is held.
func Refused(held map[Key]Held, changes []Change) error {
	var faults []error
	for _, c := range changes {
		faults = append(faults, c.refused(held))
	}
	return errors.Join(faults...)
}

func (c Change) refused(held map[Key]Held) error {
	h, ok := held[c.Key]
	switch {
	case h.Owner != "":
		return fmt.Errorf("%s stands in %s, which is yours: edit it there", c.Key, h.Owner)
	case c.Version == "" || ok && c.Version == h.Version || !ok && c.Version == Absent:
		return nil
	case !ok:
		return fmt.Errorf("%s is %w: it was deleted", c.Key, ErrChanged)
	case c.Version == Absent:
		return fmt.Errorf("%s is %w: it was created", c.Key, ErrChanged)
	}
	return fmt.Errorf("%s is %w", c.Key, ErrChanged)
}

// Result says what a change does to what is there.
type Result string

// The results.
const (
	Created    Result = "created"
	Configured Result = "configured"
	Unchanged  Result = "unchanged"
	Deleted    Result = "deleted"
	NotThere   Result = "absent" // nothing to delete
)

// Result compares the change with what is held.
func (c Change) Result(held map[Key]Held) Result {
	h, ok := held[c.Key]
	switch {
	case c.Document == nil && ok:
		return Deleted
	case c.Document == nil:
		return NotThere
	case !ok:
		return Created
	}
	p := Decode("", h.Text)
	if len(p.Documents) == 1 && p.Documents[0].Hash == c.Document.Hash && has(p.Documents[0].Labels, c.Document.Labels) && has(p.Documents[0].Annotations, c.Document.Annotations) {
		return Unchanged
	}
	return Configured
}

// has reports whether the words are there; in Kubernetes others add theirs.
func has(all, words map[string]string) bool {
	for name, word := range words {
		if got, ok := all[name]; !ok || got != word {
			return false
		}
	}
	return true
}

// KeysOf lists the documents that changes are about.
func KeysOf(changes []Change) []Key {
	out := make([]Key, len(changes))
	for i, c := range changes {
		out[i] = c.Key
	}
	return out
}

// ParseKey reads what Key.String returns.
func ParseKey(text string) (Key, error) {
	parts := strings.Split(text, "/")
	if len(parts) != 3 || slices.Contains(parts, "") {
		return Key{}, fmt.Errorf("%q: use KIND/NAMESPACE/NAME", text)
	}
	if !slices.Contains(Kinds(), parts[0]) {
		return Key{}, fmt.Errorf("%q: the kind must be one of %s", text, strings.Join(Kinds(), ", "))
	}
	return Key{parts[0], parts[1], parts[2]}, nil
}
