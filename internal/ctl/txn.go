package ctl

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/txn"
	"meshlite.dev/internal/txn/web"
)

func (s *session) txnCmd() *cobra.Command {
	cmd := group("txn", "See and settle the applications' transactions", "transaction", "transactions")
	cmd.AddCommand(s.txnList(), s.txnGet(), s.txnLog(),
		s.txnSettle("retry", "Tell participants the decision again, and at once", "retried"),
		s.txnSettle("abort", "Roll back a transaction that is not decided", "aborted"),
		s.txnSettle("resolve", "Close participants that refused the decision as they are", "resolved"))
	return cmd
}

func txnPath(id, page string) string { return "/v1/transactions/" + url.PathEscape(id) + page }

func (s *session) txnList() *cobra.Command {
	var status string
	var limit int
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Args: cobra.NoArgs,
		Short: "List transactions, newest first",
		Long: `List the transactions that the coordinator remembers, newest first: open ones, and those
that ended in the last quarter of an hour.`,
		Example: `  meshctl txn list
  meshctl txn list --status HEURISTIC
  meshctl txn list --limit 20 -o wide`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return usagef("--limit is %d; use 1 or more", limit)
			}
			var all adminapi.Transactions
			if err := s.get(cmd.Context(), "/v1/transactions?status="+url.QueryEscape(status), &all); err != nil {
				return err
			}
			all.Items = all.Items[:min(len(all.Items), limit)]
			t := table{head: []string{"ID", "STATUS", "VOTES", "OWED", "PARTICIPANTS", "AGE", "+TOOK", "MESSAGE"}, empty: "no transactions"}
			for _, tx := range all.Items {
				yes, owed := votesOf(tx)
				var names []string
				for _, b := range tx.Participants {
					names = append(names, b.Service)
				}
				t.add(tx.ID, tx.ID, string(tx.Status), fmt.Sprintf("%d/%d", yes, len(tx.Participants)), blankZero(owed), several(names), agoOf(tx.Started), took(tx), tx.Reason)
			}
			return s.show(all, t)
		},
	}
	cmd.Flags().StringVar(&status, "status", "", "only these: PENDING, COMMITTED, ROLLED_BACK or HEURISTIC")
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many")
	_ = cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions([]string{"PENDING", "COMMITTED", "ROLLED_BACK", "HEURISTIC"}, cobra.ShellCompDirectiveNoFileComp)) // the flag is there: see above
	return cmd
}

// votesOf counts the votes that are yes, and those who have not done as decided.
func votesOf(tx web.Transaction) (yes, owed int) {
	for _, b := range tx.Participants {
		if b.Vote == txn.Yes.String() {
			yes++
		}
		if b.Ending == txn.Owed.String() || b.Ending == txn.Refused.String() {
			owed++
		}
	}
	return yes, owed
}

