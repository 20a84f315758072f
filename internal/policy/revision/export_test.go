package revision

import (
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/store"
)

// NewOver is New with a quicker way to decode, for tests that decode a lot, and
// with ten revisions kept.
func NewOver(s store.Store, decode func(source string, canonical []byte) (*policy.Document, error)) *Keeper {
	k := New(s)
	k.decode, k.keep = decode, 10
	return k
}
