// Package httpserve runs an HTTP server for as long as a context lives.
package httpserve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Until serves s on lis until ctx ends, then lets answers under way finish for grace
// and closes lis. Requests have ctx as their base, so that what waits ends with it;
// late, which may be nil, is told when connections had to be cut. It returns nil
// unless serving itself breaks.
func Until(ctx context.Context, s *http.Server, lis net.Listener, grace time.Duration, late func(context.Context, error)) error {
	s.BaseContext = func(net.Listener) context.Context { return ctx }
	stopped := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		defer close(stopped)
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		if err := s.Shutdown(limited); err != nil {
			if late != nil {
				late(limited, err)
			}
			_ = s.Close() // its error is the listener's, which is closed already
		}
	})
	err := s.Serve(lis)
	if !unhook() {
		<-stopped
	}
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	return nil
}
