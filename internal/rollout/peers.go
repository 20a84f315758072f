package rollout

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/coordinator"
)

// boardName is where replicas tell each other of rollouts.
const boardName = "rollouts"

// maxTold bounds the votes of a note, which has room for 512 KiB.
const maxTold = 50

// note is what a replica tells the others.
type note struct {
	Version int       `json:"version"`
	Replica string    `json:"replica"`
	Leads   bool      `json:"leads,omitempty"`
	InForce string    `json:"inForce,omitempty"` // the hash that it serves
	Ask     *question `json:"ask,omitempty"`     // of the leader
	Said    *said     `json:"said,omitempty"`    // of the others: to the last question
	Orders  []order   `json:"orders,omitempty"`  // for the leader, that are not answered yet
	Answers int       `json:"answers,omitempty"` // of the leader, to such; counted, so that they are looked for

	Queued  int                      `json:"queued,omitempty"`  // of the leader: changed documents that wait
	Waits   string                   `json:"waits,omitempty"`   // and for what
	Pushed  *pushed                  `json:"pushed,omitempty"`  // how far its proxies are with what it serves
	Running *adminapi.RevisionUptake `json:"running,omitempty"` // how many run that
}

// question asks every replica for the vote of its proxies.
type question struct {
	Rollout string            `json:"rollout"`
	Base    string            `json:"base"` // hashes, both stored
	Hash    string            `json:"hash"`
	Quorum  int               `json:"quorum"`
	Within  adminapi.Duration `json:"within"`
}

// said is the answer.
type said struct {
	Rollout string               `json:"rollout"`
	Vote    string               `json:"vote"` // yes, no, abstain
	Text    string               `json:"text,omitempty"`
	Count   adminapi.VoteCount   `json:"count"`
	Votes   []adminapi.ProxyVote `json:"votes,omitempty"` // the telling ones
}

// board posts this replica's note and hears the others' until ctx ends.
func (m *Manager) board(ctx context.Context) {
	m.tell(func(n *note) { n.Version, n.Replica = recordVersion, m.cfg.Replica })
	m.cfg.Board.Post(ctx, boardName, m.notes, func(all map[string][]byte) {
		peers := map[string]note{}
		for name, raw := range all {
			var n note
			if err := json.Unmarshal(raw, &n); err != nil || versioned(n.Version) != nil {
				m.cfg.Log.WarnContext(ctx, "what another replica tells of rollouts is not understood", "replica", name, "err", err)
				continue
			}
			peers[name] = n
		}
		m.mu.Lock()
		m.peers = peers
		close(m.heard)
		m.heard = make(chan struct{})
		m.mu.Unlock()
		select {
		case m.asked <- struct{}{}:
		default:
		}
	})
}

// tell changes this replica's note.
func (m *Manager) tell(edit func(*note)) {
	if m.cfg.Board == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	edit(&m.own)
	raw, err := json.Marshal(m.own)
	if err != nil { // plain values
		return
	}
	select {
	case <-m.notes: // overtaken
	default:
	}
	m.notes <- raw
}

// others are the replicas that are there, by name.
func (m *Manager) others() (map[string]note, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.peers, m.heard
}

// notesNow are those of the others, and this replica's.
func (m *Manager) notesNow() (others []note, own note) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.peers)), m.own
}

// leader names the replica that leads; "" where none says so.
func (m *Manager) leader() string {
	peers, _ := m.others()
	for _, n := range peers {
		if n.Leads {
			return n.Replica
		}
	}
	return ""
}

// answering is a question that this replica's proxies vote on.
type answering struct {
	rollout string
	stop    context.CancelFunc
	done    chan struct{}
}

