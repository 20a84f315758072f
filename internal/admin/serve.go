package admin

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"meshlite.dev/internal/httpserve"
)

// stopGrace is how long answers under way may take once the server stops.
const stopGrace = 3 * time.Second

// Serve answers on lis, over TLS where conf is set, until ctx ends; then it ends
// watches, lets answers under way finish and closes lis. It returns nil unless
// serving itself breaks.
func Serve(ctx context.Context, lis net.Listener, handler http.Handler, conf *tls.Config, log *slog.Logger) error {
	s := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       2 * time.Minute,  // also cuts what takes longer to answer, watches apart
		WriteTimeout:      90 * time.Second, // a profile takes 30 s; watches extend it line by line
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	if conf != nil {
		lis = tls.NewListener(lis, conf)
	}
	err := httpserve.Until(ctx, s, lis, stopGrace, func(ctx context.Context, err error) {
		log.WarnContext(ctx, "admin connections cut at the end of the grace period", "err", err)
	})
	if err != nil {
		return fmt.Errorf("the admin API: %w", err)
	}
	return nil
}
