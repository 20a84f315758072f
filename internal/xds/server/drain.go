package server

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Drain refuses new streams and closes the open ones, spread over
// Config.DrainPeriod so that they do not all arrive elsewhere at once. It
// returns when every stream has ended and its goroutines are gone, or with
// ctx's error, having closed the rest at once.
func (s *Server) Drain(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
	open := make([]*stream, 0, len(s.streams))
	for st := range s.streams {
		open = append(open, st)
	}
	s.mu.Unlock()
	bye := status.Error(codes.Unavailable, "xds-server is shutting down")
	rand.Shuffle(len(open), func(i, j int) { open[i], open[j] = open[j], open[i] })
	var err error
	for _, st := range open {
		if err == nil {
			err = pause(ctx, rand.N(2*s.cfg.DrainPeriod/time.Duration(len(open))+1))
		}
		st.close(bye)
	}
	gone := make(chan struct{})
	go func() {
		s.goroutines.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("drain streams: %w", ctx.Err())
	}
}

// pause waits for d or ctx's end.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("drain streams: %w", ctx.Err())
	}
}
