package tlsconf

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// Bundle is a file of CA certificates that is passed on to others, as its newest
// content that is good. Make one with LoadBundle.
type Bundle struct {
	file    string
	log     *slog.Logger
	current atomic.Pointer[[]byte]
}

// LoadBundle reads the file. It fails with a sentence where that is missing or holds
// no certificate. A nil log is silent.
func LoadBundle(file string, log *slog.Logger) (*Bundle, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	b := &Bundle{file: file, log: log}
	raw, err := b.read()
	if err != nil {
		return nil, err
	}
	b.current.Store(&raw)
	return b, nil
}

// PEM is the content in use. Callers leave it as it is.
func (b *Bundle) PEM() []byte { return *b.current.Load() }

// Run looks at the file until ctx ends, and calls changed after each new content. One
// that is of no use is reported once, and the old one stays.
func (b *Bundle) Run(ctx context.Context, changed func()) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	told := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		raw, err := b.read()
		switch {
		case err != nil && err.Error() != told:
			told = err.Error()
			b.log.ErrorContext(ctx, "CA file cannot be used; the last good one stays", "err", err)
		case err == nil:
			told = ""
			if !bytes.Equal(raw, b.PEM()) {
				b.current.Store(&raw)
				b.log.InfoContext(ctx, "CA reloaded", "file", b.file)
				changed()
			}
		}
	}
}

// read keeps the certificates alone: a key that stands in the same file stays here.
func (b *Bundle) read() ([]byte, error) {
	raw, err := os.ReadFile(b.file)
	if err != nil {
		return nil, fmt.Errorf("read CA: %w", err)
	}
	var kept bytes.Buffer
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return nil, fmt.Errorf("CA %s: %w", b.file, err)
		}
		if err := pem.Encode(&kept, &pem.Block{Type: block.Type, Bytes: block.Bytes}); err != nil {
			return nil, fmt.Errorf("CA %s: %w", b.file, err)
		}
	}
	if kept.Len() == 0 {
		return nil, fmt.Errorf("CA %s: %w", b.file, errNoCertificate)
	}
	return kept.Bytes(), nil
}
