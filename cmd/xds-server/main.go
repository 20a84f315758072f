// Command xds-server watches a service catalog and configures Envoy sidecars.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"meshlite.dev/internal/app"
)

// Exit codes, as sysexits.h numbers them.
const (
	exitFailure = 1
	exitUsage   = 64
)

func main() {
	os.Exit(run())
}

func run() int {
	cfg, err := app.Parse(app.Inputs{Args: os.Args[1:], Getenv: os.LookupEnv, ReadFile: os.ReadFile})
	if errors.Is(err, app.ErrHelp) {
		app.Usage(os.Stdout)
		return 0
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "xds-server: %v\n", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := app.Run(ctx, cfg, app.WithLogWriter(os.Stderr)); err != nil {
		fmt.Fprintf(os.Stderr, "xds-server: %v\n", err)
		return exitFailure
	}
	return 0
}
