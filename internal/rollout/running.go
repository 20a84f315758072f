package rollout

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/coordinator"
)

const (
	txKind     = "rollout"
	partyStore = "revision"
	partyFleet = "fleet"
	partyTrial = "canary"

	// answerGrace is what the transaction has beyond the time for votes, so that
	// the fleet's own word comes first.
	answerGrace = 10 * time.Second
	holdAtMost  = 7 * 24 * time.Hour
)

// running is a rollout whose transaction is on its way.
type running struct {
	id, by, source  string
	undoes          string // the rollout that it takes back
	base, candidate policy.Revision
	changes         []policy.Key
	kept            []Rejection // that stand when it commits; nil for an undo
	settings        adminapi.RolloutSettings
	started         time.Time
	told            bool // its documents' statuses tell of it
	recovered       bool
	blameless       bool // an undo: its documents are not at fault if it is refused

	aborted  atomic.Pointer[string] // who, and why
	lost     atomic.Bool            // a replica that was asked is gone
	replicas []string               // the others that are asked, by their names on the board
	election *election              // of this replica's proxies; nil: nobody is asked
	tally    *tally                 // of all replicas'
	trial    *trial                 // nil: no proxy serves it first
}

// outcome is how a transaction ended. Fault is why it never was one.
type outcome struct {
	of    *running
	view  coordinator.View
	fault error
}

// body is what a transaction is about.
type body struct {
	Base string `json:"base"`
	Hash string `json:"hash"`
}

// asks reports whether the proxies are asked.
func (r *running) asks() bool {
	return r.settings.Mode != adminapi.ModeDirect && !r.settings.SkipVote
}

// begin puts a rollout on record and starts it.
func (d *desk) begin(r *running) error {
	shared := d.m.ledger.now()
	shared.Seq++
	if !r.blameless {
		shared.Next, shared.NextID, shared.NextBy = nil, "", ""
	}
	if r.id == "" {
		r.id = idOf(shared.Seq, r.candidate)
	}
	r.started = time.Now()
	detail := adminapi.RolloutDetail{Rollout: adminapi.Rollout{
		ID: r.id, State: adminapi.Pending, Phase: adminapi.PhaseStaging, From: refOf(r.base), To: adminapi.RevisionRef{Hash: r.candidate.Hash},
		Changes: changesOf(r.changes, r.base, r.candidate), Source: r.source, By: r.by, Undoes: r.undoes,
		Settings: r.settings, Started: r.started.UTC(),
	}}
	entry(&detail, "", r.by, "started: %d documents change", len(r.changes))
	if err := d.m.ledger.begin(d.ctx, detail, shared); err != nil {
		return err
	}
	d.open, d.waits = r, ""
	d.m.queue(0)
	d.m.open.Store(r)
	d.send(r, func() outcome { return d.transact(r) })
	return nil
}

// send has work done beside the loop, which hears how it ended.
func (d *desk) send(r *running, work func() outcome) {
	d.carry.Go(func() {
		o := work()
		o.of = r
		select {
		case d.ends <- o:
		case <-d.ctx.Done():
		}
	})
}

// transact runs the transaction of a rollout.
func (d *desk) transact(r *running) outcome {
	parties := []txn.Party{{ID: partyStore}}
	request := coordinator.Request{ID: txn.ID(r.id), Kind: txKind, Rule: txn.AllYes{}, Timeout: d.m.cfg.VoteTimeout + answerGrace}
	if r.asks() {
		ballots, err := d.m.cfg.Fleet.Stage(d.ctx, txID(r.id), r.base, r.candidate)
		if err != nil {
			return outcome{fault: fmt.Errorf("stage the candidate: %w", err)}
		}
		r.tally = newTally(d.voted(r))
		mine := func(sum adminapi.VoteCount, votes []adminapi.ProxyVote) { r.tally.put("", sum, votes) }
		r.election = newElection(ballots, d.m.cfg.VoteTimeout, d.m.cfg.Replica, mine)
		sum, votes := r.election.count()
		mine(sum, votes)
		r.replicas = d.m.replicas()
		if sum.Voters > 0 || len(r.replicas) > 0 {
			parties = append(parties, txn.Party{ID: partyFleet, Stage: 1})
		}
		if r.settings.Canary != "" && (sum.Voters > 0 || len(r.replicas) > 0) {
			if r.trial = d.trial(r, ballots); len(r.trial.proxies) == 0 && len(r.replicas) == 0 {
				return outcome{fault: errors.New(noCanary(r, sum.Voters))}
			}
			parties = append(parties, txn.Party{ID: partyTrial, Stage: 2})
			request.Timeout += time.Duration(r.settings.Bake)
		}
	}
	if r.settings.Mode == adminapi.ModeHold && r.asks() {
		request.Hold, request.Timeout = true, holdAtMost
	}
	var err error
	if request.Body, err = json.Marshal(body{r.base.Hash, r.candidate.Hash}); err != nil {
		return outcome{fault: err}
	}
	if r.aborted.Load() != nil {
		return outcome{fault: errors.New("aborted before the vote")}
	}
	request.Parties = parties
	d.m.ledger.edit(r.id, func(it *adminapi.RolloutDetail) { it.Phase = adminapi.PhaseVoting })
	if _, err := d.coord.Begin(d.ctx, request); err != nil {
		return outcome{fault: err}
	}
	if why := r.aborted.Load(); why != nil {
		if _, err := d.coord.Cancel(d.ctx, request.ID, *why); err != nil && !errors.Is(err, coordinator.ErrDecided) {
			return outcome{fault: err}
		}
	}
	return d.await(r)
}

