package lab

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"time"
)

// Namespace is a network namespace for one server. Two links lead out of it: one for
// whoever speaks to the server, which stays, and one to what the server itself needs,
// which Cut sets down. Nothing then passes there in either direction, and no
// connection is closed.
type Namespace struct {
	Addr string // IP address of the server, for the host
	Host string // IP address of the host by the link that Cut parts, for the server
	name string
	link string // the host's end of it
	lab  *Lab
}

// Namespace makes one, which goes with the lab. It needs root's rights over the
// network; the error says what it lacks.
func (l *Lab) Namespace() (*Namespace, error) {
	l.Helper()
	first, err := freeNet()
	if err != nil {
		return nil, err
	}
	id := fmt.Sprintf("%08x", rand.Uint32())
	n := &Namespace{name: "meshlite-" + id, link: "mlc" + id, lab: l}
	if err := ip("netns", "add", n.name); err != nil {
		return nil, err
	}
	l.Cleanup(func() {
		if err := ip("netns", "delete", n.name); err != nil { // its links go with it
			l.Logf("%v", err)
		}
	})
	// Four addresses for each link: the net, the host, the namespace, broadcast.
	host := first.Next()
	n.Addr = host.Next().String()
	far := host.Next().Next().Next().Next()
	n.Host = far.String()
	for _, link := range []struct{ outer, inner, host, server string }{
		{"mla" + id, "access", host.String(), n.Addr},
		{n.link, "needs", n.Host, far.Next().String()},
	} {
		for _, args := range [][]string{
			{"link", "add", link.outer, "type", "veth", "peer", "name", link.inner, "netns", n.name},
			{"address", "add", link.host + "/30", "dev", link.outer},
			{"link", "set", link.outer, "up"},
			{"-n", n.name, "address", "add", link.server + "/30", "dev", link.inner},
			{"-n", n.name, "link", "set", link.inner, "up"},
		} {
			if err := ip(args...); err != nil {
				return nil, err
			}
		}
	}
	return n, ip("-n", n.name, "link", "set", "lo", "up")
}

// freeNet returns the first address of eight that no interface has a net around, in
// the range that RFC 2544 keeps for tests of networks.
func freeNet() (netip.Addr, error) {
	taken, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("find a free net: %w", err)
	}
	for range 100 {
		n := rand.Uint32N(1 << 14)
		addr := netip.AddrFrom4([4]byte{198, 18 + byte(n>>13), byte(n >> 5), byte(n << 3)})
		around := netip.PrefixFrom(addr, 29)
		free := true
		for _, t := range taken {
			p, err := netip.ParsePrefix(t.String())
			free = free && (err != nil || !p.Overlaps(around))
		}
		if free {
			return addr, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("find a free net: all of 198.18.0.0/15 that were tried are in use")
}

// ip runs the program of that name.
func ip(args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Cut parts the network.
func (n *Namespace) Cut() { n.set("down") }

// Mend joins it again.
func (n *Namespace) Mend() { n.set("up") }

func (n *Namespace) set(state string) {
	n.lab.Helper()
	if err := ip("link", "set", n.link, state); err != nil {
		n.lab.Fatalf("%v", err)
	}
}

// Enter has a server that was not started yet run in the namespace.
func (s *Server) Enter(n *Namespace) {
	_, xds, _ := net.SplitHostPort(s.XDS) // made by NewServer
	_, admin, _ := net.SplitHostPort(s.Admin)
	s.XDS, s.Admin = net.JoinHostPort(n.Addr, xds), net.JoinHostPort(n.Addr, admin)
	s.flags = append(s.flags, "--xds-addr", s.XDS, "--admin-addr", s.Admin, "--insecure")
	s.within = []string{"ip", "netns", "exec", n.name}
}
