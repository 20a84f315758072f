package report

import (
	"time"

	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/status"
)

// Statuses is what is told at one moment, immutable.
type Statuses struct {
	List      []policy.Status // sorted by Key.String
	Revision  uint64          // number of the one that they are about
	Connected int             // proxies of this replica that count
	Replicas  int             // of which proxies are counted, this one among them

	at   map[policy.Key]int
	made made
}

// made is what statuses are made of, for Debug. Nothing of it changes any more.
type made struct {
	at    time.Time
	took  time.Duration
	docs  []status.Document
	asks  []status.Ask
	own   []status.Uptake
	sum   map[status.Ask]status.Uptake
	told  map[policy.Key]*line
	peers map[string]status.Note
}

// Of returns the status of a document; nil receivers know none.
func (s *Statuses) Of(key policy.Key) (policy.Status, bool) {
	if s == nil {
		return policy.Status{}, false
	}
	i, ok := s.at[key]
	if !ok {
		return policy.Status{}, false
	}
	return s.List[i], true
}

// Count is how many documents have a condition with a status.
type Count struct {
	Condition string
	Status    policy.ConditionStatus
}

// Counts counts documents by condition and status; those that none has are 0.
func (s *Statuses) Counts() map[Count]int {
	out := map[Count]int{}
	for _, c := range []string{policy.ConditionAccepted, policy.ConditionResolvedRefs, policy.ConditionProgrammed, policy.ConditionEnforced} {
		for _, v := range []policy.ConditionStatus{policy.True, policy.False, policy.Unknown} {
			out[Count{c, v}] = 0
		}
	}
	if s == nil {
		return out
	}
	for _, one := range s.List {
		for _, c := range one.Conditions {
			out[Count{c.Type, c.Status}]++
		}
	}
	return out
}
