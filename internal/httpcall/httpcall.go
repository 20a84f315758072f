// Package httpcall makes the client with which xds-server calls services of the
// mesh: through an Envoy beside it, so that discovery, ejection, retries and
// timeouts are the mesh's.
package httpcall

import (
	"net/http"
	"net/url"
	"time"
)

// idle is how many connections to the proxy are kept: fewer than calls at once
// are dialled again and again.
const idle = 512

// Through returns a client that calls through proxy, as HTTP_PROXY means it
// ("http://127.0.0.1:15001"), follows no redirects, and gives a call up after
// timeout; 0 leaves that to the call's context.
func Through(proxy *url.URL, timeout time.Duration) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyURL(proxy), DisableCompression: true,
			MaxIdleConns: idle, MaxIdleConnsPerHost: idle, IdleConnTimeout: time.Minute,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       timeout,
	}
}
