// Command meshctl shows and steers a Meshlite service mesh.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"meshlite.dev/internal/ctl"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := ctl.Run(ctx, os.Args[1:], ctl.IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.LookupEnv})
	stop()
	os.Exit(code)
}
