package app

import (
	"fmt"
	"os"
	"slices"
	"time"

	"meshlite.dev/internal/admin"
	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/admin/metrics"
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/rollout"
	"meshlite.dev/internal/xds/resource"
)

// openRollouts makes what stands between carrier and fleet.
func (a *app) openRollouts(cfg Config, kept *durable, shared sharedStore, messages resource.Config, meter *metrics.Metrics) {
	replica, err := os.Hostname()
	if err != nil || replica == "" {
		replica = "local" // it only names us to people
	}
	a.understudy = &understudy{view: a.view, xds: a.xds, cfg: messages, setup: compile.Config{RootNamespace: cfg.RootNamespace}}
	a.policies.rollouts = rollout.New(rollout.Config{
		Board:  boardOf(shared),
		Keeper: a.policies.keeper, Store: sharedOr(shared, kept.state), Lead: lead(kept, shared), Use: a.policies.take,
		Fleet:    a.understudy,
		Settings: cfg.rolloutSettings(), VoteTimeout: cfg.RolloutTimeout, Carrier: a.carrierName(), Replica: replica, Instance: kept.instance,
		Observe: func(before, after adminapi.Rollout) {
			meter.RolledOut(before, after)
			a.hub.Publish(admin.RolloutChanges(before, after)...)
			a.events.poke()
		},
		Changed: func() { a.status.Documents() },
		Log:     a.log,
	})
}

func (a *app) carrierName() string {
	if a.policies.carrier == "" {
		return "built-in"
	}
	return a.policies.carrier
}

// rolloutSettings are those of rollouts that begin by themselves.
func (c Config) rolloutSettings() adminapi.RolloutSettings {
	s := adminapi.DefaultRolloutSettings()
	s.Mode, s.Quorum, s.MaxFailed = c.Rollout, c.Quorum, c.MaxFailed
	s.ConfirmTimeout, s.Canary, s.Bake = adminapi.Duration(c.ConfirmTimeout), c.Canary, adminapi.Duration(c.Bake)
	return s
}

// Bounds of --rollout-timeout and --confirm-timeout.
const (
	rolloutTimeoutMost = time.Hour
	confirmMost        = 7 * 24 * time.Hour
)

// validateRollouts names flags where the API names fields.
func (c Config) validateRollouts() []error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if !slices.Contains([]string{adminapi.ModeAuto, adminapi.ModeDirect, adminapi.ModeHold}, c.Rollout) {
		fault("--rollout is %q; use auto, direct or hold", c.Rollout)
	}
	if c.RolloutTimeout <= 0 || c.RolloutTimeout > rolloutTimeoutMost {
		fault("--rollout-timeout is %s; use a duration over 0s, at most %s", c.RolloutTimeout, rolloutTimeoutMost)
	}
	if c.Quorum < 0 || c.Quorum > 100 {
		fault("--quorum is %d; use 0 to 100 percent", c.Quorum)
	}
	if s := c.rolloutSettings(); len(faults) == 0 {
		if err := s.Validate(); err != nil {
			fault("--rollout, --canary, --bake and --confirm-timeout do not go together: %w", err)
		}
	}
	if c.ConfirmTimeout < 0 || c.ConfirmTimeout > confirmMost {
		fault("--confirm-timeout is %s; use 0s to %s", c.ConfirmTimeout, confirmMost)
	}
	return faults
}
