package mesh

import (
	"fmt"
	"strings"
)

// Names of Envoy resources are made and taken apart here and nowhere else.
//
//	cluster, endpoints, route configuration   SERVICE
//	the same of another datacenter            SERVICE@DATACENTER (no route configuration)
//	cluster, endpoints of a subset            SERVICE/SUBSET
//	cluster of a failover list                OWNER>POOL>POOL…, made of the route's service and the pools
//	cluster without an instance               OWNER>~nothing, for the share of a backend that is not there
//	scoped route (name == key)                HOST, one per element of Hosts
//	local cluster's endpoints                 local/SERVICE
//	outbound listener                         outbound
//	local port of an upstream                 upstream/SERVICE/PORT
//	route configuration of passthrough        ~passthrough, scope "*"
const (
	OutboundListener      = "outbound"
	BallotListener        = "prepare"       // has no socket: it takes route configurations to be voted on
	BallotRoute           = "prepare/out"   // the route configuration of BallotListener; empty but during a vote
	LocalCluster          = "local_cluster" // static cluster of the bootstrap; its EDS name is LocalAssignment
	XDSCluster            = "xds"           // static cluster of the bootstrap
	ClientSecret          = "client"        // static secret of the bootstrap: the proxy's own certificate
	PassthroughCluster    = "~passthrough"
	PassthroughRoute      = "~passthrough"
	PassthroughScope      = "*"
	localAssignmentPrefix = "local/"
	upstreamPrefix        = "upstream/"
	nothing               = ">~nothing"
)

// ClusterName returns the name of the cluster, and of the endpoints, of a
// service key or of a subset of it.
func ClusterName(key, subset string) string {
	if subset == "" {
		return key
	}
	return key + "/" + subset
}

// FailoverCluster names the cluster that tries pools in order, as the routes
// of owner use it.
func FailoverCluster(owner string, pools []Pool) string {
	var b strings.Builder
	b.WriteString(owner)
	for _, p := range pools {
		b.WriteByte('>')
		b.WriteString(p.Cluster())
	}
	return b.String()
}

// NothingCluster names the cluster without instances that takes, in the routes
// of owner, the share of a backend that is not there.
func NothingCluster(owner string) string { return owner + nothing }

// StagedCluster names the copy of a cluster that is voted on in a transaction.
// No other cluster has a "!" in its name.
func StagedCluster(name, tx string) string { return name + "!" + tx }

// ServiceOfCluster returns the service key whose instances a cluster has: its
// own name, or that before the subset. The clusters of a failover list and of
// nothing have no instances of their own: "".
func ServiceOfCluster(name string) string {
	if strings.Contains(name, ">") {
		return ""
	}
	service, _, _ := strings.Cut(name, "/")
	return service
}

// Hosts returns the names under which clients call service, in lower case
// and without a port. A service of another datacenter has none: routes reach
// it.
//
// TransactionsHost and EventsHost are never a service's.
func Hosts(service string) []string {
	if strings.Contains(service, "@") {
		return nil
	}
	if host := service + ".mesh"; !ReservedHost(host) {
		return []string{service, host, service + ".service.consul"}
	}
	return []string{service, service + ".service.consul"}
}

// Hosts that xds-server itself answers for, through every sidecar.
const (
	TransactionsHost = "transactions.mesh"
	EventsHost       = "events.mesh"
)

// ReservedHost reports whether xds-server itself answers for a host.
func ReservedHost(host string) bool { return host == TransactionsHost || host == EventsHost }

// ReservedCluster names the cluster of the servers behind a reserved host, and its
// route configuration: "~transactions".
func ReservedCluster(host string) string { return "~" + strings.TrimSuffix(host, ".mesh") }

// LocalAssignment returns the name of the endpoints of a proxy's own service.
func LocalAssignment(service string) string { return localAssignmentPrefix + service }

// ParseLocalAssignment is the inverse of LocalAssignment.
func ParseLocalAssignment(name string) (service string, ok bool) {
	return strings.CutPrefix(name, localAssignmentPrefix)
}

// UpstreamListener returns the name of the listener on a local port.
func UpstreamListener(service string, port uint32) string {
	return fmt.Sprintf("%s%s/%d", upstreamPrefix, service, port)
}

// IsDNSLabel reports whether s may be a service name: 1 to 63 characters of
// a-z, 0-9 and '-', neither first nor last a '-' (RFC 1123).
func IsDNSLabel(s string) bool {
	if len(s) == 0 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
