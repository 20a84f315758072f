package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl"
	"github.com/hashicorp/hcl/hcl/scanner"
	"github.com/hashicorp/hcl/hcl/token"
)

// Bounds of one file. They are far above what people write; HCL's parser
// follows the nesting on the stack.
const (
	maxSize  = 1 << 20 // bytes
	maxDepth = 64
)

// parse reads a file into maps, lists and plain values. Its error is for
// people.
func parse(name string, raw []byte) (map[string]any, error) {
	switch {
	case len(raw) > maxSize:
		return nil, fmt.Errorf("is larger than %d bytes; split it into several files", maxSize)
	case len(bytes.TrimSpace(raw)) == 0:
		return nil, errors.New("is empty; write a service definition or remove the file")
	case !utf8.Valid(raw):
		return nil, fmt.Errorf("is not UTF-8 in line %d; save it as UTF-8", invalidLine(raw))
	}
	raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
	if strings.EqualFold(filepath.Ext(name), ".json") {
		return parseJSON(raw)
	}
	return parseHCL(raw)
}

func invalidLine(raw []byte) int {
	line := 1
	for len(raw) > 0 {
		r, n := utf8.DecodeRune(raw)
		if r == utf8.RuneError && n == 1 {
			break
		}
		if r == '\n' {
			line++
		}
		raw = raw[n:]
	}
	return line
}

func parseJSON(raw []byte) (map[string]any, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	err := dec.Decode(&v)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the document")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("is not JSON in line %d: %w; a file that is being written is read again", lineOf(raw, dec, err), err)
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("is not an object; write {\"service\": {…}} or {\"services\": […]}")
	}
	return m, nil
}

// lineOf returns the line in which the decoder met the fault, from 1.
func lineOf(raw []byte, dec *json.Decoder, err error) int {
	at := dec.InputOffset() // the end of the latest token
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		at = syntax.Offset
	case errors.Is(err, io.ErrUnexpectedEOF):
		at = int64(len(bytes.TrimSpace(raw)))
	}
	return 1 + bytes.Count(raw[:min(int(at), len(raw))], []byte("\n"))
}

func parseHCL(raw []byte) (m map[string]any, err error) {
	if depth := nesting(raw); depth > maxDepth {
		return nil, fmt.Errorf("nests deeper than %d levels; a service definition needs five", maxDepth)
	}
	defer func() {
		// The parser is not ours; one file must not take the process down.
		if p := recover(); p != nil {
			m, err = nil, fmt.Errorf("is not HCL: %v", p)
		}
	}()
	if err := hcl.Decode(&m, string(raw)); err != nil {
		return nil, fmt.Errorf("is not HCL: %w; a file that is being written is read again", err)
	}
	return m, nil
}

// nesting returns how deep braces and brackets go, without parsing.
func nesting(raw []byte) int {
	s := scanner.New(raw)
	s.Error = func(token.Pos, string) {} // the parser will say it better
	depth, most := 0, 0
	for {
		switch s.Scan().Type {
		case token.EOF:
			return most
		case token.LBRACE, token.LBRACK:
			depth++
			most = max(most, depth)
		case token.RBRACE, token.RBRACK:
			depth--
		}
	}
}
