package server

import (
	"meshlite.dev/internal/xds/cache"
	"meshlite.dev/internal/xds/resource"
)

// decide looks at one name that is due: send, hold, leave, or hand it to the
// removals. The note is left as it will be once the flush has been sent.
func (p *plan) decide(k cache.Kind, name string, n *note) {
	st := p.st
	cur := st.current(st.seen, k, name)
	switch {
	case cur == nil:
		p.absent(k, name, n)
	case cur.State == resource.Withheld:
		p.again(k, name, n)
	case cur.State == resource.IfAbsent && n.have.id != "":
		if n.have.item == nil && n.have.id == cur.Version {
			n.have.item = cur
		}
		p.again(k, name, n)
	case st.proxy.holds(k, cur):
		p.refused(k, name, n, cur)
	case n.have.id == cur.Version && !n.force && n.have.maybe == nil:
		st.proxy.release(k, name)
		st.settle(k, name, n)
	default:
		if waits := p.blocked(k, cur); waits != "" {
			p.hold(k, name, n, waits)
			return
		}
		if p.paced(k, n, cur) {
			return
		}
		p.send(k, name, n, cur)
	}
}

// again answers with what the proxy had, if it asks for it; what is withheld
// is neither sent nor taken away.
func (p *plan) again(k cache.Kind, name string, n *note) {
	if n.force && n.have.item != nil {
		p.send(k, name, n, n.have.item)
		return
	}
	p.st.settle(k, name, n)
}

// refused keeps the last good content of a name in quarantine. A proxy that
// holds none gets the newest that any Envoy accepted.
func (p *plan) refused(k cache.Kind, name string, n *note, cur *cache.Item) {
	if n.have.id != "" {
		p.again(k, name, n)
		return
	}
	good := cur.Fallback()
	if good == nil || p.st.proxy.knows(k, good) || p.blocked(k, good) != "" {
		p.st.settle(k, name, n)
		return
	}
	p.send(k, name, n, good)
}

// absent deals with a name that the index lacks.
func (p *plan) absent(k cache.Kind, name string, n *note) {
	st := p.st
	if i := p.standIn(k, name, n); i != nil {
		if n.have.id == i.Version && !n.force {
			st.settle(k, name, n)
			return
		}
		p.send(k, name, n, i)
		return
	}
	local := k == cache.EDS && st.srv.synthesize(k, name) != nil
	fixed := k == cache.LDS && st.node.listeners()[name]
	switch {
	case local || fixed:
		p.again(k, name, n) // what the proxy has stays
	case n.have.id == "" && (!n.force && n.have.maybe == nil || k == cache.RDS || k == cache.EDS):
		// Not there yet. Saying so would leave a warming listener without its
		// routes for ever, and a cluster empty.
		st.settle(k, name, n)
	default:
		p.part[k].gone = append(p.part[k].gone, name)
	}
}

// standIn returns what answers for a name that the index lacks: the endpoints
// of a local cluster that nobody registered, the routes of a configured
// upstream. Routes replace those of a service that is gone, because Envoy
// keeps routes that it is told to remove.
func (p *plan) standIn(k cache.Kind, name string, n *note) *cache.Item {
	st := p.st
	switch {
	case !st.watch.Named(k, name):
		return nil
	case k == cache.EDS && n.have.id != "":
		return nil
	case k == cache.RDS && n.have.id != "" && !st.node.calls(name):
		return nil
	}
	return st.srv.synthesize(k, name)
}
