package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
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
		BaseContext:       func(net.Listener) context.Context { return ctx }, // ends with it: watches do not outlive the server
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	if conf != nil {
		lis = tls.NewListener(lis, conf)
	}
	stopped := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
		defer cancel()
		if err := s.Shutdown(grace); err != nil {
			log.WarnContext(grace, "admin connections cut at the end of the grace period", "err", err)
			_ = s.Close() // its error is the listener's, which is closed already
		}
	})
	err := s.Serve(lis)
	if !unhook() {
		<-stopped
	}
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the admin API: %w", err)
	}
	return nil
}
