package ctl

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/version"
)

// maxSkew is how far the clocks of client and server may lie apart.
const maxSkew = 2 * time.Second

func (s *session) doctorCmd() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Args: cobra.NoArgs,
		Short: "Check server, catalog, policies and sidecars, and say what to do",
		Long: `Check server, catalog and token rights, connection limit, policies, sidecars, clock
and state folder, and say what to do. Exit code 79 when something needs you.`,
		Example: `  meshctl doctor
  meshctl doctor -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			begin := time.Now()
			var d adminapi.Doctor
			if err := s.get(cmd.Context(), "/v1/doctor", &d); err != nil {
				return err
			}
			d.Checks = append(d.Checks, clock(begin, time.Now(), d.Time))
			if c, err := s.versions(cmd); err == nil {
				d.Checks = append(d.Checks, c)
			}
			return s.showChecks(d)
		},
	}
}

// clock compares the server's time with ours, the way there and back allowed.
func clock(asked, answered, server time.Time) adminapi.Check {
	var skew time.Duration
	switch {
	case server.Before(asked):
		skew = asked.Sub(server)
	case server.After(answered):
		skew = server.Sub(answered)
	}
	c := adminapi.Check{Name: "clock", Status: "ok", Message: "agrees with the server's"}
	if skew > maxSkew {
		c.Status = "warning"
		c.Message = fmt.Sprintf("differs from the server's by %s", skew.Round(time.Millisecond))
		c.Hint = "ages and certificates are judged by clocks: synchronize both hosts"
	}
	return c
}

func (s *session) versions(cmd *cobra.Command) (adminapi.Check, error) {
	var v adminapi.Version
	if err := s.get(cmd.Context(), "/v1/version", &v); err != nil {
		return adminapi.Check{}, err
	}
	c := adminapi.Check{Name: "version", Status: "ok", Message: "server and meshctl are " + v.Version}
	if v.Version != version.Number {
		c.Status = "warning"
		c.Message = fmt.Sprintf("server is %s, meshctl %s", v.Version, version.Number)
		c.Hint = "use the meshctl of the server's release: offline checks may differ"
	}
	return c, nil
}

func (s *session) showChecks(d adminapi.Doctor) error {
	t := table{head: []string{"CHECK", "STATUS", "MESSAGE"}}
	bad := 0
	for _, c := range d.Checks {
		t.add(c.Name, c.Name, c.Status, c.Message)
		if c.Status == "ok" {
			continue
		}
		bad++
		if c.Hint != "" {
			t.rows = append(t.rows, []string{blank, blank, "→ " + c.Hint})
		}
	}
	if err := s.show(d, t); err != nil {
		return err
	}
	if bad > 0 {
		return &exitError{ExitFindings, fmt.Errorf("%s need attention", count(bad, "check"))}
	}
	return nil
}

func (s *session) versionCmd() *cobra.Command {
	var client bool
	cmd := &cobra.Command{
		Use: "version", Args: cobra.NoArgs,
		Short: "Show the versions of meshctl and of the server",
		Example: `  meshctl version
  meshctl version --client -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			own := version.API("")
			out := map[string]adminapi.Version{"client": own}
			t := table{head: []string{"", "VERSION", "COMMIT", "GO"}}
			t.add("client", "client", own.Version, own.Commit, own.Go)
			if !client {
				var v adminapi.Version
				err := s.get(cmd.Context(), "/v1/version", &v)
				var exit *exitError
				switch {
				case err == nil:
					out["server"] = v
					t.add("server", "server", v.Version, v.Commit, v.Go)
				case errors.As(err, &exit) && exit.Code == ExitUnreachable:
					s.hint("no server: %v", err)
				default:
					return err
				}
			}
			t.head[0] = "WHAT"
			return s.show(out, t)
		},
	}
	cmd.Flags().BoolVar(&client, "client", false, "of meshctl alone")
	return cmd
}
