package rollout

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/policy"
)

// boardName is where replicas tell each other of rollouts.
const boardName = "rollouts"

const (
	maxTold  = 50                     // votes of a note, which has room for 512 KiB
	sayEvery = 100 * time.Millisecond // at most so often it tells of votes that decide nothing
)

// note is what a replica tells the others.
type note struct {
	Version  int       `json:"version"`
	Replica  string    `json:"replica"`
	Instance string    `json:"instance,omitempty"` // as in Config
	Leads    bool      `json:"leads,omitempty"`
	InForce  string    `json:"inForce,omitempty"` // the hash that it serves
	Ask      *question `json:"ask,omitempty"`     // of the leader
	Said     *said     `json:"said,omitempty"`    // of the others: to the last question
	Tried    *tried    `json:"tried,omitempty"`   // of the last trial
	Orders   []order   `json:"orders,omitempty"`  // for the leader, that are not answered yet
	Answers  int       `json:"answers,omitempty"` // of the leader, to such; counted, so that they are looked for

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
	Within  adminapi.Duration `json:"within"`
	Canary  string            `json:"canary,omitempty"`
	Bake    adminapi.Duration `json:"bake,omitempty"`
	Trial   bool              `json:"trial,omitempty"` // canaries serve it, until the question is taken back
}

// said is the answer.
type said struct {
	Rollout  string               `json:"rollout"`
	Done     bool                 `json:"done,omitempty"`  // nothing more comes
	Fault    string               `json:"fault,omitempty"` // why nobody can be asked
	Count    adminapi.VoteCount   `json:"count"`
	Canaries int                  `json:"canaries,omitempty"` // proxies that would serve it first
	Votes    []adminapi.ProxyVote `json:"votes,omitempty"`    // the telling ones
}

// board posts this replica's note and hears the others' until ctx ends.
func (m *Manager) board(ctx context.Context) {
	m.tell(func(n *note) { n.Version, n.Replica, n.Instance = recordVersion, m.cfg.Replica, m.cfg.Instance })
	m.cfg.Board.Post(ctx, boardName, m.notes, func(all map[string][]byte) {
		peers := map[string]note{}
		for name, raw := range all {
			var n note
			if err := json.Unmarshal(raw, &n); err != nil || versioned(n.Version) != nil {
				m.cfg.Log.WarnContext(ctx, "what another replica tells of rollouts is not understood", "replica", name, "err", err)
				continue
			}
			if n.Instance != "" && n.Instance == m.cfg.Instance {
				continue // this one's, before it was killed: the board has yet to forget it
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
		if err := m.poll(ctx, *ask); err != nil && ctx.Err() == nil {
			m.tell(func(n *note) { n.Said = &said{Rollout: ask.Rollout, Done: true, Fault: err.Error()} })
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

// poll asks this replica's proxies for the leader, and tells it what they say.
func (m *Manager) poll(ctx context.Context, ask question) error {
	var base policy.Revision
	var err error
	if ask.Base != "" {
		if base, err = m.cfg.Keeper.Revision(ctx, ask.Base); err != nil {
			return err
		}
	}
	candidate, err := m.cfg.Keeper.Revision(ctx, ask.Hash)
	if err != nil {
		return err
	}
	ballots, err := m.cfg.Fleet.Stage(ctx, txID(ask.Rollout), base, candidate)
	if err != nil {
		return err
	}
	canaries := 0
	if ask.Canary != "" {
		canaries = len(Canaries(adminapi.RolloutSettings{Canary: ask.Canary}, ballots.Voters()))
	}
	var told time.Time
	say := func(done bool, count adminapi.VoteCount, votes []adminapi.ProxyVote) {
		telling := done || count.No > 0 || count.Waiting() == 0
		if ctx.Err() != nil || !telling && time.Since(told) < sayEvery {
			return
		}
		told = time.Now()
		now := said{Rollout: ask.Rollout, Done: done, Count: count, Canaries: canaries, Votes: votes[:min(len(votes), maxTold)]}
		m.tell(func(n *note) { n.Said = &now })
	}
	e := newElection(ballots, time.Duration(ask.Within), m.cfg.Replica, func(count adminapi.VoteCount, votes []adminapi.ProxyVote) { say(false, count, votes) })
	e.tell(e.count())
	e.run(ctx)
	m.put(candidate.Hash, e.names())
	count, votes := e.count()
	say(true, count, votes)
	if ask.Canary != "" && ctx.Err() == nil {
		m.try(ctx, ask, ballots)
	}
	return nil
}
