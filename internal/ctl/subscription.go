package ctl

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"meshlite.dev/internal/admin/adminapi"
)

const subscriptionsPath = "/v1/events/subscriptions"

func (s *session) subscriptionCmd() *cobra.Command {
	cmd := group("subscription", "See how events are delivered to subscriptions, and pause them", "subscriptions", "sub", "es")
	cmd.AddCommand(s.subscriptionList(), s.subscriptionGet(),
		s.subscriptionPause("pause", "paused", "Deliver nothing of a subscription; its events wait",
			`Deliver nothing of a subscription until it is resumed, on every replica and over restarts.
Its events wait in its queue. Calls under way have three seconds to end; one that is cut is
made again after the pause. A document that is replaced stays paused; one that is gone for a
minute does not.`, "  meshctl events subscription pause mail -n shop --reason 'the mailer moves'"),
		s.subscriptionPause("resume", "resumed", "Deliver a paused subscription again", "", "  meshctl events subscription resume mail -n shop"))
	return cmd
}

// subscriptionKey is NAMESPACE/NAME of an argument that is NAME or that.
func (s *session) subscriptionKey(name, namespace string) (string, error) {
	before, after, whole := strings.Cut(name, "/")
	switch {
	case whole && (before == "" || after == "" || strings.Contains(after, "/")):
		return "", usagef("%q is no subscription; use NAME or NAMESPACE/NAME", name)
	case whole && namespace != "" && namespace != before:
		return "", usagef("%q has a namespace, and --namespace is %q; leave one of them out", name, namespace)
	case whole:
		return name, nil
	}
	namespace, err := s.namespace(namespace, defaultNamespace)
	return namespace + "/" + name, err
}

// subscriptionPath is the page of a subscription.
func subscriptionPath(key, page string) string {
	namespace, name, _ := strings.Cut(key, "/")
	return subscriptionsPath + "/" + url.PathEscape(namespace) + "/" + url.PathEscape(name) + page
}

func (s *session) subscriptionList() *cobra.Command {
	var namespace string
	var all bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Args: cobra.NoArgs,
		Short: "List subscriptions with state, lag and last failure",
		Long: `List the subscriptions in force, as the server sees its own share of them.

  STATE      Delivering, Paused, Interrupted (it is tried again) or Conflicting (another has its queue)
  WAITING    events for their first or another attempt, calls under way included
  DEAD       events given up: meshctl events dlq
  MISSED     events that a bounded log dropped before they were tried
  DELIVERED  since the server took this version up`,
		Example: `  meshctl events subscription list
  meshctl events subscription list -n shop -o wide`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			items, err := s.subscriptionsIn(cmd.Context(), namespace, all)
			if err != nil {
				return err
			}
			t := table{
				head:  []string{"NAMESPACE", "NAME", "STATE", "SERVICE", "WAITING", "DEAD", "MISSED", "IN FLIGHT", "DELIVERED", "+FAILED", "+SKIPPED", "+BINDINGS", "+QUEUE", "MESSAGE"},
				empty: "no subscriptions",
			}
			for _, i := range items {
				d := depthCells(i.Depth)
				t.add(i.Key(), i.Namespace, i.Name, i.State, i.Service, d[0], d[1], d[2], strconv.Itoa(i.InFlight), counted(i.Delivered),
					counted(i.Failed), counted(i.Skipped), strings.Join(i.Bindings, ", "), i.Queue, subscriptionMessage(i))
			}
			return s.show(adminapi.Subscriptions{Items: items}, t)
		},
	}
	s.namespaceFlag(cmd, &namespace, "only this namespace (default all, or the context's)")
	cmd.Flags().BoolVarP(&all, "all-namespaces", "A", false, "every namespace, whatever the context says")
	cmd.MarkFlagsMutuallyExclusive("namespace", "all-namespaces")
	return cmd
}

// subscriptionsIn are those of a namespace, or of all.
func (s *session) subscriptionsIn(ctx context.Context, namespace string, all bool) ([]adminapi.Subscription, error) {
	namespace, err := s.namespace(namespace, "")
	if err != nil {
		return nil, err
	}
	var out adminapi.Subscriptions
	if err := s.get(ctx, subscriptionsPath, &out); err != nil {
		return nil, err
	}
	if namespace != "" && !all {
		out.Items = slices.DeleteFunc(out.Items, func(i adminapi.Subscription) bool { return i.Namespace != namespace })
	}
	return out.Items, nil
}

func counted(n uint64) string { return strconv.FormatUint(n, 10) }

// depthCells are waiting, dead and missed; "?" where the queue does not answer.
func depthCells(d *adminapi.Depth) [3]string {
	if d == nil {
		return [3]string{"?", "?", "?"}
	}
	return [3]string{counted(d.Waiting), counted(d.Dead), counted(d.Missed)}
}

