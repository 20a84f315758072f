package consulimport

import (
	"maps"
	"math"
	"slices"
	"time"

	"meshlite.dev/internal/policy/v1alpha1"
)

// protocols by Consul's word; every other is tcp to Consul.
var protocols = map[string]string{"http": "http1", "http2": "http2", "grpc": "grpc", "tcp": "tcp"}

// defaults is a service-defaults.
type defaults struct {
	entry     *entry
	protocol  string // of Meshlite; "" not said
	upstream  *upstream
	upstreams map[string]*upstream // overrides by the upstream's name
}

// upstream is what a caller sets for a destination.
type upstream struct {
	connect *v1alpha1.Duration
	limits  *v1alpha1.Limits
	outlier *v1alpha1.OutlierDetection
}

func readDefaults(e *entry) *defaults {
	d := &defaults{entry: e, protocol: readProtocol(e.body), upstreams: map[string]*upstream{}}
	config := e.body.object("UpstreamConfig")
	if config == nil {
		return d
	}
	if o := config.object("Defaults"); o != nil {
		d.upstream = readUpstream(o)
	}
	for _, o := range config.list("Overrides") {
		name := o.text("Name")
		if elsewhere(o) || !validName(o, name) {
			continue
		}
		d.upstreams[name] = readUpstream(o)
	}
	return d
}

func readProtocol(o *object) string {
	word := o.text("Protocol")
	if word == "" {
		return ""
	}
	p, ok := protocols[plain(word)]
	if !ok {
		o.left("Protocol", "is tcp to Consul, and so it is here; use http, http2 or grpc where the service speaks that")
		return "tcp"
	}
	return p
}

// readProxy returns the protocol of services that state none, "" where
// proxy-defaults has none.
func readProxy(e *entry) string {
	config := e.body.object("Config")
	if config == nil {
		return ""
	}
	p := readProtocol(config)
	for _, name := range slices.Sorted(maps.Keys(config.values)) {
		switch name {
		case "protocol":
		case "limits", "passivehealthcheck", "connecttimeoutms":
			config.left(name, "proxy-defaults say nothing about upstreams in Consul either; for all services write a ResiliencePolicy with targetRefs: [{kind: Mesh}]")
		default:
			config.left(name, instead(e.kind, name))
		}
	}
	return p
}

func readUpstream(o *object) *upstream {
	u := &upstream{limits: readLimits(o.object("Limits")), outlier: readOutlier(o.object("PassiveHealthCheck"))}
	if ms, ok := o.count("ConnectTimeoutMs"); ok && ms > 0 {
		u.connect = written(time.Duration(ms) * time.Millisecond)
	}
	if u.connect == nil && u.limits == nil && u.outlier == nil {
		return nil
	}
	return u
}

// over puts the fields that u has over those of base, each as a whole: so does
// Consul.
func (u *upstream) over(base *upstream) *upstream {
	if base == nil || u == nil {
		if u == nil {
			return base
		}
		return u
	}
	out := *base
	if u.connect != nil {
		out.connect = u.connect
	}
	if u.limits != nil {
		out.limits = u.limits
	}
	if u.outlier != nil {
		out.outlier = u.outlier
	}
	return &out
}

func (u *upstream) spec(caller string, targets []string) *v1alpha1.ResiliencePolicySpec {
	spec := &v1alpha1.ResiliencePolicySpec{From: []v1alpha1.CallerRef{{Service: caller}}, Limits: u.limits, OutlierDetection: u.outlier}
	for _, t := range targets {
		spec.TargetRefs = append(spec.TargetRefs, v1alpha1.TargetRef{Kind: v1alpha1.TargetService, Name: t})
	}
	if u.connect != nil {
		spec.Timeouts = &v1alpha1.Timeouts{Connect: u.connect}
	}
	return spec
}

func readLimits(o *object) *v1alpha1.Limits {
	if o == nil {
		return nil
	}
	l := &v1alpha1.Limits{}
	some := false
	for name, into := range map[string]**int32{
		"MaxConnections": &l.Connections, "MaxPendingRequests": &l.PendingRequests, "MaxConcurrentRequests": &l.Requests,
	} {
		n, ok := o.count(name)
		if !ok {
			continue
		}
		if n == 0 {
			o.left(name, "0 lets nothing through in Consul, and is unlimited in limits; use 1, or a fault of a TrafficRoute that aborts 100 percent")
			continue
		}
		*into, some = &n, true
	}
	if !some {
		return nil
	}
	return l
}

// readOutlier reads passive health checks. They count answers and local
// failures as one, and gateway errors only among the others.
func readOutlier(o *object) *v1alpha1.OutlierDetection {
	if o == nil {
		return nil
	}
	out := &v1alpha1.OutlierDetection{
		Interval: duration(o, "Interval"), BaseEjectionTime: duration(o, "BaseEjectionTime"),
		LocalOrigin: &v1alpha1.LocalOrigin{Split: new(false)},
	}
	if out.BaseEjectionTime != nil {
		const most = 300 * time.Second // of mesh-default
		if base, err := out.BaseEjectionTime.Parse(); err == nil && base > most {
			out.MaxEjectionTime = out.BaseEjectionTime
		}
	}
	if n, ok := o.count("MaxEjectionPercent"); ok && n <= 100 {
		out.MaxEjectionPercent = &n
	}
	failures, _ := o.count("MaxFailures")
	if n, ok := o.count("Consecutive5xx"); ok && n > 0 {
		failures = n
	}
	out.Consecutive5xx = ejectsAfter(o, "EnforcingConsecutive5xx", failures, 100)
	gateway, _ := o.count("ConsecutiveGatewayFailure")
	out.ConsecutiveGatewayErrors = ejectsAfter(o, "EnforcingConsecutiveGatewayFailure", gateway, 0)
	return out
}

// ejectsAfter is how many failures eject: n, or nil for the usual number; 0
// where chance, else otherwise, says never.
func ejectsAfter(o *object, chance string, n int32, otherwise int32) *int32 {
	percent, ok := o.count(chance)
	if !ok {
		percent = otherwise
	}
	switch {
	case percent == 0:
		return new(int32(0))
	case percent < 100:
		o.left(chance, "an instance is ejected always or never; use outlierDetection.mode: Monitor to watch first")
	}
	const most = 1_000_000
	if n == 0 || n == math.MaxInt32 {
		return nil
	}
	return new(min(n, most))
}