func blankZero(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func agoOf(t *time.Time) string {
	if t == nil {
		return ""
	}
	return ago(*t)
}

// took is how long the decision took.
func took(tx web.Transaction) string {
	if tx.Started == nil || tx.Decided == nil {
		return ""
	}
	return tx.Decided.Sub(*tx.Started).Round(time.Millisecond).String()
}

func (s *session) txnGet() *cobra.Command {
	return &cobra.Command{
		Use: "get ID", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeTransactions,
		Short: "Show a transaction with each participant's vote, words and end",
		Example: `  meshctl txn get order-4711
  meshctl txn get order-4711 -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var tx web.Transaction
			if err := s.get(cmd.Context(), txnPath(args[0], ""), &tx); err != nil {
				return err
			}
			return s.showTransaction(tx)
		},
	}
}

func (s *session) showTransaction(tx web.Transaction) error {
	t := table{head: []string{"PARTICIPANT", "VOTE", "END", "TRIES", "MESSAGE"}, names: []string{tx.ID}}
	for _, b := range tx.Participants {
		words := b.Text
		if b.Fault != "" {
			words = b.Fault
		}
		t.rows = append(t.rows, []string{b.Service, b.Vote, b.Ending, blankZero(b.Tries), words})
	}
	if !s.structured() && s.output != "name" {
		fmt.Fprintf(s.Out, "transaction %s\nstatus      %s%s\n", tx.ID, tx.Status, settled(tx))
		for _, line := range [][2]string{{"reason", oneLine(tx.Reason)}, {"began", agoOf(tx.Started)}, {"decided in", took(tx)}} {
			if line[1] != "" {
				fmt.Fprintf(s.Out, "%-11s %s\n", line[0], line[1])
			}
		}
		fmt.Fprintln(s.Out)
	}
	return s.show(tx, t)
}

func settled(tx web.Transaction) string {
	switch {
	case tx.Settled || tx.Status == txn.Pending:
		return ""
	case tx.Status == txn.Heuristic:
		return ": a participant did not do as decided; meshctl txn retry, or put it right and meshctl txn resolve"
	}
	return ", and being told"
}

func (s *session) txnLog() *cobra.Command {
	return &cobra.Command{
		Use: "log ID", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeTransactions,
		Short: "Tell what happened to a transaction",
		Long: `Tell what happened to a transaction, oldest first. After a restart, or a change of the server
that coordinates, what came before is told from the journal: it has every vote and end, and the
moments of the beginning, of the decision and of the end; what came between stands at the next
of these. How often participants were called is told by txn get, since the server coordinates.`,
		Example: `  meshctl txn log order-4711`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var log adminapi.TransactionLog
			if err := s.get(cmd.Context(), txnPath(args[0], "/log"), &log); err != nil {
				return err
			}
			t := table{head: []string{"AT", "WHAT"}, empty: "nothing"}
			for _, e := range log.Items {
				t.add(log.ID, e.At.Local().Format("15:04:05.000"), e.Text)
			}
			return s.show(log, t)
		},
	}
}

// txnSettle is a command that changes a transaction.
func (s *session) txnSettle(verb, short, done string) *cobra.Command {
	var req adminapi.TransactionRequest
	cmd := &cobra.Command{
		Use: verb + " ID", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeTransactions,
		Short:   short,
		Example: "  meshctl txn " + verb + " order-4711" + map[string]string{"resolve": " --participant stock --reason 'booked by hand'", "retry": " --participant stock"}[verb],
		RunE: func(cmd *cobra.Command, args []string) error {
			req.By = s.by()
			var tx web.Transaction
			if err := s.call(cmd.Context(), http.MethodPost, txnPath(args[0], "/"+verb), req, &tx); err != nil {
				return err
			}
			if s.structured() || s.output == "name" {
				return s.show(tx, table{names: []string{tx.ID}})
			}
			_, err := fmt.Fprintf(s.Out, "transaction %s %s: %s\n", tx.ID, done, tx.Status)
			return err
		},
	}
	if verb != "abort" {
		cmd.Flags().StringVar(&req.Participant, "participant", "", "this one alone (default: all)")
	}
	if verb != "retry" {
		cmd.Flags().StringVar(&req.Reason, "reason", "", "why; it is kept with the transaction")
	}
	switch verb {
	case "abort":
		cmd.Long = "Roll back a transaction that is not decided. One that is decided to commit goes on."
	case "resolve":
		cmd.Long = "Close participants that refused the decision as they are, once a person has put them right.\nThe transaction stays HEURISTIC. One that is named may also be one that was never reached."
	}
	return cmd
}

func (s *session) completeTransactions(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var all adminapi.Transactions
	return s.complete(cmd, "/v1/transactions", &all, func() (names []string) {
		for _, tx := range all.Items {
			names = append(names, tx.ID+"\t"+strings.TrimSpace(string(tx.Status)+" "+oneLine(tx.Reason)))
		}
		return names
	})
}
