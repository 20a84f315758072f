package rollout

import (
	"errors"
	"fmt"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/revision"
	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/coordinator"
)

// recover goes on from what an earlier reign left: the journal says how its last
// transaction ended, the pointer whether that is done.
func (d *desk) recover() error {
	if err := d.m.ledger.load(d.ctx); err != nil {
		return err
	}
	rev, ok, err := d.m.cfg.Keeper.Current(d.ctx)
	if err != nil {
		return fmt.Errorf("read the revision in force: %w", err)
	}
	if ok {
		d.m.use(rev)
	}
	for i, it := range d.m.ledger.all() {
		switch {
		case it.State == adminapi.Pending && i == 0:
			if err := d.resume(it, rev); err != nil {
				return err
			}
		case it.State == adminapi.Pending:
			d.lose(it.ID)
		case it.Phase != "" && it.To.Hash == rev.Hash && d.watch == nil && d.open == nil:
			d.watch = watchOf(it, rev, d.m.cfg.Now())
		case it.Phase != "":
			d.m.ledger.edit(it.ID, ended)
			d.save(it.ID)
		}
	}
	d.m.trouble(d.ctx, nil)
	return nil
}

// resume waits for the end of the rollout that was open.
func (d *desk) resume(it adminapi.Rollout, now policy.Revision) error {
	r := &running{
		id: it.ID, by: it.By, source: it.Source, undoes: it.Undoes, settings: it.Settings, started: time.Now(),
		kept: d.m.ledger.now().Rejections, recovered: true, blameless: it.Source == sourceUndo,
	}
	for hash, into := range map[string]*policy.Revision{it.From.Hash: &r.base, it.To.Hash: &r.candidate} {
		rev, err := d.m.cfg.Keeper.Revision(d.ctx, hash)
		if err == nil {
			*into = rev
		} // else it was not stored yet: then nothing was decided
	}
	r.changes = revision.Changed(r.base, r.candidate)
	d.open = r
	d.send(r, func() outcome {
		o := d.await(r)
		if errors.Is(o.fault, coordinator.ErrUnknown) && now.Hash == it.To.Hash {
			o.fault, o.view.Outcome = nil, txn.Commit // so long ago that the journal forgot
		}
		return o
	})
	return nil
}

// lose closes a rollout that no journal knows to be open.
func (d *desk) lose(id string) {
	d.m.ledger.edit(id, func(it *adminapi.RolloutDetail) {
		now := time.Now().UTC()
		it.State, it.Reason, it.Decided = adminapi.RolledBack, "the server stopped before the decision", &now
		entry(it, "", "", "rolled back: %s", it.Reason)
		ended(it)
	})
	d.save(id)
}
