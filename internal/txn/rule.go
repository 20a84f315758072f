package txn

import (
	"fmt"
	"strings"
)

// Rule decides by the votes alone: the same votes give the same judgement.
type Rule interface {
	// Judge looks at the votes so far. It changes nothing. A commit over a No is
	// not carried out; what it leaves Undecided is aborted at the deadline.
	Judge(parties []Party) Judgement
	// String names the rule with its numbers, in at most 256 bytes.
	String() string
}

// Judgement is what a rule makes of the votes so far.
type Judgement struct {
	Outcome Outcome
	Ask     []int  // while Undecided: the parties to ask now, by their index; those asked before are not asked again
	Reason  string // of the outcome, or what is missing
}

var (
	_ Rule = AllYes{}
	_ Rule = Quorum{}
)

// AllYes commits when everybody said yes and aborts at the first other answer.
// It asks a stage once the earlier ones have said yes.
type AllYes struct{}

func (AllYes) String() string { return "all-yes" }

// Judge implements Rule.
func (AllYes) Judge(parties []Party) Judgement {
	for _, p := range parties {
		switch p.Vote {
		case No:
			return Judgement{Outcome: Abort, Reason: said(p)}
		case Abstain:
			return Judgement{Outcome: Abort, Reason: "no answer from " + said(p)}
		}
	}
	for _, stage := range stages(parties) {
		if ask, waits := unvoted(parties, stage); waits > 0 {
			return Judgement{Ask: ask, Reason: fmt.Sprintf("waits for %d of %d votes", waits, len(stage))}
		}
	}
	return Judgement{Outcome: Commit, Reason: fmt.Sprintf("all %d said yes", len(parties))}
}

// Quorum tolerates silence. Within a stage it first wants a yes of one party of
// each group, then asks the others, waits until each has answered or abstained,
// and wants a yes of Percent of them. Who abstained may come back until the
// deadline. Any No aborts. Without parties it commits.
type Quorum struct {
	Percent int // of the parties beyond one for each group, 0 to 100
}

func (q Quorum) String() string { return fmt.Sprintf("quorum %d%%", q.Percent) }

// Judge implements Rule.
func (q Quorum) Judge(parties []Party) Judgement {
	yes := 0
	for _, p := range parties {
		switch p.Vote {
		case No:
			return Judgement{Outcome: Abort, Reason: said(p)}
		case Yes:
			yes++
		}
	}
	for _, stage := range stages(parties) {
		if j := q.stage(parties, stage); j.Reason != "" {
			return j
		}
	}
	return Judgement{Outcome: Commit, Reason: fmt.Sprintf("%d of %d said yes%s", yes, len(parties), silent(parties))}
}

// stage judges one stage; the zero Judgement lets it pass.
func (q Quorum) stage(parties []Party, stage []int) Judgement {
	groups, ask, missing := represent(parties, stage)
	if len(missing) > 0 {
		return Judgement{Ask: ask, Reason: "waits for a first yes of " + listed(missing)}
	}
	ask, waits := unvoted(parties, stage)
	rest, yes := len(stage)-groups, -groups
	for _, i := range stage {
		if parties[i].Vote == Yes {
			yes++
		}
	}
	switch {
	case waits > 0:
		return Judgement{Ask: ask, Reason: fmt.Sprintf("waits for %d of %d votes", waits, len(stage))}
	case yes*100 < q.Percent*rest:
		return Judgement{Reason: fmt.Sprintf("%d of %d others said yes, which is under %d%%%s", yes, rest, q.Percent, silent(parties))}
	}
	return Judgement{}
}

// represent counts the groups of a stage, names those without a yes, and picks
// whom to ask for one: the next of each group that waits for nobody.
func represent(parties []Party, stage []int) (groups int, ask []int, missing []string) {
	type group struct {
		yes, asked bool
		next       int
	}
	byName, order := map[string]*group{}, []string(nil)
	for _, i := range stage {
		p := parties[i]
		g := byName[p.Group]
		if g == nil {
			g = &group{next: -1}
			byName[p.Group], order = g, append(order, p.Group)
		}
		switch p.Vote {
		case Yes:
			g.yes = true
		case Asked:
			g.asked = true
		case Unasked:
			if g.next < 0 {
				g.next = i
			}
		}
	}
	for _, name := range order {
		g := byName[name]
		if g.yes {
			continue
		}
		if name == "" {
			name = "anybody"
		}
		if missing = append(missing, name); !g.asked && g.next >= 0 {
			ask = append(ask, g.next)
		}
	}
	return len(order), ask, missing
}

// stages are the indices of parties by stage, the lowest first.
func stages(parties []Party) [][]int {
	var byStage [MaxStage + 1][]int
	for i, p := range parties {
		byStage[p.Stage] = append(byStage[p.Stage], i)
	}
	var out [][]int
	for _, s := range byStage {
		if len(s) > 0 {
			out = append(out, s)
		}
	}
	return out
}

// unvoted are those of a stage to ask, and how many votes it waits for.
func unvoted(parties []Party, stage []int) (ask []int, waits int) {
	for _, i := range stage {
		switch parties[i].Vote {
		case Unasked:
			ask, waits = append(ask, i), waits+1
		case Asked:
			waits++
		}
	}
	return ask, waits
}

func said(p Party) string {
	if p.Text == "" {
		return p.ID
	}
	return p.ID + ": " + p.Text
}

// silent names those who abstained, for the end of a sentence.
func silent(parties []Party) string {
	var names []string
	for _, p := range parties {
		if p.Vote == Abstain {
			names = append(names, p.ID)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "; silent: " + listed(names)
}

// listed names the first few.
func listed(names []string) string {
	const few = 10
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}
