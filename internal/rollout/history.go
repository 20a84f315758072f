package rollout

import (
	"context"
	"errors"
	"fmt"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/store"
)

// Kept is the history at one moment.
type Kept struct {
	Read  bool               // false: the store has not been read yet
	Items []adminapi.Rollout // newest first
	// Oldest and Newest are their places in the order in which all rollouts began,
	// from 1; 0 where there are none.
	Oldest, Newest uint64
}

// Kept returns the history.
func (m *Manager) Kept() Kept { return m.ledger.kept() }

// Rollouts implements admin.Rollouts.
func (m *Manager) Rollouts(context.Context) (adminapi.Rollouts, error) {
	s := m.ledger.now()
	out := adminapi.Rollouts{Settings: m.cfg.Settings, Next: s.Next, Pinned: pinned(s.Rejections), Items: m.ledger.all(), Proxies: m.running()}
	m.mu.Lock()
	defer m.mu.Unlock()
	out.InForce, out.Queued, out.Waits = refOf(m.inForce), m.queued, m.waits
	for _, n := range m.peers {
		if n.Leads && m.leads.Load() == nil {
			out.Queued, out.Waits = n.Queued, n.Waits
		}
	}
	return out, nil
}

// Rollout implements admin.Rollouts.
func (m *Manager) Rollout(_ context.Context, id string) (adminapi.RolloutDetail, error) {
	d, ok := m.ledger.get(id)
	if !ok {
		return d, fmt.Errorf("%w: %q", adminapi.ErrNoRollout, id)
	}
	return d, nil
}

// find names a revision that is kept; "" is none.
func (m *Manager) find(name string) (adminapi.RevisionRef, error) {
	m.mu.Lock()
	ref := refOf(m.inForce)
	m.mu.Unlock()
	if ref.Hash != "" && names(name, ref) {
		return ref, nil
	}
	ref, ok := m.ledger.resolve(name)
	if !ok {
		return ref, fmt.Errorf("%w: %q", adminapi.ErrNoRevision, name)
	}
	return ref, nil
}

// Revision implements admin.Rollouts.
func (m *Manager) Revision(ctx context.Context, name string) (adminapi.RevisionDocuments, error) {
	ref, err := m.find(name)
	if err != nil {
		return adminapi.RevisionDocuments{}, err
	}
	rev, err := m.cfg.Keeper.Revision(ctx, ref.Hash)
	if errors.Is(err, store.ErrNotFound) {
		err = fmt.Errorf("%w: %q is not kept any more", adminapi.ErrNoRevision, name)
	}
	if err != nil {
		return adminapi.RevisionDocuments{}, err
	}
	out := adminapi.RevisionDocuments{RevisionRef: ref}
	for _, d := range rev.Documents {
		out.Documents = append(out.Documents, adminapi.RevisionDocument{Document: d.Key.String(), Generation: d.Generation, Content: d.Canonical})
	}
	return out, nil
}
