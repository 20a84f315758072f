package ctl

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"meshlite.dev/internal/events"
)

func (s *session) eventsCmd() *cobra.Command {
	cmd := group("events", "Domain events of the mesh and of its services", "event", "ev")
	cmd.AddCommand(s.eventsTail(), s.eventsPublish(), s.eventsReplay(), s.eventsTypes(), s.subscriptionCmd(), s.dlqCmd())
	return cmd
}

func (s *session) eventsTail() *cobra.Command {
	var typ, service, since string
	var after uint64
	var last int
	var follow bool
	cmd := &cobra.Command{
		Use: "tail [-f]", Args: cobra.NoArgs,
		Short: "Show events of the log, oldest first",
		Long: `Show events that the server keeps, oldest first: the last ten, or those that --since or
--after ask for, and with -f those that come, until interrupted. With -o json each line is
the event as it was published, a CloudEvent.

An event mesh.events.gap stands where events are not kept any more.`,
		Example: `  meshctl events tail -f
  meshctl events tail --type 'mesh.endpoint.*' --service orders --since 1h
  meshctl events tail --after 4711 -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.output == "yaml" {
				return usagef("--output is %q; use table, wide, json or name for a stream", s.output)
			}
			q := url.Values{}
			for name, value := range map[string]string{"type": typ, "service": service, "since": since} {
				if value != "" {
					q.Set(name, value)
				}
			}
			if cmd.Flags().Changed("after") {
				q.Set("after", strconv.FormatUint(after, 10))
			}
			if cmd.Flags().Changed("last") || len(q) == 0 || !cmd.Flags().Changed("after") && since == "" {
				q.Set("last", strconv.Itoa(last))
			}
			if follow {
				q.Set("follow", "true")
			}
			return s.tail(cmd, "/v1/events?"+q.Encode(), follow)
		},
	}
	cmd.Flags().StringVar(&typ, "type", "", "only types that fit this pattern: * is one word, # any number of them")
	cmd.Flags().StringVar(&service, "service", "", "only events about this service: its subject, or service in its data")
	cmd.Flags().StringVar(&since, "since", "", "only events received since then: 10m, or 2026-11-23T14:00:00Z")
	cmd.Flags().Uint64Var(&after, "after", 0, "only events after this sequence number; 0 is all that are kept")
	cmd.Flags().IntVar(&last, "last", 10, "at most so many of those before now; the default counts where neither --since nor --after is given")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with events as they come")
	_ = cmd.RegisterFlagCompletionFunc("type", completeTypes)         // the flags are there: see above
	_ = cmd.RegisterFlagCompletionFunc("service", s.completeServices) // likewise
	return cmd
}

func completeTypes(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var out []string
	for _, t := range events.Types() {
		out = append(out, t.Name+"\t"+t.When)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// tail prints a stream of events.
func (s *session) tail(cmd *cobra.Command, path string, follow bool) error {
	body, err := s.open(cmd.Context(), http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 2*events.MaxEvent)
	shown := 0
	for lines.Scan() {
		if len(lines.Bytes()) == 0 { // the server lives
			continue
		}
		if err := s.domainEvent(lines.Bytes()); err != nil {
			return err
		}
		shown++
	}
	switch err := lines.Err(); {
	case cmd.Context().Err() != nil:
		return nil // interrupted, as meant
	case err != nil:
		return &exitError{ExitUnreachable, fmt.Errorf("%w: %w", errStreamEnded, err)}
	case follow:
		return &exitError{ExitUnreachable, errStreamEnded}
	case shown == 0 && !s.structured():
		fmt.Fprintln(s.Err, "no events")
	}
	return nil
}

// domainEvent prints one line of the log.
func (s *session) domainEvent(raw []byte) error {
	var e struct {
		ID       string          `json:"id"`
		Type     string          `json:"type"`
		Subject  string          `json:"subject"`
		Time     time.Time       `json:"time"`
		Sequence string          `json:"sequence"`
		Data     json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return fmt.Errorf("read an event: %w", err)
	}
	var err error
	switch s.output {
	case "json":
		_, err = fmt.Fprintf(s.Out, "%s\n", raw)
	case "name":
		_, err = fmt.Fprintf(s.Out, "%s\n", e.ID)
	default:
		sequence := cmp.Or(strings.TrimLeft(e.Sequence, "0"), "-")
		data := oneLine(string(e.Data))
		if s.output != "wide" {
			data = short(data, 100)
		}
		_, err = fmt.Fprintf(s.Out, "%8s  %s  %-24s %-24s %s\n", sequence, e.Time.Local().Format("15:04:05.000"), oneLine(e.Type), oneLine(cmp.Or(e.Subject, "-")), data)
	}
	return err
}

// short cuts a text at a number of characters.
func short(text string, most int) string {
	if r := []rune(text); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}

func (s *session) eventsTypes() *cobra.Command {
	return &cobra.Command{
		Use: "types [PATTERN]", Args: cobra.MaximumNArgs(1), ValidArgsFunction: completeTypes,
		Short: "List the mesh's own types of events, with the JSON schema of their data",
		Long: `List the types of events that the mesh itself tells of. -o json has the JSON schema of
their data too. Needs no server. Types of services' own events are theirs to list.`,
		Example: `  meshctl events types
  meshctl events types 'mesh.endpoint.*' -o json`,
		RunE: func(_ *cobra.Command, args []string) error {
			all := events.Types()
			if len(args) == 1 {
				p, err := events.ParsePattern(args[0])
				if err != nil {
					return usagef("%w", err)
				}
				all = slices.DeleteFunc(all, func(t events.Type) bool { return !p.Match(t.Name) })
			}
			type item struct {
				Type   string         `json:"type"`
				When   string         `json:"when"`
				Schema map[string]any `json:"schema"`
			}
			doc := struct {
				Items []item `json:"items"`
			}{[]item{}}
			t := table{head: []string{"TYPE", "TOLD WHEN"}, empty: "no type fits"}
			for _, one := range all {
				doc.Items = append(doc.Items, item{one.Name, one.When, events.Schema(one.Data)})
				t.add(one.Name, one.Name, one.When)
			}
			return s.show(doc, t)
		},
	}
}
