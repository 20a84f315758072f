package ctl

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// progress tells what a command waits for: on a terminal in one line that
// changes, elsewhere a line each time it is something else.
type progress struct {
	to    io.Writer
	live  bool
	shown string
}

func (s *session) progress() *progress {
	f, ok := s.Err.(*os.File)
	dumb, _ := s.Getenv("TERM")
	return &progress{to: s.Err, live: ok && term.IsTerminal(int(f.Fd())) && dumb != "dumb"}
}

// eraseLine is ECMA-48's EL after a return to the line's begin.
const eraseLine = "\r\x1b[K"

func (p *progress) say(text string) {
	if text == p.shown {
		return
	}
	p.shown = text
	if p.live {
		fmt.Fprintf(p.to, "%s%s…", eraseLine, text)
		return
	}
	fmt.Fprintf(p.to, "waiting: %s\n", text)
}

// done ends the line; text, if any, is the last one.
func (p *progress) done(text string) {
	if p.live && p.shown != "" {
		fmt.Fprint(p.to, eraseLine)
	}
	if text != "" {
		fmt.Fprintln(p.to, text)
	}
}
