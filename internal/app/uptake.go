package app

import (
	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/xds/server"
)

// fewLate is how many late proxies are named.
const fewLate = 10

// uptakeOf counts the connected proxies that run all that they should.
func uptakeOf(proxies []server.Proxy) adminapi.RevisionUptake {
	var out adminapi.RevisionUptake
	for _, p := range proxies {
		if !p.Connected {
			continue
		}
		out.Connected++
		switch {
		case p.Status == server.Synced:
			out.Running++
		case p.Status == server.Error:
			out.Refusing++
		case len(out.Late) < fewLate:
			out.Late = append(out.Late, p.ID)
		}
	}
	return out
}

// Running implements rollout.Fleet.
func (u *understudy) Running() adminapi.RevisionUptake { return uptakeOf(u.xds.streams.Proxies()) }
