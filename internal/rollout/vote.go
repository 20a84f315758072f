package rollout

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/coordinator"
)

// lateGrace is what other replicas have beyond the time for votes: theirs began
// when they heard of it.
const lateGrace = 2 * time.Second

// fleetParty is the proxies of all replicas. They hold nothing between vote and
// decision.
type fleetParty struct {
	m  *Manager
	of *running
}

// Prepare asks this replica's proxies, has the others ask theirs, and judges the
// votes of all.
func (p fleetParty) Prepare(ctx context.Context, _ coordinator.Branch) coordinator.Answer {
	if p.of == nil || p.of.election == nil {
		return coordinator.Answer{Vote: txn.Abstain, Text: "nobody is here to be asked"}
	}
	if len(p.of.replicas) > 0 {
		p.m.tell(func(n *note) {
			n.Ask = &question{
				Rollout: p.of.id, Base: p.of.base.Hash, Hash: p.of.candidate.Hash, Within: adminapi.Duration(p.m.cfg.VoteTimeout),
				Canary: p.of.settings.Canary, Bake: p.of.settings.Bake,
			}
		})
	}
	ctx, stop := context.WithCancel(ctx)
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		p.of.election.run(ctx)
	}()
	defer func() { stop(); <-asked }()
	rule := txn.Quorum{Percent: p.of.settings.Quorum}
	own := asked
	late := time.NewTimer(p.m.cfg.VoteTimeout + lateGrace)
	defer late.Stop()
	for {
		news := p.of.tally.changed()
		missing, done, heard, lost := p.gather()
		j := rule.Judge(p.of.tally.parties())
		switch {
		case j.Outcome == txn.Abort:
			return coordinator.Answer{Vote: txn.No, Text: j.Reason}
		case lost != "":
			return coordinator.Answer{Vote: txn.Abstain, Text: lost}
		case j.Outcome == txn.Commit && len(missing) == 0:
			return coordinator.Answer{Vote: txn.Yes, Text: j.Reason}
		case own == nil && done:
			return coordinator.Answer{Vote: txn.Abstain, Text: j.Reason}
		}
		select {
		case <-news:
		case <-heard:
		case <-own:
			own = nil
		case <-late.C:
			if len(missing) > 0 {
				j.Reason = fmt.Sprintf("replica %s did not answer in time", missing[0])
			}
			return coordinator.Answer{Vote: txn.Abstain, Text: j.Reason}
		case <-ctx.Done():
			return coordinator.Answer{Vote: txn.Abstain, Text: j.Reason}
		}
	}
}

// gather counts what the other replicas have said so far: missing are those that
// said nothing yet, done reports that none of them will say more, and lost names
// one that cannot.
func (p fleetParty) gather() (missing []string, done bool, heard <-chan struct{}, lost string) {
	peers, heard := p.m.others()
	done = true
	for _, name := range p.of.replicas {
		n, ok := peers[name]
		switch {
		case !ok:
			lost = "a replica is gone, and its proxies with it"
			p.of.lost.Store(true)
		case n.Said == nil || n.Said.Rollout != p.of.id:
			missing, done = append(missing, n.Replica), false
		case n.Said.Fault != "":
			lost = fmt.Sprintf("replica %s: %s", n.Replica, n.Said.Fault)
		default:
			p.of.tally.put(name, n.Said.Count, n.Said.Votes)
			done = done && n.Said.Done
		}
	}
	return missing, done, heard, lost
}

func (fleetParty) Commit(context.Context, coordinator.Branch) error { return nil }

func (fleetParty) Rollback(context.Context, coordinator.Branch) error { return nil }

// followers are the other replicas, as a leader sees them. One that says that it
// leads is not among them: it is dead, or cut off, or its note would say otherwise,
// and the board forgets it later than the lock.
func (m *Manager) followers() map[string]note {
	peers, _ := m.others()
	out := make(map[string]note, len(peers))
	for name, n := range peers {
		if !n.Leads {
			out[name] = n
		}
	}
	return out
}

// replicas are the names of those on the board.
func (m *Manager) replicas() []string {
	return slices.Sorted(maps.Keys(m.followers()))
}
