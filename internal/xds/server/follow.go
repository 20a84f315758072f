package server

import "meshlite.dev/internal/xds/cache"

// follow makes a change of routes wake the stream, for the sake of a scope
// that waits for them. To tell the proxy of routes before their scope would be
// worse than useless: it drops what it has not asked for, and they would count
// as had.
func (p *plan) follow(name string) {
	st := p.st
	if p.followed == nil {
		p.followed = map[string]struct{}{}
	}
	p.followed[name] = struct{}{}
	if st.covers(cache.RDS, name) {
		return // or follows them already
	}
	st.note(cache.RDS, name).follow = true
	st.watch.Add(cache.RDS, name)
}

// unfollow ends that; what the proxy asked for stays. Called before the proxy
// subscribes to the name or is told of it.
func (st *stream) unfollow(k cache.Kind, name string) {
	if n := st.kinds[k].notes[name]; n != nil && n.follow {
		st.watch.Remove(k, name)
		st.forget(k, name)
	}
}

// refollow keeps following a name that a new subscription leaves out; false
// when it is not followed.
func (st *stream) refollow(k cache.Kind, name string) bool {
	n := st.kinds[k].notes[name]
	if n == nil || !n.follow {
		return false
	}
	st.watch.Add(k, name)
	return true
}

// unfollowOthers ends it for all routes that no scope waits for any more.
func (p *plan) unfollowOthers() {
	for name, n := range p.st.kinds[cache.RDS].notes {
		if _, still := p.followed[name]; n.follow && !still {
			p.st.unfollow(cache.RDS, name)
		}
	}
}
