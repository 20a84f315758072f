package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"meshlite.dev/internal/catalog"
	eventsweb "meshlite.dev/internal/events/web"
	"meshlite.dev/internal/txn/web"
)

// appGrace is how long applications' requests under way may take once the server
// stops: what they began goes on, and they can ask again.
const appGrace = 3 * time.Second

// appHandler is what applications reach at --app-addr, by the path.
func (a *app) appHandler() http.Handler {
	mux := http.NewServeMux()
	if t := a.transactions; t != nil {
		h := t.handler(a.optedIn)
		mux.Handle(web.Path, h)
		mux.Handle(web.Path+"/", h)
	}
	if a.events.taking() {
		mux.Handle(eventsweb.Path, eventsweb.New(eventLog{a.events}.Publish))
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	return mux
}

// serveApp answers on lis until ctx ends.
func serveApp(ctx context.Context, lis net.Listener, handler http.Handler, log *slog.Logger) error {
	s := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      web.MaxTimeout + time.Minute, // an answer waits for the votes
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	stopped := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), appGrace)
		defer cancel()
		if err := s.Shutdown(grace); err != nil {
			_ = s.Close() // its error is the listener's, which is closed already
		}
	})
	err := s.Serve(lis)
	if !unhook() {
		<-stopped
	}
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve applications: %w", err)
	}
	return nil
}

// optedIn tells where a service lets itself be called in transactions.
func (a *app) optedIn(service string) (prefix string, err error) {
	s, ok := a.state()
	if !ok {
		return "", errors.New("is not known yet: the catalog has not been read")
	}
	found, ok := s.Snapshot.Services.Get(service)
	if !ok {
		return "", errors.New("is not in the catalog: must be a service of this datacenter")
	}
	if prefix = found.Meta[catalog.MetaTransactions]; prefix == "" {
		return "", fmt.Errorf("takes no part in transactions: its instances must have the meta %s with a path, such as /transactions", catalog.MetaTransactions)
	}
	if !found.Protocol.HTTP() {
		return "", fmt.Errorf("speaks %s: participants must speak HTTP", found.Protocol)
	}
	return prefix, nil
}
