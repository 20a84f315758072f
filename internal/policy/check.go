package policy

import (
	"fmt"
	"time"

	"meshlite.dev/internal/policy/v1alpha1"
)

// CheckMerged applies the rules across fields to spec: a single document, or
// the merged result of a destination. A rule counts only where both of its
// fields are there. Paths are below spec, such as "retry.perTryTimeout".
func CheckMerged(spec *v1alpha1.ResiliencePolicySpec) []FieldError {
	c := checker{}
	c.timeouts(spec.Timeouts, spec.Retry)
	if spec.Retry != nil {
		c.backoff("retry.backoff", spec.Retry.Backoff)
	}
	c.outlier(spec.OutlierDetection)
	c.balancing(spec.LoadBalancing)
	c.probe(spec.HealthCheck)
	c.rate(spec.RateLimit)
	return c.faults
}

type checker struct{ faults []FieldError }

func (c *checker) fault(path, value, format string, args ...any) {
	c.faults = append(c.faults, FieldError{Path: path, Value: value, Reason: fmt.Sprintf(format, args...)})
}

// parsed returns the duration; absent and malformed ones (the schema's fault
// to report) are not ok.
func parsed(d *v1alpha1.Duration) (time.Duration, bool) {
	if d == nil {
		return 0, false
	}
	v, err := d.Parse()
	return v, err == nil
}

// notOver demands small <= large; with zeroOff a 0 on either side is "none".
func (c *checker) notOver(path string, small *v1alpha1.Duration, largePath string, large *v1alpha1.Duration, zeroOff bool) {
	s, ok1 := parsed(small)
	l, ok2 := parsed(large)
	if !ok1 || !ok2 || s <= l || zeroOff && (s == 0 || l == 0) {
		return
	}
	c.fault(path, string(*small), "must be at most %s, which is %s", largePath, *large)
}

func (c *checker) timeouts(t *v1alpha1.Timeouts, r *v1alpha1.Retry) {
	if t == nil {
		return
	}
	if d, ok := parsed(t.Connect); ok && d <= 0 {
		c.fault("timeouts.connect", string(*t.Connect), "must be over 0s")
	}
	if r == nil {
		return
	}
	c.notOver("retry.perTryTimeout", r.PerTryTimeout, "timeouts.request", t.Request, true)
	c.notOver("retry.perTryIdleTimeout", r.PerTryIdleTimeout, "timeouts.request", t.Request, true)
}

func (c *checker) backoff(path string, b *v1alpha1.Backoff) {
	if b != nil {
		c.notOver(path+".base", b.Base, path+".max", b.Max, false)
	}
}

func (c *checker) outlier(o *v1alpha1.OutlierDetection) {
	if o == nil {
		return
	}
	c.notOver("outlierDetection.baseEjectionTime", o.BaseEjectionTime, "outlierDetection.maxEjectionTime", o.MaxEjectionTime, false)
}

func (c *checker) balancing(lb *v1alpha1.LoadBalancing) {
	if lb == nil || lb.Type == nil {
		return
	}
	switch *lb.Type {
	case "RingHash", "Maglev":
		if len(lb.Hash) == 0 {
			c.fault("loadBalancing.hash", "[]", "%s needs what to hash; add hash: [{header: x-user}]", *lb.Type)
		}
		c.noSlowStart(lb)
	case "Random":
		c.noSlowStart(lb)
	}
}

func (c *checker) noSlowStart(lb *v1alpha1.LoadBalancing) {
	if lb.SlowStart == nil {
		return
	}
	if w, ok := parsed(lb.SlowStart.Window); ok && w > 0 {
		c.fault("loadBalancing.slowStart.window", string(*lb.SlowStart.Window), "goes with RoundRobin and LeastRequest only; set 0s, or another type than %s", *lb.Type)
	}
}

func (c *checker) probe(h *v1alpha1.HealthCheck) {
	if h == nil {
		return
	}
	if h.Path != nil && h.Type != nil && *h.Type != "HTTP" {
		c.fault("healthCheck.path", *h.Path, "goes with type HTTP only; the type is %s", *h.Type)
	}
}

func (c *checker) rate(r *v1alpha1.RateLimit) {
	if r == nil || r.PerCaller == nil {
		return
	}
	b := r.PerCaller
	if d, ok := parsed(b.Per); ok && d < 50*time.Millisecond {
		c.fault("rateLimit.perCaller.per", string(*b.Per), "must be 50ms or more, Envoy's limit")
	}
}
