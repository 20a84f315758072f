package ctl

import (
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"meshlite.dev/internal/admin/adminapi"
)

func (s *session) freezeCmd() *cobra.Command {
	var off bool
	var reason string
	cmd := &cobra.Command{
		Use: "freeze [--reason TEXT | --off]", Args: cobra.NoArgs,
		Short: "Let nothing but endpoints change, or see whether it is so",
		Long: `Let nothing but endpoints change: no policy comes in force, and no service comes, goes
or changes its protocol for the sidecars, until --off. What is edited meanwhile waits.
All replicas that share a store follow within a second, and a restart stays frozen.

With neither --reason nor --off, show whether all is frozen, since when and why. Exit
code 79 while it is.`,
		Example: `  meshctl freeze --reason "sale until Monday"
  meshctl freeze
  meshctl freeze --off`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			set := cmd.Flags().Changed("reason")
			var now adminapi.Freeze
			switch {
			case off && set:
				return usagef("--off takes no --reason")
			case off || set:
				if err := s.call(cmd.Context(), http.MethodPost, "/v1/freeze", adminapi.Freeze{On: set, Reason: reason}, &now); err != nil {
					return err
				}
			default:
				if err := s.get(cmd.Context(), "/v1/freeze", &now); err != nil {
					return err
				}
			}
			t := table{head: []string{"FROZEN", "SINCE", "REASON"}}
			t.add("freeze", freezeRow(now)...)
			if err := s.show(now, t); err != nil || !now.On || set {
				return err
			}
			return &exitError{Code: ExitFindings}
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "freeze, and say why")
	cmd.Flags().BoolVar(&off, "off", false, "end the freeze")
	return cmd
}

func freezeRow(f adminapi.Freeze) []string {
	if !f.On {
		return []string{"no", "", ""}
	}
	since := ""
	if f.Since != nil {
		since = f.Since.UTC().Format(time.RFC3339)
	}
	return []string{"yes", since, f.Reason}
}
