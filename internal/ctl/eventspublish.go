package ctl

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"meshlite.dev/internal/events"
)

func (s *session) eventsPublish() *cobra.Command {
	var file, data, subject, source, id string
	cmd := &cobra.Command{
		Use: "publish {TYPE [--data JSON] | -f FILE}", Args: cobra.MaximumNArgs(1),
		Short: "Publish an event, or those of a file",
		Long: `Publish an event of this type, or those of a file: a CloudEvent, an envelope
{"type", "data", "timestamp"}, or a JSON array of either; - is standard input. It is checked
here first. The server answers once the events are kept durably. An id makes publishing
repeatable: who receives drops what it had already from the same source.

Types under mesh. are the mesh's own.`,
		Example: `  meshctl events publish order.created --data '{"order": 7}' --subject eu/7
  meshctl events publish -f events.json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) == (file != "") {
				return usagef("give a type, or a file with -f")
			}
			var body json.RawMessage
			var err error
			if file != "" {
				for _, name := range []string{"data", "subject", "source", "id"} {
					if cmd.Flags().Changed(name) {
						return usagef("--%s goes with a type; -f has all that it needs", name)
					}
				}
				body, err = s.eventFile(file)
			} else {
				body, err = eventOf(args[0], data, subject, source, id)
			}
			if err != nil {
				return err
			}
			if err := checkEvents(body); err != nil {
				return &exitError{ExitBadInput, err}
			}
			var out events.Receipts
			if err := s.call(cmd.Context(), http.MethodPost, "/v1/events", body, &out); err != nil {
				return err
			}
			t := table{head: []string{"SEQUENCE", "TYPE", "ID"}}
			for _, e := range out.Events {
				t.add(e.ID, e.Sequence, e.Type, e.ID)
			}
			return s.show(out, t)
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "file with events, - for standard input")
	cmd.Flags().StringVar(&data, "data", "", "the event's content, JSON")
	cmd.Flags().StringVar(&subject, "subject", "", "what the event is about")
	cmd.Flags().StringVar(&source, "source", "/meshctl", "who tells, a URI")
	cmd.Flags().StringVar(&id, "id", "", "the event's id; a new one where it is left out")
	return cmd
}

func (s *session) eventFile(name string) ([]byte, error) {
	in := s.In
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, usagef("read events: %w", err)
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, events.MaxEvent+1))
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return raw, nil
}

// eventOf makes the document of one event.
func eventOf(typ, data, subject, source, id string) ([]byte, error) {
	e := events.Event{ID: id, Source: source, Type: typ, Subject: subject, Time: time.Now()}
	if data != "" {
		if e.Data = json.RawMessage(data); !json.Valid(e.Data) {
			return nil, &exitError{ExitBadInput, fmt.Errorf("--data: %.80q is no JSON; a text is written as '\"text\"'", data)}
		}
	}
	if id == "" {
		e.ID = rand.Text()
	}
	return e.MarshalJSON()
}

// checkEvents finds here what the server would refuse.
func checkEvents(body []byte) error {
	if len(body) > events.MaxEvent {
		return fmt.Errorf("the events are over %d bytes; publish them in parts", events.MaxEvent)
	}
	if !json.Valid(body) {
		return errors.New("the events are no JSON")
	}
	_, err := events.Take(events.Input{Body: body, Source: "/meshctl", Received: time.Now()})
	return err
}