// await follows a transaction until nobody is owed its outcome.
func (d *desk) await(r *running) outcome {
	view, err := d.coord.Await(d.ctx, txn.ID(r.id), func(s txn.State) bool {
		d.saw(r, s)
		return coordinator.Settled(s)
	})
	return outcome{view: view, fault: err}
}

// saw tells of what the journal has made certain.
func (d *desk) saw(r *running, s txn.State) {
	it, ok := d.m.ledger.get(r.id)
	held := s.Ready && it.Phase != adminapi.PhaseHeld
	committed := s.Outcome == txn.Commit && it.State == adminapi.Pending
	if !ok || !held && !committed {
		return
	}
	d.m.ledger.edit(r.id, func(it *adminapi.RolloutDetail) {
		if held {
			by := s.Deadline
			it.Phase, it.Deadline, it.Reason = adminapi.PhaseHeld, &by, s.Reason
			entry(it, "", "", "held: %s", s.Reason)
			return
		}
		at := s.Decided
		it.State, it.Phase, it.Decided, it.Deadline = adminapi.Committed, adminapi.PhasePushing, &at, nil
		it.Reason = reason(r, s)
		entry(it, "", "", "committed: %s", it.Reason)
	})
}

// reason says why a rollout was decided as it was.
func reason(r *running, s txn.State) string {
	if r.recovered || s.Outcome != txn.Commit {
		return s.Reason
	}
	switch {
	case r.settings.Mode == adminapi.ModeDirect:
		return "mode direct: nobody is asked"
	case r.settings.SkipVote:
		return "the vote was skipped"
	case r.election == nil:
		return s.Reason
	}
	sum, _ := r.tally.sum()
	if sum.Voters == 0 {
		return "no voters: it reaches no connected proxy"
	}
	var words []string
	for _, p := range s.Parties {
		if p.Stage > 0 && p.Text != "" {
			words = append(words, p.Text)
		}
	}
	return strings.Join(words, "; ")
}

// voted keeps what the proxies have said so far.
func (d *desk) voted(r *running) func(adminapi.VoteCount, []adminapi.ProxyVote) {
	return func(sum adminapi.VoteCount, votes []adminapi.ProxyVote) {
		d.m.ledger.edit(r.id, func(it *adminapi.RolloutDetail) {
			for _, v := range votes {
				if v.Answer == adminapi.VoteNo && !hasVote(it.Proxies, v) {
					entry(it, v.Proxy, "", "said no: %s", v.Text)
				}
			}
			it.Votes, it.Proxies = sum, votes
		})
	}
}

func hasVote(votes []adminapi.ProxyVote, v adminapi.ProxyVote) bool {
	for _, o := range votes {
		if o.Proxy == v.Proxy && o.Answer == v.Answer {
			return true
		}
	}
	return false
}

// txID names ballots: letters, digits and "-" of the rollout's id.
func txID(id string) string {
	out := make([]byte, 0, 32)
	for i := 0; i < len(id) && len(out) < cap(out); i++ {
		c := id[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			out = append(out, c)
		} else {
			out = append(out, '-')
		}
	}
	return string(out)
}

// participant makes a party of a transaction.
func (m *Manager) participant(tx txn.Tx, p txn.Party) coordinator.Participant {
	r := m.open.Load()
	if r == nil || r.id != string(tx.ID) {
		r = nil // of an earlier reign
	}
	if p.ID == partyStore {
		return &storeParty{m: m, of: r}
	}
	if p.ID == partyTrial {
		return trialParty{m, r}
	}
	return fleetParty{m, r}
}

// storeParty keeps the revision and moves the pointer.
type storeParty struct {
	m  *Manager
	of *running // nil after a restart
}
