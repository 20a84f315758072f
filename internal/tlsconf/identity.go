package tlsconf

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// ErrIdentity reports a client certificate that speaks for another service.
var ErrIdentity = errors.New("tlsconf: certificate is for another service")

// Matches reports whether cert speaks for the service that a node calls its
// cluster: a SPIFFE URI whose last path segment, or a DNS name whose first
// label, equals it. The common name does not count.
func Matches(cert *x509.Certificate, nodeCluster string) bool {
	if cert == nil || nodeCluster == "" {
		return false
	}
	for _, u := range cert.URIs {
		if spiffeService(u) == nodeCluster {
			return true
		}
	}
	for _, name := range cert.DNSNames {
		if label, _, _ := strings.Cut(name, "."); strings.EqualFold(label, nodeCluster) {
			return true
		}
	}
	return false
}

// spiffeService returns the last path segment of a SPIFFE id, "" for any other
// URI.
func spiffeService(u *url.URL) string {
	if u.Scheme != "spiffe" || u.Host == "" || strings.Trim(u.Path, "/") == "" {
		return ""
	}
	return path.Base(u.Path)
}

// CheckPeer checks the client of a gRPC call against the service it says it
// is. The error is a sentence for whoever set up the proxy; it wraps
// ErrIdentity. Call it only where client certificates are demanded.
func CheckPeer(ctx context.Context, nodeCluster string) error {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return fmt.Errorf("%w: the connection carries none", ErrIdentity)
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return fmt.Errorf("%w: the connection carries none that was verified", ErrIdentity)
	}
	cert := info.State.VerifiedChains[0][0]
	if !Matches(cert, nodeCluster) {
		return fmt.Errorf("%w: it names %s, and node.cluster is %q", ErrIdentity, names(cert), nodeCluster)
	}
	return nil
}

func names(cert *x509.Certificate) string {
	all := append([]string{}, cert.DNSNames...)
	for _, u := range cert.URIs {
		all = append(all, u.String())
	}
	if len(all) == 0 {
		return "nobody (it has neither a SPIFFE URI nor a DNS name)"
	}
	return strings.Join(all, ", ")
}
