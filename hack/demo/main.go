// Command demo shows Meshlite at work: xds-server, three instances of a
// service called orders, a client, and a real Envoy beside each of them. It
// ends by itself, leaves nothing running, and exits with 1 when a step does not
// show what it should.
//
//	go run ./hack/demo             services come from a folder
//	go run ./hack/demo --consul    services come from a real Consul
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"meshlite.dev/test/lab"
)

func main() {
	consul := flag.Bool("consul", false, "take services from a real Consul, started for the demo")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, *consul)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, consul bool) (code int) {
	dir, err := os.MkdirTemp("", "meshlite-demo-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	s := &stage{ctx: ctx, dir: dir, begin: time.Now()}
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(stepFailed); !ok {
				defer panic(r)
			}
			code = 1
		}
		s.end()
		s.summary(code == 0)
	}()
	fmt.Println("building xds-server, meshctl and the echo service")
	if err := lab.Build(ctx, dir, false); err != nil {
		s.Fatalf("%v", err)
	}
	s.begin = time.Now()
	play(s, consul)
	return 0
}

// stage is what the lab runs on in place of a test: it prints, and its
// failure ends the demo after the clean-up.
type stage struct {
	ctx      context.Context
	dir      string
	dirs     int
	cleanups []func()
	failed   bool
	begin    time.Time
	step     int
	shown    []string // what each step showed, for the summary
}

type stepFailed struct{}

var _ lab.T = (*stage)(nil)

func (*stage) Helper()                    {}
func (s *stage) Context() context.Context { return s.ctx }
func (s *stage) Failed() bool             { return s.failed }
func (s *stage) Cleanup(f func())         { s.cleanups = append(s.cleanups, f) }

func (s *stage) Logf(format string, args ...any) { fmt.Printf("   "+format+"\n", args...) }

func (s *stage) Fatalf(format string, args ...any) {
	s.failed = true
	if s.ctx.Err() != nil {
		fmt.Println("\ninterrupted")
	} else {
		fmt.Printf("\n   NOT AS IT SHOULD BE: "+format+"\n", args...)
	}
	panic(stepFailed{})
}

func (s *stage) TempDir() string {
	s.dirs++
	dir := fmt.Sprintf("%s/%d", s.dir, s.dirs)
	if err := os.Mkdir(dir, 0o755); err != nil {
		s.Fatalf("%v", err)
	}
	return dir
}

// end runs the clean-ups, last first, as a test would.
func (s *stage) end() {
	for _, f := range slices.Backward(s.cleanups) {
		f()
	}
}

// title opens a numbered step.
func (s *stage) title(text string) {
	s.step++
	fmt.Printf("\n%d. %s\n", s.step, text)
}

// show notes what the step has shown.
func (s *stage) show(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	fmt.Printf("   ✓ %s\n", line)
	s.shown = append(s.shown, fmt.Sprintf("%d  %s", s.step, line))
}

func (s *stage) summary(good bool) {
	fmt.Printf("\nSummary (%s)\n", time.Since(s.begin).Round(time.Second))
	for _, line := range s.shown {
		fmt.Println("   " + line)
	}
	if good {
		fmt.Println("Everything was as it should be. All processes have ended and the temporary files are gone.")
		fmt.Println("Next: docs/quickstart.md does the same by hand.")
		return
	}
	fmt.Println("The demo stopped early. All processes have ended and the temporary files are gone.")
}
