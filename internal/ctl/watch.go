package ctl

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"meshlite.dev/internal/admin/adminapi"
)

func (s *session) serviceWatch() *cobra.Command {
	return &cobra.Command{
		Use: "watch [NAME]", Args: cobra.MaximumNArgs(1), ValidArgsFunction: s.completeServices,
		Short: "Follow changes of services, policies and sidecars until interrupted",
		Example: `  meshctl service watch
  meshctl service watch orders -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/v1/watch"
			if len(args) == 1 {
				path += "?service=" + url.QueryEscape(args[0])
			}
			body, err := s.open(cmd.Context(), http.MethodGet, path, nil)
			if err != nil {
				return err
			}
			defer body.Close()
			lines := bufio.NewScanner(body)
			lines.Buffer(nil, 1<<20)
			for lines.Scan() {
				if err := s.event(lines.Bytes()); err != nil {
					return err
				}
			}
			if cmd.Context().Err() != nil {
				return nil // interrupted, as meant
			}
			err = errStreamEnded
			if lines.Err() != nil {
				err = fmt.Errorf("%w: %w", err, lines.Err())
			}
			return &exitError{ExitUnreachable, err}
		},
	}
}

// event prints one line of a watch. Empty ones show that the server lives.
func (s *session) event(raw []byte) error {
	if len(raw) == 0 {
		return nil
	}
	var e adminapi.Event
	if err := json.Unmarshal(raw, &e); err != nil {
		return fmt.Errorf("read an event: %w", err)
	}
	if s.structured() {
		_, err := fmt.Fprintf(s.Out, "%s\n", raw)
		return err
	}
	subject := cmp.Or(e.Service, e.Proxy, e.Rollout)
	_, err := fmt.Fprintf(s.Out, "%s  %-18s %-20s %s\n", e.Time.Local().Format("15:04:05.000"), e.Type, oneLine(subject), e.Message)
	return err
}
