package cache

import (
	"iter"
	"math/bits"
)

// bitset is a set of small numbers. The zero value is empty.
type bitset []uint64

func (b *bitset) add(i int) {
	for len(*b) <= i/64 {
		*b = append(*b, 0)
	}
	(*b)[i/64] |= 1 << (i % 64)
}

func (b bitset) del(i int) {
	if i/64 < len(b) {
		b[i/64] &^= 1 << (i % 64)
	}
}

func (b bitset) has(i int) bool { return i/64 < len(b) && b[i/64]&(1<<(i%64)) != 0 }

func (b bitset) empty() bool {
	for _, w := range b {
		if w != 0 {
			return false
		}
	}
	return true
}

// or adds all of o.
func (b *bitset) or(o bitset) {
	for len(*b) < len(o) {
		*b = append(*b, 0)
	}
	for i, w := range o {
		(*b)[i] |= w
	}
}

// and leaves what is in o too.
func (b bitset) and(o bitset) {
	for i := range b {
		if i < len(o) {
			b[i] &= o[i]
		} else {
			b[i] = 0
		}
	}
}

// andNot takes out what is in o.
func (b bitset) andNot(o bitset) {
	for i := range min(len(b), len(o)) {
		b[i] &^= o[i]
	}
}

func (b bitset) len() (n int) {
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

// from yields the members, those from start on first, so that no member is
// always the last one.
func (b bitset) from(start int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for pass := range 2 {
			for w, word := range b {
				if (pass == 0) != (w >= start/64) {
					continue
				}
				for ; word != 0; word &= word - 1 {
					if !yield(w*64 + bits.TrailingZeros64(word)) {
						return
					}
				}
			}
		}
	}
}
