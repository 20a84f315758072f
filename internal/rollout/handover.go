package rollout

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/store"
)

// An order travels in the note of the replica that got it, and is listed there
// until it is answered. What became of it is a record that is made once: by the
// leader that takes it, or by the replica that waits no longer. So an order is
// taken at most once, and one that was withdrawn never is; no clock decides. The
// leader's answer goes into the same record, where a next leader finds it.
const (
	answerWithin = 30 * time.Second // for a leader, also one that has yet to follow a dead one
	obeyWithin   = 20 * time.Second // for what is asked, once it is taken
	askedLook    = time.Second      // how often a record is looked at without news
	withdrawIn   = 5 * time.Second
	maxOrders    = 100 // that a replica hands over at a time
	takeAgain    = 500 * time.Millisecond
)

// handOver asks the leader, through what replicas share, and waits for its answer.
func (m *Manager) handOver(ctx context.Context, o order) (json.RawMessage, error) {
	o.ID = rand.Text()
	if !m.list(o) {
		return nil, fmt.Errorf("%w: %d commands wait for the leader already", adminapi.ErrNotNow, maxOrders)
	}
	defer m.tell(func(n *note) {
		n.Orders = slices.DeleteFunc(slices.Clone(n.Orders), func(p order) bool { return p.ID == o.ID })
	})
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	look := time.NewTicker(askedLook)
	defer look.Stop()
	for {
		_, heard := m.others()
		a, _, err := m.readAsked(ctx, o.ID)
		if err == nil && a.Done {
			m.catchUp(ctx)
			return a.result()
		}
		select {
		case <-heard:
		case <-look.C:
		case <-ctx.Done():
			return m.withdraw(ctx, o)
		}
	}
}

// list adds an order to this replica's note, unless there are too many.
func (m *Manager) list(o order) (ok bool) {
	m.tell(func(n *note) {
		if ok = len(n.Orders) < maxOrders; ok {
			n.Orders = append(slices.Clone(n.Orders), o)
		}
	})
	return ok
}

// withdraw ends the wait for an answer: nobody does it any more, or it is said
// that somebody may have.
func (m *Manager) withdraw(ctx context.Context, o order) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawIn)
	defer cancel()
	err := m.writeAsked(ctx, o.ID, 0, asked{Withdrawn: true})
	switch {
	case err == nil:
		who := "no replica leads just now"
		if name := m.leader(); name != "" {
			who = name + " leads, and has not taken it"
		}
		return nil, fmt.Errorf("%w: %s: nothing was done, and nothing will be", adminapi.ErrElsewhere, who)
	case !errors.Is(err, store.ErrConflict):
		return nil, fmt.Errorf("%w: the store does not answer: it may yet be done in the next half minute: %w", adminapi.ErrUnsure, err)
	}
	a, _, err := m.readAsked(ctx, o.ID)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: another replica has taken it: %w", adminapi.ErrUnsure, err)
	case a.Done:
		return a.result()
	}
	return nil, fmt.Errorf("%w: %s has taken it and not answered in time", adminapi.ErrUnsure, a.By)
}

// catchUp has this replica read what the leader has put on record.
func (m *Manager) catchUp(ctx context.Context) {
	done := make(chan struct{})
	select {
	case m.fresh <- done:
		<-done
	case <-ctx.Done():
	}
}

// hear takes the orders that are new, of this replica's own note too: it may have
// handed them over before it led.
func (d *desk) hear() {
	peers, own := d.m.notesNow()
	listed := map[string]bool{}
	for _, n := range append(peers, own) {
		for _, o := range n.Orders {
			listed[o.ID] = true
			if !d.taken[o.ID] {
				d.taken[o.ID] = true
				d.carry.Go(func() { d.serve(o) })
			}
		}
	}
	for id := range d.taken {
		if !listed[id] {
			delete(d.taken, id)
		}
	}
}

// serve obeys an order, unless an earlier reign has or it was withdrawn.
func (d *desk) serve(o order) {
	version, ours := d.claim(o)
	if !ours {
		return
	}
	ctx, cancel := context.WithTimeout(d.ctx, obeyWithin)
	v, err := d.m.obey(ctx, o)
	cancel()
	if d.ctx.Err() != nil {
		return // the next reign says so
	}
	var out asked
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: it is under way, and not at its end within %s", adminapi.ErrUnsure, obeyWithin)
	}
	if err == nil {
		out.Answer, err = json.Marshal(v)
	}
	if err != nil {
		out.Fault = faultOf(err)
	}
	d.reply(o.ID, version, out)
}

// claim makes the record of an order. One that a dead leader made, and did not
// answer, is taken over where doing it again does no harm.
func (d *desk) claim(o order) (version uint64, ours bool) {
	for {
		var a asked
		var e store.Entry
		err := d.m.writeAsked(d.ctx, o.ID, 0, asked{Reign: d.name})
		if err == nil || errors.Is(err, store.ErrConflict) {
			a, e, err = d.m.readAsked(d.ctx, o.ID)
		}
		switch {
		case err != nil:
			if !store.Rest(d.ctx, takeAgain) {
				return 0, false
			}
		case a.Withdrawn || a.Done:
			return 0, false
		case a.Reign != d.name && !o.repeatable():
			d.reply(o.ID, e.Version, asked{Fault: faultOf(fmt.Errorf("%w: %s had taken it, and leads no more", adminapi.ErrUnsure, a.By))})
			return 0, false
		default:
			return e.Version, true
		}
	}
}

// reply puts an answer on record and tells of it.
func (d *desk) reply(id string, version uint64, a asked) {
	a.Done = true
	for {
		err := d.m.writeAsked(d.ctx, id, version, a)
		if errors.Is(err, store.ErrConflict) { // written after all
			err = nil
		}
		if err == nil {
			break
		}
		if !store.Rest(d.ctx, takeAgain) {
			return
		}
	}
	d.m.tell(func(n *note) { n.Answers++ })
	if err := d.m.sweepAsked(d.ctx); err != nil {
		d.m.cfg.Log.DebugContext(d.ctx, "old commands are not removed", "err", err)
	}
}
