package gather

import (
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"meshlite.dev/internal/policy"
)

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
	decode func(place string, item T) policy.Proposal // any goroutine
	known  map[string]*decoded[T]
}

type decoded[T comparable] struct {
	item     T
	proposal policy.Proposal
}

func (d *decoder[T]) proposal(s State[T]) policy.Proposal {
	next := make(map[string]*decoded[T], len(s))
	var fresh []string
	for place, item := range s {
		e := d.known[place]
		if e == nil || e.item != item {
			e = &decoded[T]{item: item}
			fresh = append(fresh, place)
		}
		next[place] = e
	}
	d.decodeAll(next, fresh)
	d.known = next
	parts := make([]policy.Proposal, 0, len(s))
	for _, e := range next {
		parts = append(parts, e.proposal)
	}
	return policy.Join(parts...)
}

// decodeAll decodes the places on all cores.
func (d *decoder[T]) decodeAll(entries map[string]*decoded[T], places []string) {
	const chunk = 32
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for some := range slices.Chunk(places, chunk) {
		g.Go(func() error {
			for _, place := range some {
				entries[place].proposal = d.decode(place, entries[place].item)
			}
			return nil
		})
	}
	_ = g.Wait() // the functions above return nil
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
