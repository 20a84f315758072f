package store

import (
	"context"
	"time"
)

// Rest waits for d and reports whether ctx still lives: what a backend does
// between two tries.
func Rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return ctx.Err() == nil
	}
}
