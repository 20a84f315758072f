package gather

import "meshlite.dev/internal/policy"

// State is everything that a carrier holds at one moment: an item by its place,
// which is a file, a key or an object. Items that are equal say the same.
type State[T comparable] map[string]T

// Equal reports whether both hold the same.
func (s State[T]) Equal(other State[T]) bool {
	if len(s) != len(other) {
		return false
	}
	for place, item := range s {
		if o, ok := other[place]; !ok || o != item {
			return false
		}
	}
	return true
}

// decoder remembers what each place said, so that one edit among thousands is
// decoded alone.
type decoder[T comparable] struct {
	decode func(place string, item T) policy.Proposal
	known  map[string]decoded[T]
}

type decoded[T comparable] struct {
	item     T
	proposal policy.Proposal
}

func (d *decoder[T]) proposal(s State[T]) policy.Proposal {
	next := make(map[string]decoded[T], len(s))
	parts := make([]policy.Proposal, 0, len(s))
	for place, item := range s {
		e, ok := d.known[place]
		if !ok || e.item != item {
			e = decoded[T]{item, d.decode(place, item)}
		}
		next[place] = e
		parts = append(parts, e.proposal)
	}
	d.known = next
	return policy.Join(parts...)
}

// after is what stands after p was proposed over before, and how many documents
// of before are gone.
func after(before []*policy.Document, p policy.Proposal) (standing []*policy.Document, lost int) {
	proposed := make(map[policy.Key]bool, len(p.Documents))
	for _, d := range p.Documents {
		proposed[d.Key] = true
	}
	held := policy.Holding(p.Refused)
	standing = append(standing, p.Documents...)
	for _, d := range before {
		switch {
		case proposed[d.Key]:
		case held(d):
			standing = append(standing, d)
		default:
			lost++
		}
	}
	return standing, lost
}
