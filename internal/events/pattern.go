package events

import (
	"fmt"
	"regexp"
	"strings"
)

var patternForm = regexp.MustCompile(`^([-A-Za-z0-9_]+|\*|#)(\.([-A-Za-z0-9_]+|\*|#))*$`)

// Pattern picks types as AMQP's topic exchanges do: * stands for one word, #
// for any number of them, none too. Make one with ParsePattern.
type Pattern struct{ words []string }

// ParsePattern reads "order.*", "mesh.#" and their like.
func ParsePattern(text string) (Pattern, error) {
	if len(text) > MaxType || !patternForm.MatchString(text) {
		return Pattern{}, fmt.Errorf("%.80q is no pattern of types: must be words with dots between them, * for one word, # for any number of them", text)
	}
	var words []string
	for _, w := range strings.Split(text, ".") {
		if w == "#" && len(words) > 0 && words[len(words)-1] == "#" {
			continue // as one
		}
		words = append(words, w)
	}
	return Pattern{words}, nil
}

// Match reports whether a type is picked; the work is at most words of the
// pattern times words of the type.
func (p Pattern) Match(typ string) bool {
	words := strings.Split(typ, ".")
	// reach[i] tells whether what was read so far fits the first i words of p.
	reach := make([]bool, len(p.words)+1)
	reach[0] = true
	for i, w := range p.words {
		reach[i+1] = reach[i] && w == "#"
	}
	for _, word := range words {
		next := make([]bool, len(reach))
		for i, w := range p.words {
			switch w {
			case "#":
				next[i+1] = next[i] || reach[i] || reach[i+1]
			case "*", word:
				next[i+1] = reach[i]
			}
		}
		reach = next
	}
	return reach[len(p.words)]
}
