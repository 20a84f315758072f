package ctl

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/events/dispatch"
)

func (s *session) dlqCmd() *cobra.Command {
	cmd := group("dlq", "See events that subscriptions gave up, and try them again or remove them", "deadletters")
	cmd.AddCommand(s.dlqList(), s.dlqShow(),
		s.dlqSettle("requeue", "requeued", "Give dead letters their attempts anew", `Put dead letters back into the queue of their subscription, all attempts before them: those
with these ids, or all. Mend the handler first.`),
		s.dlqSettle("purge", "purged", "Remove dead letters for good", `Remove dead letters for good: those with these ids, or all. All are asked for once more on a
terminal; elsewhere --all needs --yes.`))
	return cmd
}

func (s *session) dlqList() *cobra.Command {
	var namespace string
	var limit int
	cmd := &cobra.Command{
		Use: "list [SUBSCRIPTION]", Aliases: []string{"ls"}, Args: cobra.MaximumNArgs(1), ValidArgsFunction: s.completeSubscriptions,
		Short: "List dead letters, oldest first: of a subscription, or of all",
		Example: `  meshctl events dlq list
  meshctl events dlq list mail -n shop --limit 1000`,
		RunE: func(cmd *cobra.Command, args []string) error {
			keys, err := s.lettered(cmd.Context(), args, namespace)
			if err != nil {
				return err
			}
			doc := struct {
				Items []adminapi.DeadLetters `json:"items"`
			}{[]adminapi.DeadLetters{}}
			t := table{head: []string{"SUBSCRIPTION", "ID", "TYPE", "+SUBJECT", "+SOURCE", "ATTEMPTS", "GIVEN UP", "REASON"}, empty: "no dead letters"}
			for _, key := range keys {
				var all adminapi.DeadLetters
				if err := s.get(cmd.Context(), subscriptionPath(key, "/deadletters?limit="+strconv.Itoa(limit)), &all); err != nil {
					return err
				}
				doc.Items = append(doc.Items, all)
				for _, l := range all.Items {
					t.add(l.ID, key, l.ID, l.Type, l.Subject, l.Source, strconv.Itoa(l.Attempts), ago(l.At), l.Reason)
				}
				if n := len(all.Items); uint64(n) < all.Total && !s.structured() {
					s.hint("%s: %d of %d; --limit shows more", key, n, all.Total)
				}
			}
			return s.show(doc, t)
		},
	}
	s.namespaceFlag(cmd, &namespace, "of SUBSCRIPTION (default the context's, else "+defaultNamespace+"); without one only this namespace")
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many of each subscription, up to 1000")
	return cmd
}

// lettered is the subscription that is named, or all that may have dead letters.
func (s *session) lettered(ctx context.Context, args []string, namespace string) ([]string, error) {
	if len(args) == 1 {
		key, err := s.subscriptionKey(args[0], namespace)
		return []string{key}, err
	}
	items, err := s.subscriptionsIn(ctx, namespace, false)
	var keys []string
	for _, i := range items {
		if i.State != dispatch.Conflicting && (i.Depth == nil || i.Depth.Dead > 0) {
			keys = append(keys, i.Key())
		}
	}
	return keys, err
}

