package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/store"
)

const (
	askedPrefix = "rollouts/asked/"
	askedKept   = time.Hour // of records, since they were seen first
)

// asked is what became of an order.
type asked struct {
	Version   int             `json:"version"`
	At        time.Time       `json:"at"`
	By        string          `json:"by"`                  // the replica that wrote it
	Reign     string          `json:"reign,omitempty"`     // in which it was taken
	Withdrawn bool            `json:"withdrawn,omitempty"` // nobody does it any more
	Done      bool            `json:"done,omitempty"`
	Answer    json.RawMessage `json:"answer,omitempty"`
	Fault     *fault          `json:"fault,omitempty"`
}

// fault is an error with the kind that the API knows it by.
type fault struct {
	Kind string `json:"kind,omitempty"`
	Text string `json:"text"`
}

// kinds of errors, by the names that they travel under.
func kinds() map[string]error {
	return map[string]error{
		"no-rollout": adminapi.ErrNoRollout, "no-revision": adminapi.ErrNoRevision,
		"not-now": adminapi.ErrNotNow, "unsure": adminapi.ErrUnsure,
	}
}

func faultOf(err error) *fault {
	for kind, is := range kinds() {
		if errors.Is(err, is) {
			return &fault{kind, err.Error()}
		}
	}
	return &fault{Text: err.Error()}
}

// Error is what the leader said.
func (f *fault) Error() string { return f.Text }

// Unwrap is nil for a kind that this release does not know.
func (f *fault) Unwrap() error { return kinds()[f.Kind] }

func (m *Manager) readAsked(ctx context.Context, id string) (asked, store.Entry, error) {
	var a asked
	e, err := m.cfg.Store.Get(ctx, askedPrefix+id)
	if err == nil {
		err = json.Unmarshal(e.Value, &a)
	}
	if err == nil {
		err = versioned(a.Version)
	}
	if err != nil {
		return a, e, fmt.Errorf("read what became of a command: %w", err)
	}
	return a, e, nil
}

// writeAsked makes the record, where version is 0, or replaces it.
func (m *Manager) writeAsked(ctx context.Context, id string, version uint64, a asked) error {
	a.Version, a.At, a.By = recordVersion, time.Now().UTC(), m.cfg.Replica
	key := askedPrefix + id
	raw, err := encode(key, a)
	if err != nil {
		return err
	}
	return m.cfg.Store.Commit(ctx, store.Op{Key: key, Value: raw, Check: true, IfVersion: version})
}

func (a asked) result() (json.RawMessage, error) {
	if a.Fault != nil {
		return nil, a.Fault
	}
	return a.Answer, nil
}

// sweepAsked removes records that nobody waits for any more: those that this replica
// has seen for long. When they were written it is not asked, since another's clock
// said it.
func (m *Manager) sweepAsked(ctx context.Context) error {
	entries, err := m.cfg.Store.List(ctx, askedPrefix)
	if err != nil {
		return err
	}
	now, seen := time.Now(), make(map[string]time.Time, len(entries))
	var ops []store.Op
	m.mu.Lock()
	for _, e := range entries {
		first, ok := m.seen[e.Key]
		if !ok {
			first = now
		}
		if seen[e.Key] = first; now.Sub(first) > askedKept {
			ops = append(ops, store.Op{Key: e.Key})
		}
	}
	m.seen = seen
	m.mu.Unlock()
	if ops == nil {
		return nil
	}
	return m.cfg.Store.Commit(ctx, ops...)
}
