// Command echo is the service that tests and the demo put behind Envoy. It
// says which instance answered, and fails on request.
//
//	echo --name orders-1 --http 127.0.0.1:9001 --grpc 127.0.0.1:9002 --tcp 127.0.0.1:9003
//
// HTTP/1.1, HTTP/2 without TLS and WebSocket share one port:
//
//	GET  /anything?status=503&delay=200ms&header=k:v   this answer only
//	GET  /anything?status=503&at=orders-1              and only where this instance answers
//	POST /fail?status=503&percent=100&delay=200ms      every answer from now on; without values: healthy again
//	POST /fail?reset=true                              close the connection instead of answering
//	GET  /health                                       200; 503 after POST /fail?health=503
//	GET  /counts                                       requests seen, by method and by host and path, and how many at once
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"meshlite.dev/test/apps/echoapi"
)

func main() {
	name := flag.String("name", "echo", "instance name in answers")
	httpAddr := flag.String("http", "", "address for HTTP and WebSocket; empty: none")
	grpcAddr := flag.String("grpc", "", "address for gRPC; empty: none")
	tcpAddr := flag.String("tcp", "", "address for a line echo over TCP; empty: none")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *name, *httpAddr, *grpcAddr, *tcpAddr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, name, httpAddr, grpcAddr, tcpAddr string) error {
	app := &app{name: name}
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range []struct {
		addr  string
		serve func(context.Context, net.Listener) error
	}{{httpAddr, app.serveHTTP}, {grpcAddr, app.serveGRPC}, {tcpAddr, app.serveTCP}} {
		if s.addr == "" {
			continue
		}
		lis, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.addr)
		if err != nil {
			return err
		}
		g.Go(func() error { return s.serve(ctx, lis) })
	}
	fmt.Println("ready")
	return g.Wait()
}

func (a *app) serveHTTP(ctx context.Context, lis net.Listener) error {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{Handler: a.handler(), Protocols: protocols, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (a *app) serveGRPC(ctx context.Context, lis net.Listener) error {
	s := grpc.NewServer()
	echoapi.Register(s, a)
	stop := context.AfterFunc(ctx, s.Stop)
	defer stop()
	return s.Serve(lis)
}