// answer begins with the leader's question, once, and gives up what is none any
// more.
func (m *Manager) answer(ctx context.Context, now *answering) *answering {
	var ask *question
	peers, _ := m.others()
	for _, n := range peers {
		if n.Leads && n.Ask != nil {
			ask = n.Ask
		}
	}
	if now != nil && (ask == nil || ask.Rollout != now.rollout) {
		now.end()
		now = nil
	}
	if ask == nil || now != nil {
		return now
	}
	ctx, stop := context.WithCancel(ctx)
	a := &answering{ask.Rollout, stop, make(chan struct{})}
	go func() {
		defer close(a.done)
		out := m.poll(ctx, *ask)
		if ctx.Err() == nil {
			m.tell(func(n *note) { n.Said = &out })
		}
	}()
	return a
}

func (a *answering) end() {
	if a != nil {
		a.stop()
		<-a.done
	}
}

// poll asks this replica's proxies for the leader.
func (m *Manager) poll(ctx context.Context, ask question) said {
	out := said{Rollout: ask.Rollout, Vote: adminapi.VoteAbstain}
	var base, candidate policy.Revision
	var err error
	if ask.Base != "" {
		base, err = m.cfg.Keeper.Revision(ctx, ask.Base)
	}
	if err == nil {
		candidate, err = m.cfg.Keeper.Revision(ctx, ask.Hash)
	}
	var ballots Ballots
	if err == nil {
		ballots, err = m.cfg.Fleet.Stage(ctx, txID(ask.Rollout), base, candidate)
	}
	if err != nil {
		out.Text = fmt.Sprintf("replica %s: %v", m.cfg.Replica, err)
		return out
	}
	e := newElection(ballots, ask.Quorum, time.Duration(ask.Within), m.cfg.Replica, func(adminapi.VoteCount, []adminapi.ProxyVote) {})
	m.put(candidate.Hash, e.names())
	vote, text := e.run(ctx)
	out.Vote, out.Text = vote.String(), text
	out.Count, out.Votes = e.count()
	out.Votes = out.Votes[:min(len(out.Votes), maxTold)]
	if out.Count.Voters == 0 {
		out.Text = "" // there is nothing to say
	}
	return out
}

// peerParty is the proxies of another replica.
type peerParty struct {
	m    *Manager
	of   *running
	name string // on the board
}

// peerID names a party.
func peerID(name string) string { return partyPeer + name }

func (p peerParty) Prepare(ctx context.Context, _ coordinator.Branch) coordinator.Answer {
	if p.of == nil {
		return coordinator.Answer{Vote: txn.Abstain, Text: "nobody is here to be asked"}
	}
	p.m.tell(func(n *note) {
		n.Ask = &question{
			Rollout: p.of.id, Base: p.of.base.Hash, Hash: p.of.candidate.Hash,
			Quorum: p.of.settings.Quorum, Within: adminapi.Duration(p.m.cfg.VoteTimeout),
		}
	})
	for {
		peers, heard := p.m.others()
		n, ok := peers[p.name]
		switch {
		case !ok:
			return coordinator.Answer{Vote: txn.Abstain, Text: "the replica is gone, and its proxies with it"}
		case n.Said != nil && n.Said.Rollout == p.of.id:
			p.of.tally.put(n.Replica+" "+p.name, n.Said.Count, n.Said.Votes)
			return coordinator.Answer{Vote: voteOf(n.Said.Vote), Text: n.Said.Text}
		}
		select {
		case <-heard:
		case <-ctx.Done():
			return coordinator.Answer{Vote: txn.Abstain, Text: "replica " + n.Replica + " did not answer in time"}
		}
	}
}

func voteOf(text string) txn.Vote {
	switch text {
	case adminapi.VoteYes:
		return txn.Yes
	case adminapi.VoteNo:
		return txn.No
	}
	return txn.Abstain
}

func (peerParty) Commit(context.Context, coordinator.Branch) error { return nil }

func (peerParty) Rollback(context.Context, coordinator.Branch) error { return nil }

// peerParties are those of the replicas that are there.
func (m *Manager) peerParties() []txn.Party {
	peers, _ := m.others()
	var out []txn.Party
	for name := range peers {
		out = append(out, txn.Party{ID: peerID(name), Stage: 1})
	}
	slices.SortFunc(out, func(a, b txn.Party) int { return strings.Compare(a.ID, b.ID) })
	return out
}
