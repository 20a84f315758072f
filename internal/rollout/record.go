package rollout

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/policy"
)

// Keys in the store.
const (
	stateKey   = "rollouts/state"
	itemPrefix = "rollouts/item/"
)

const (
	recordVersion = 1
	maxItems      = 100 // rollouts that are kept
	maxLog        = 100 // entries of one
	maxProxies    = 100 // votes of one, named
)

// state is what rollouts share.
type state struct {
	Version    int                      `json:"version"`
	Seq        uint64                   `json:"seq"` // of the rollout that began last
	Rejections []Rejection              `json:"rejections,omitempty"`
	Next       *adminapi.RolloutOptions `json:"next,omitempty"` // of the next one alone
	NextID     string                   `json:"nextID,omitempty"`
	NextBy     string                   `json:"nextBy,omitempty"`
}

// item is a rollout as it is kept.
type item struct {
	Version int                    `json:"version"`
	Seq     uint64                 `json:"seq"`
	Rollout adminapi.RolloutDetail `json:"rollout"`

	unsaved bool // the store has it otherwise
}

func encode(key string, v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", key, err)
	}
	return raw, nil
}

// decodeItem reads what this release or an earlier one wrote.
func decodeItem(raw []byte) (item, error) {
	var it item
	if err := json.Unmarshal(raw, &it); err != nil {
		return item{}, err
	}
	return it, versioned(it.Version)
}

func decodeState(raw []byte) (state, error) {
	var s state
	if err := json.Unmarshal(raw, &s); err != nil {
		return state{}, err
	}
	return s, versioned(s.Version)
}

func versioned(v int) error {
	if v < 1 || v > recordVersion {
		return fmt.Errorf("has version %d: this release reads 1 to %d", v, recordVersion)
	}
	return nil
}

func refOf(rev policy.Revision) adminapi.RevisionRef {
	return adminapi.RevisionRef{Number: rev.Number, Hash: rev.Hash}
}

// changesOf says what becomes of each document between two revisions.
func changesOf(keys []policy.Key, before, after policy.Revision) []adminapi.RolloutChange {
	olds, news := documents(before), documents(after)
	out := make([]adminapi.RolloutChange, len(keys))
	for i, key := range keys {
		c := adminapi.RolloutChange{Document: key.String(), Change: "change"}
		was, is := olds[key], news[key]
		if was == nil {
			c.Change = "add"
		} else {
			c.From = was.Generation
		}
		if is == nil {
			c.Change = "remove"
		} else {
			c.To = is.Generation
		}
		out[i] = c
	}
	return out
}

func byName(a, b Rejection) int { return strings.Compare(a.Key.String(), b.Key.String()) }

// pinned is a rejection as the API tells it.
func pinned(all []Rejection) []adminapi.PinnedDocument {
	var out []adminapi.PinnedDocument
	for _, r := range all {
		out = append(out, adminapi.PinnedDocument{
			Document: r.Key.String(), Generation: r.Generation, Hash: r.Hash, Reason: r.Reason, Rollout: r.Rollout, Proxies: r.Proxies,
		})
	}
	return out
}

// newestFirst sorts by the order in which rollouts began.
func newestFirst(a, b *item) int { return cmp.Compare(b.Seq, a.Seq) }

// copyOf is a detail that the owner may go on to change.
func copyOf(d adminapi.RolloutDetail) adminapi.RolloutDetail {
	d.Log, d.Proxies = slices.Clone(d.Log), slices.Clone(d.Proxies)
	d.Votes.Builds = slices.Clone(d.Votes.Builds)
	return d
}
