package compile

// memo keeps merged results by their stack's key for as long as a service
// uses them.
type memo map[string]*merged

// acquire returns what s comes to; give it back with drop.
func (m memo) acquire(s stack) *merged {
	key := s.key()
	got, ok := m[key]
	if !ok {
		got = merge(s)
		m[key] = got
	}
	got.refs++
	return got
}

func (m memo) drop(r *merged) {
	if r.refs--; r.refs == 0 {
		delete(m, r.key)
	}
}

func (m memo) release(uses []use) {
	for _, u := range uses {
		m.drop(u.merged)
	}
}
