package rollout

import (
	"time"

	"meshlite.dev/internal/admin/adminapi"
)

// shareEvery is how often the others are shown how far an open rollout is.
const shareEvery = 500 * time.Millisecond

// share stores what has become of the open rollout, and of the one that is watched,
// for those on other replicas who follow it. A decision is not among it: that is
// stored with what follows from it.
func (d *desk) share() {
	if !d.shares() || time.Now().Before(d.shared.Add(shareEvery)) {
		return
	}
	d.shared = time.Now()
	for _, id := range d.told() {
		open := d.open != nil && d.open.id == id
		err := d.m.ledger.saveIf(d.ctx, id, func(it *item) bool {
			return it.unsaved && !(open && it.Rollout.State != adminapi.Pending)
		})
		if err != nil {
			d.m.cfg.Log.DebugContext(d.ctx, "other replicas are not shown how far a rollout is", "rollout", id, "err", err)
		}
	}
}

// shares reports whether there is something to show, and somebody to see it.
func (d *desk) shares() bool {
	peers, _ := d.m.others()
	return len(peers) > 0 && len(d.told()) > 0
}

func (d *desk) told() (ids []string) {
	if d.open != nil {
		ids = append(ids, d.open.id)
	}
	if d.watch != nil {
		ids = append(ids, d.watch.id)
	}
	return ids
}