// subscriptionMessage is what a person should know first.
func subscriptionMessage(i adminapi.Subscription) string {
	switch {
	case i.Problem != "":
		return i.Problem
	case i.Paused != nil:
		return strings.TrimSuffix("since "+ago(i.Paused.Since)+": "+i.Paused.Reason, ": ")
	case i.LastFailure != nil:
		return fmt.Sprintf("%s ago: %s", ago(i.LastFailure.At), i.LastFailure.Message)
	}
	return i.Unanswered
}

func (s *session) subscriptionGet() *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use: "get NAME", Aliases: []string{"describe"}, Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeSubscriptions,
		Short: "Show all about a subscription: settings with defaults, state, lag, last failure",
		Example: `  meshctl events subscription get mail -n shop
  meshctl events subscription get shop/mail -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := s.subscriptionKey(args[0], namespace)
			if err != nil {
				return err
			}
			var i adminapi.Subscription
			if err := s.get(cmd.Context(), subscriptionPath(key, ""), &i); err != nil {
				return err
			}
			return s.show(i, subscriptionRows(i))
		},
	}
	s.namespaceFlag(cmd, &namespace, namespaceUsage)
	return cmd
}

func subscriptionRows(i adminapi.Subscription) table {
	t := table{head: []string{"SUBSCRIPTION", i.Key()}, names: []string{i.Key()}}
	row := func(k, v string) {
		if v != "" {
			t.rows = append(t.rows, []string{k, v})
		}
	}
	row("state", i.State)
	row("problem", i.Problem)
	if p := i.Paused; p != nil {
		row("paused", strings.TrimSuffix(ago(p.Since)+" ago: "+p.Reason, ": "))
	}
	row("handler", "http://"+i.Service+i.Path+", "+i.Mode)
	row("bindings", strings.Join(i.Bindings, ", ")+" of "+i.Exchange)
	row("filter", i.Filter)
	row("queue", fmt.Sprintf("%s (%s), dead letters in %s", i.Queue, i.QueueType, i.DeadLetter))
	order := fmt.Sprintf("%d at a time", i.Concurrency)
	if i.Ordered {
		order = "one at a time, in order"
	}
	row("delivery", fmt.Sprintf("%s, %s each, %d attempts, %s to %s between them", order, i.Timeout, i.Attempts, i.Base, i.Max))
	d := depthCells(i.Depth)
	row("waiting", d[0])
	row("dead", d[1])
	row("missed", d[2])
	row("in flight", strconv.Itoa(i.InFlight))
	row("delivered", counted(i.Delivered))
	row("failed", counted(i.Failed)+" attempts")
	row("given up", counted(i.DeadLettered))
	row("skipped", counted(i.Skipped))
	row("unanswered", i.Unanswered)
	if f := i.LastFailure; f != nil {
		row("last failure", fmt.Sprintf("%s ago: %s", ago(f.At), f.Message))
	}
	return t
}

func (s *session) subscriptionPause(verb, done, short, long, example string) *cobra.Command {
	var namespace string
	var req adminapi.PauseRequest
	cmd := &cobra.Command{
		Use: verb + " NAME", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeSubscriptions,
		Short: short, Long: long, Example: example,
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := s.subscriptionKey(args[0], namespace)
			if err != nil {
				return err
			}
			req.By = s.by()
			var i adminapi.Subscription
			if err := s.call(cmd.Context(), http.MethodPost, subscriptionPath(key, "/"+verb), req, &i); err != nil {
				return err
			}
			if s.structured() || s.output == "name" {
				return s.show(i, table{names: []string{key}})
			}
			_, err = fmt.Fprintf(s.Out, "subscription %s %s\n", key, done)
			return err
		},
	}
	s.namespaceFlag(cmd, &namespace, namespaceUsage)
	if verb == "pause" {
		cmd.Flags().StringVar(&req.Reason, "reason", "", "why; it is shown while it is paused")
	}
	return cmd
}

// completeSubscriptions offers names of the namespace, or NAMESPACE/NAME of all
// once there is a slash.
func (s *session) completeSubscriptions(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var all adminapi.Subscriptions
	return s.complete(cmd, subscriptionsPath, &all, func() (names []string) {
		flag, _ := cmd.Flags().GetString("namespace")
		namespace, err := s.namespace(flag, defaultNamespace)
		for _, i := range all.Items {
			switch {
			case strings.Contains(prefix, "/") || err != nil || i.Namespace != namespace && flag == "":
				names = append(names, i.Key()+"\t"+i.State)
			case i.Namespace == namespace:
				names = append(names, i.Name+"\t"+i.State)
			}
		}
		return names
	})
}
