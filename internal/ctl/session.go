package ctl

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"meshlite.dev/internal/admin/adminapi"
)

const defaultServer = "http://127.0.0.1:18001"

// session is what the commands of one run share: where the server is and how
// answers are printed.
type session struct {
	IO
	settings
	timeout time.Duration // of one request; a watch has none
	output  string
}

func (s *session) flags(fs *pflag.FlagSet) {
	s.settings.flags(fs)
	fs.DurationVar(&s.timeout, "timeout", 10*time.Second, "of one request; apply and delete have one of their own")
	fs.DurationVar(&s.timeout, "request-timeout", 10*time.Second, "of one request")
	fs.StringVarP(&s.output, "output", "o", "table", "table, wide, json, yaml or name")
}

// token is the bearer token for the server at base. That of a context goes to
// the context's own server alone.
func (s *session) token(base string) (string, error) {
	file, ok := s.chosen(s.tokenFile, "MESHCTL_TOKEN_FILE")
	if !ok {
		if t, ok := s.Getenv("MESHCTL_TOKEN"); ok {
			return t, nil
		}
		c, err := s.contextOf(base)
		if err != nil {
			return "", err
		}
		file = c.TokenFile
	}
	return secret(file, "--token-file")
}

// secret reads a file with a token in it; none for no file.
func secret(file, flag string) (string, error) {
	if file == "" {
		return "", nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", usagef("read %s: %w", flag, err)
	}
	return strings.TrimSpace(string(raw)), nil
}

func (s *session) transport(base string) (http.RoundTripper, error) {
	t := &http.Transport{DisableKeepAlives: true, ForceAttemptHTTP2: true}
	file, ok := s.chosen(s.caFile, "MESHCTL_CA_FILE")
	if !ok {
		c, err := s.contextOf(base)
		if err != nil {
			return nil, err
		}
		file = c.CAFile
	}
	if file == "" {
		return t, nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, usagef("read --ca-file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(raw) {
		return nil, usagef("--ca-file %s holds no PEM certificate", file)
	}
	t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return t, nil
}

// get reads a JSON page into v.
func (s *session) get(ctx context.Context, path string, v any) error {
	return s.call(ctx, http.MethodGet, path, nil, v)
}

// call sends body as JSON, unless it is nil, and reads the answer into v.
func (s *session) call(ctx context.Context, method, path string, body, v any) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	stream, err := s.open(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer stream.Close()
	raw, err := io.ReadAll(stream)
	if err == nil {
		err = json.Unmarshal(raw, v)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// open sends a request and returns the body of an answer that is 2xx.
func (s *session) open(ctx context.Context, method, path string, body any) (io.ReadCloser, error) {
	base, err := s.base()
	if err != nil {
		return nil, err
	}
	token, err := s.token(base)
	if err != nil {
		return nil, err
	}
	transport, err := s.transport(base)
	if err != nil {
		return nil, err
	}
	var content io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("write the request: %w", err)
		}
		content = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, base+path, content)
	if err != nil {
		return nil, usagef("--server: %w", err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, unreachable(base, err)
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		return nil, refusal(resp, path)
	}
	return resp.Body, nil
}

func unreachable(base string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return &exitError{ExitUnreachable, fmt.Errorf("reach xds-server at %s: %w\nis it running? --server or MESHCTL_SERVER says where", base, err)}
}

// refusal turns an answer that is not 2xx into the server's own words.
func refusal(resp *http.Response, path string) error {
	raw, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // what came is shown
	var f adminapi.Failure
	if json.Unmarshal(raw, &f) != nil || f.Error == "" {
		f = adminapi.Failure{Error: fmt.Sprintf("%s %s: %s", resp.Request.Method, path, resp.Status), Hint: "is --server the admin address of an xds-server?"}
	}
	if resp.StatusCode == http.StatusUnauthorized {
		f.Hint = "give the token by --token-file or MESHCTL_TOKEN"
	}
	text := f.Error
	if f.Hint != "" {
		text += "\nhint: " + f.Hint
	}
	return &refused{resp.StatusCode, text}
}

// refused is an answer that is not 2xx, in the server's words.
type refused struct {
	status int
	text   string
}

// Error implements error.
func (r *refused) Error() string { return r.text }

// isAway reports whether no server is there that could tell: none answers, or one
// that begins.
func isAway(err error) bool {
	var exit *exitError
	var r *refused
	return errors.As(err, &exit) && exit.Code == ExitUnreachable || errors.As(err, &r) && r.status == http.StatusServiceUnavailable
}

func isNotFound(err error) bool {
	var r *refused
	return errors.As(err, &r) && r.status == http.StatusNotFound
}
