package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// named is how many proxies a message names before it counts the rest.
const named = 3

// Ask names what an Uptake is about: the messages that carry a document's
// label, those of one service or, with Service "", all.
type Ask struct{ Label, Service string }

// Uptake is how far the connected proxies are with a document.
type Uptake struct {
	Untracked bool `json:"untracked,omitempty"` // nothing that is sent carries the label: it is read when a proxy starts
	Proxies   int  `json:"proxies,omitempty"`   // connected, and sent something of it
	Running   int  `json:"running,omitempty"`   // of these have acknowledged all of it
	Refusing  int  `json:"refusing,omitempty"`  // of these refused something of it; the others are waited for
	// Refusals and Waiting name the first of them by id.
	Refusals []Refusal `json:"refusals,omitempty"`
	Waiting  []string  `json:"waiting,omitempty"`
}

// Equal reports whether u and o say the same.
func (u Uptake) Equal(o Uptake) bool {
	return u.Untracked == o.Untracked && u.Proxies == o.Proxies && u.Running == o.Running && u.Refusing == o.Refusing &&
		slices.Equal(u.Refusals, o.Refusals) && slices.Equal(u.Waiting, o.Waiting)
}

// Refusal is what one proxy says of a document.
type Refusal struct {
	Proxy   string `json:"proxy"`
	Message string `json:"message"` // Envoy's words
}

// Plus adds what another replica's proxies say.
func (u Uptake) Plus(o Uptake) Uptake {
	sum := Uptake{
		Untracked: u.Untracked && o.Untracked,
		Proxies:   u.Proxies + o.Proxies, Running: u.Running + o.Running, Refusing: u.Refusing + o.Refusing,
		Refusals: slices.Concat(u.Refusals, o.Refusals), Waiting: slices.Concat(u.Waiting, o.Waiting),
	}
	slices.SortFunc(sum.Refusals, func(a, b Refusal) int { return cmp.Compare(a.Proxy, b.Proxy) })
	slices.Sort(sum.Waiting)
	sum.Refusals = sum.Refusals[:min(len(sum.Refusals), named)]
	sum.Waiting = sum.Waiting[:min(len(sum.Waiting), named)]
	return sum
}

// sentence counts who acknowledged and names who did not.
func (u Uptake) sentence(revision uint64) string {
	parts := []string{fmt.Sprintf("%d/%d proxies acknowledged revision %d", u.Running, u.Proxies, revision)}
	for _, r := range u.Refusals {
		parts = append(parts, r.Proxy+": "+oneLine(r.Message))
	}
	if more := u.Refusing - len(u.Refusals); more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more refuse it", more))
	}
	if waiting := u.Proxies - u.Running - u.Refusing; waiting > 0 {
		names := strings.Join(u.Waiting, ", ")
		switch more := waiting - len(u.Waiting); {
		case names == "":
			names = fmt.Sprint(more)
		case more > 0:
			names = fmt.Sprintf("%s and %d more", names, more)
		}
		parts = append(parts, "waiting for "+names)
	}
	return strings.Join(parts, "; ")
}

// longestWords is how much of one Envoy's words a message holds.
const longestWords = 300

func oneLine(s string) string { return shorten(strings.Join(strings.Fields(s), " "), longestWords) }

func shorten(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most-3], "") + "…"
}
