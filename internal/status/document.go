package status

import (
	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/policy"
	"meshlite.dev/internal/policy/v1alpha1"
)

// Document is what compiling made of one policy document.
type Document struct {
	policy.Key
	Generation int64     // of the version in the revision; 0: no version ever was in one
	Label      string    // of that version, "rp/default/orders@3"; "" with generation 0
	Refused    *Refused  // a newer version that was not taken; nil: none
	Held       *Held     // a newer version that a rollout keeps out of force; nil: none
	Shadow     bool      // effect shadow
	Role       string    // the role of xds-server that carries the kind out; "" is xds
	Delivery   *Delivery // how those that have Role carry it out; nil: nobody has
	Accepted   compile.Reason
	Message    string // "" where Accepted says it all
	Unresolved string // what it names and is not there; "": all is
	Targets    []compile.TargetStatus
}

// Refused is a version that has faults.
type Refused struct {
	Generation int64 // 0: its carrier does not count
	Message    string
}

// Documents lists what became of every document in force or refused, sorted by
// Key.String.
func Documents(r compile.Result, rev policy.Revision) []Document {
	refused := map[policy.Key]int64{}
	for _, f := range rev.Refused {
		refused[f.Key] = f.Generation
	}
	all := r.Documents()
	out := make([]Document, len(all))
	for i, s := range all {
		d := Document{
			Key: s.Key, Shadow: s.Shadow, Accepted: s.Accepted, Message: s.Message,
			Unresolved: s.Unresolved, Targets: s.PerTarget,
		}
		if generation, ok := refused[s.Key]; ok {
			d.Refused = &Refused{Generation: generation, Message: s.Message}
		}
		if s.Document != nil {
			d.Generation, d.Label = s.Document.Generation, s.Document.Ref().String()
			if s.Document.Subscription != nil {
				d.subscribe(s.Document.Subscription.Handler.Service, r)
			}
		}
		out[i] = d
	}
	return out
}

// subscribe fills in what concerns an EventSubscription, of which nothing is
// compiled.
func (d *Document) subscribe(handler string, r compile.Result) {
	d.Role = "events"
	t := compile.TargetStatus{Ref: v1alpha1.TargetRef{Kind: v1alpha1.TargetService, Name: handler}, Service: handler, Accepted: d.Accepted}
	t.Name = t.Ref.Kind + "/" + handler
	if !r.Model.Services.Has(handler) {
		d.Unresolved = "spec.handler.service: the catalog has no service " + handler
		t.Unresolved = d.Unresolved
	}
	d.Targets = []compile.TargetStatus{t}
}
