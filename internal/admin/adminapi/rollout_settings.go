package adminapi

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"meshlite.dev/internal/mesh"
)

// Modes of a rollout.
const (
	ModeAuto   = "auto"   // votes, then commits
	ModeDirect = "direct" // commits without asking the proxies
	ModeHold   = "hold"   // votes, then a person commits
)

// Limits of settings.
const (
	maxBake    = 24 * time.Hour
	maxConfirm = 7 * 24 * time.Hour
)

// RolloutSettings is how a rollout goes.
type RolloutSettings struct {
	Mode string `json:"mode"` // auto, direct, hold
	// Canary are the proxies that serve the change first: "10%", or "KEY=VALUE" of
	// their labels, or of id, service, region, zone, envoy; "" is none.
	Canary string   `json:"canary,omitempty"`
	Bake   Duration `json:"bake,omitempty"` // how long these serve it before it is judged
	// ConfirmTimeout is how long after the commit a person may take to confirm
	// before it is undone; 0 wants no confirmation.
	ConfirmTimeout Duration  `json:"confirmTimeout,omitempty"`
	SkipVote       bool      `json:"skipVote,omitempty"`
	MaxFailed      MaxFailed `json:"maxFailed"`
	Quorum         int       `json:"quorum"` // percent of the voters beyond one of each build, 0 to 100
}

// DefaultRolloutSettings are those of a server without flags.
func DefaultRolloutSettings() RolloutSettings {
	return RolloutSettings{Mode: ModeAuto, Bake: Duration(5 * time.Minute), MaxFailed: MaxFailed{Proxies: 2, Percent: 1}, Quorum: 95}
}

// RolloutOptions are settings of one rollout; those absent are the server's.
type RolloutOptions struct {
	Mode           *string    `json:"mode,omitempty"`
	Canary         *string    `json:"canary,omitempty"`
	Bake           *Duration  `json:"bake,omitempty"`
	ConfirmTimeout *Duration  `json:"confirmTimeout,omitempty"`
	SkipVote       *bool      `json:"skipVote,omitempty"`
	MaxFailed      *MaxFailed `json:"maxFailed,omitempty"`
	Quorum         *int       `json:"quorum,omitempty"`
}

// Over returns base with what o sets.
func (o RolloutOptions) Over(base RolloutSettings) RolloutSettings {
	put(&base.Mode, o.Mode)
	put(&base.Canary, o.Canary)
	put(&base.Bake, o.Bake)
	put(&base.ConfirmTimeout, o.ConfirmTimeout)
	put(&base.SkipVote, o.SkipVote)
	put(&base.MaxFailed, o.MaxFailed)
	put(&base.Quorum, o.Quorum)
	return base
}

func put[T any](into, from *T) {
	if from != nil {
		*into = *from
	}
}

// CanaryPercent is the share that Canary asks for, 1 to 100; ok is false where it
// is a label, or none.
func (s RolloutSettings) CanaryPercent() (percent int, ok bool) {
	text, ok := strings.CutSuffix(s.Canary, "%")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= 1 && n <= 100
}

// CanaryLabel is the label that Canary asks for.
func (s RolloutSettings) CanaryLabel() (key, value string, ok bool) {
	key, value, ok = strings.Cut(s.Canary, "=")
	return key, value, ok && mesh.CheckLabel(key, value) == nil
}

// Validate says everything that is wrong, by the names of the JSON fields.
func (s RolloutSettings) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if s.Mode != ModeAuto && s.Mode != ModeDirect && s.Mode != ModeHold {
		fault("mode: %.64q: must be auto, direct or hold", s.Mode)
	}
	_, percent := s.CanaryPercent()
	_, _, label := s.CanaryLabel()
	if s.Canary != "" && !percent && !label {
		fault("canary: %.64q: must be 1%% to 100%%, or a label KEY=VALUE of proxies", s.Canary)
	}
	unvoted := ""
	switch {
	case s.SkipVote:
		unvoted = "skipVote"
	case s.Mode == ModeDirect:
		unvoted = "mode direct"
	}
	if s.Canary != "" && unvoted != "" {
		fault("canary: %.64q: cannot be with %s, which serves the change to all at once", s.Canary, unvoted)
	}
	if s.SkipVote && s.Mode == ModeHold {
		fault("skipVote: true: cannot be with mode hold, which waits after the vote")
	}
	if s.Bake < 0 || time.Duration(s.Bake) > maxBake {
		fault("bake: %s: must be 0s to %s", s.Bake, maxBake)
	}
	if s.ConfirmTimeout < 0 || time.Duration(s.ConfirmTimeout) > maxConfirm {
		fault("confirmTimeout: %s: must be 0s to %s", s.ConfirmTimeout, maxConfirm)
	}
	if f := s.MaxFailed; f.Proxies < 0 || f.Percent < 0 || f.Percent > 100 {
		fault("maxFailed: %s: must be a number of proxies and 0%% to 100%%", f)
	}
	if s.Quorum < 0 || s.Quorum > 100 {
		fault("quorum: %d: must be 0 to 100 percent", s.Quorum)
	}
	return errors.Join(faults...)
}

// MaxFailed is how many proxies may refuse after the commit what was voted for
// before the rollout is undone: over both bounds it is. As text "2,1%"; "2" is
// 2 proxies whatever their share, "1%" a share whatever their number.
type MaxFailed struct {
	Proxies int
	Percent int // of those that the change set reaches, 0 to 100
}

// Exceeded reports whether failed of reached proxies are too many.
func (m MaxFailed) Exceeded(failed, reached int) bool {
	return failed > m.Proxies && failed*100 > m.Percent*reached
}

// String is the text form.
func (m MaxFailed) String() string {
	switch {
	case m.Percent == 0:
		return strconv.Itoa(m.Proxies)
	case m.Proxies == 0:
		return strconv.Itoa(m.Percent) + "%"
	}
	return fmt.Sprintf("%d,%d%%", m.Proxies, m.Percent)
}

// MarshalText implements encoding.TextMarshaler.
func (m MaxFailed) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *MaxFailed) UnmarshalText(text []byte) error {
	var out MaxFailed
	for part := range strings.SplitSeq(string(text), ",") {
		number, share := strings.CutSuffix(part, "%")
		n, err := strconv.Atoi(number)
		switch {
		case err != nil || n < 0 || share && n > 100:
			return fmt.Errorf("%.64q: must be a number of proxies, a share such as 1%%, or both as in 2,1%%", text)
		case share:
			out.Percent = n
		default:
			out.Proxies = n
		}
	}
	*m = out
	return nil
}

// Duration is a time.Duration, in JSON the text "1m30s".
type Duration time.Duration

// String is the text form.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%.64q: must be a duration such as 30s or 5m", text)
	}
	*d = Duration(v)
	return nil
}
