package ctl

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"

	"meshlite.dev/internal/admin/adminapi"
)

func (s *session) eventsReplay() *cobra.Command {
	var req adminapi.ReplayRequest
	cmd := &cobra.Command{
		Use: "replay {--since TIME | --after SEQUENCE}", Args: cobra.NoArgs,
		Short: "Publish events of the log to the broker again",
		Long: `Publish events that the server keeps to the broker again, in their order and under the
same ids: who receives drops what it has had. New events come in between. The server must
publish to a broker (--events amqp); without one, tail shows the log.`,
		Example: `  meshctl events replay --since 1h
  meshctl events replay --after 4711 --until 5000 --type 'order.#'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if req.Since == "" && !cmd.Flags().Changed("after") {
				return usagef("say from where: --since or --after; --after 0 is all that is kept")
			}
			return s.replay(cmd, req)
		},
	}
	cmd.Flags().StringVar(&req.Since, "since", "", "events received since then: 10m, or 2026-11-23T14:00:00Z")
	cmd.Flags().Uint64Var(&req.After, "after", 0, "events after this sequence number")
	cmd.Flags().Uint64Var(&req.Until, "until", 0, "up to this one; 0 is the newest at the start")
	cmd.Flags().StringVar(&req.Type, "type", "", "only types that fit this pattern")
	_ = cmd.RegisterFlagCompletionFunc("type", completeTypes) // the flag is there: see above
	return cmd
}

// replay asks part by part, until all is published.
func (s *session) replay(cmd *cobra.Command, req adminapi.ReplayRequest) error {
	total := adminapi.ReplayResponse{}
	for !total.Done {
		var part adminapi.ReplayResponse
		if err := s.call(cmd.Context(), http.MethodPost, "/v1/events/replay", req, &part); err != nil {
			if total.Published > 0 {
				return fmt.Errorf("%w\n%d events were published before that; go on with --after %d", err, total.Published, total.Next)
			}
			return err
		}
		part.Published += total.Published
		total = part
		req.After, req.Until, req.Since = part.Next, part.Until, ""
	}
	t := table{head: []string{"PUBLISHED", "UP TO"}}
	t.add(strconv.FormatUint(total.Next, 10), strconv.Itoa(total.Published), strconv.FormatUint(total.Next, 10))
	return s.show(total, t)
}
