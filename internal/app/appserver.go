package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"meshlite.dev/internal/catalog"
	eventsweb "meshlite.dev/internal/events/web"
	"meshlite.dev/internal/httpserve"
	"meshlite.dev/internal/tlsconf"
	"meshlite.dev/internal/txn/web"
)

// appGrace is how long the answers to applications may take once the server stops:
// those that wait are told to ask again, and what they began goes on.
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

// serveApp answers on lis until ctx ends; without certs in clear text.
func serveApp(ctx context.Context, lis net.Listener, certs *tlsconf.Reloader, handler http.Handler, log *slog.Logger) error {
	if certs != nil {
		lis = tls.NewListener(lis, certs.TLS("http/1.1"))
	}
	s := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      web.MaxTimeout + time.Minute, // an answer waits for the votes
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	if err := httpserve.Until(ctx, s, lis, appGrace, nil); err != nil {
		return fmt.Errorf("applications: %w", err)
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