func (s *session) dlqShow() *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use: "show SUBSCRIPTION ID", Aliases: []string{"get"}, Args: cobra.ExactArgs(2), ValidArgsFunction: s.completeLetters,
		Short: "Show a dead letter: why it was given up, and the event",
		Example: `  meshctl events dlq show mail 7f3a -n shop
  meshctl events dlq show shop/mail 7f3a -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := s.subscriptionKey(args[0], namespace)
			if err != nil {
				return err
			}
			var all adminapi.DeadLetters
			if err := s.get(cmd.Context(), subscriptionPath(key, "/deadletters?id="+url.QueryEscape(args[1])), &all); err != nil {
				return err
			}
			return s.showLetters(all)
		},
	}
	s.namespaceFlag(cmd, &namespace, namespaceUsage)
	return cmd
}

// showLetters shows those with one id: two sources may have used it.
func (s *session) showLetters(all adminapi.DeadLetters) error {
	if s.structured() || s.output == "name" {
		t := table{}
		for _, l := range all.Items {
			t.names = append(t.names, l.ID)
		}
		return s.show(all, t)
	}
	for i, l := range all.Items {
		if i > 0 {
			fmt.Fprintln(s.Out)
		}
		if err := s.showTable(letterRows(all.Subscription, l)); err != nil {
			return err
		}
		body := l.Body
		var indented bytes.Buffer
		if len(l.Event) > 0 && json.Indent(&indented, l.Event, "", "  ") == nil {
			body = indented.Bytes()
		}
		fmt.Fprintf(s.Out, "\n%s\n", printable(body))
	}
	return nil
}

// printable keeps what is no text from steering the terminal.
func printable(raw []byte) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && !strconv.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, string(bytes.ToValidUTF8(raw, []byte("\uFFFD"))))
}

func letterRows(key string, l dispatch.DeadLetter) table {
	t := table{head: []string{"DEAD LETTER", l.ID}}
	for _, r := range [][]string{
		{"subscription", key}, {"type", l.Type}, {"source", l.Source}, {"subject", l.Subject},
		{"attempts", strconv.Itoa(l.Attempts)}, {"given up", l.At.Format(time.RFC3339)}, {"reason", l.Reason},
	} {
		if r[1] != "" {
			t.rows = append(t.rows, r)
		}
	}
	return t
}

// dlqSettle requeues or purges.
func (s *session) dlqSettle(verb, done, short, long string) *cobra.Command {
	var namespace string
	var yes bool
	var req adminapi.DeadLetterRequest
	cmd := &cobra.Command{
		Use: verb + " SUBSCRIPTION (ID… | --all)", Args: cobra.MinimumNArgs(1), ValidArgsFunction: s.completeLetters,
		Short: short, Long: long,
		Example: fmt.Sprintf("  meshctl events dlq %s mail 7f3a -n shop\n  meshctl events dlq %s shop/mail --all", verb, verb),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.IDs, req.By = args[1:], s.by()
			if req.All == (len(req.IDs) > 0) {
				return usagef("name the dead letters to %s, or all of them with --all", verb)
			}
			key, err := s.subscriptionKey(args[0], namespace)
			if err != nil {
				return err
			}
			if verb == "purge" && req.All && !yes {
				if err := s.confirm("remove all dead letters of " + key + " for good"); err != nil {
					return err
				}
			}
			var out adminapi.DeadLetterResponse
			if err := s.call(cmd.Context(), http.MethodPost, subscriptionPath(key, "/deadletters/"+verb), req, &out); err != nil {
				return err
			}
			if missing := len(req.IDs) - out.Count; missing > 0 {
				s.hint("%s of %s: not there any more", count(missing, "dead letter"), key)
			}
			if s.structured() || s.output == "name" {
				return s.show(out, table{names: req.IDs})
			}
			_, err = fmt.Fprintf(s.Out, "%s of %s %s\n", count(out.Count, "dead letter"), key, done)
			return err
		},
	}
	s.namespaceFlag(cmd, &namespace, namespaceUsage)
	cmd.Flags().BoolVar(&req.All, "all", false, "all of the subscription")
	if verb == "purge" {
		cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	}
	return cmd
}

// confirm asks on a terminal; elsewhere --yes has to say it.
func (s *session) confirm(what string) error {
	if f, ok := s.In.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		return usagef("this would %s; say --yes", what)
	}
	fmt.Fprintf(s.Err, "%s%s? [y/N] ", strings.ToUpper(what[:1]), what[1:])
	line, err := bufio.NewReader(s.In).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		return &exitError{ExitFailure, errors.New("nothing was done")}
	}
	return nil
}

// completeLetters offers subscriptions, then ids of the first one's dead letters.
func (s *session) completeLetters(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return s.completeSubscriptions(cmd, args, prefix)
	}
	namespace, _ := cmd.Flags().GetString("namespace")
	key, err := s.subscriptionKey(args[0], namespace)
	if err != nil || len(args) > 1 && cmd.Name() == "show" {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var all adminapi.DeadLetters
	return s.complete(cmd, subscriptionPath(key, "/deadletters"), &all, func() (names []string) {
		for _, l := range all.Items {
			names = append(names, l.ID+"\t"+oneLine(l.Reason))
		}
		return names
	})
}
