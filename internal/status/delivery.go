package status

import (
	"maps"
	"slices"

	"meshlite.dev/internal/compile"
	"meshlite.dev/internal/policy"
)

// Reasons of Programmed and Enforced of a subscription that is carried out and not
// delivered just now. One whose queue is another's is compile.Conflicted.
const (
	ReasonPaused      = "Paused"      // by a person
	ReasonInterrupted = "Interrupted" // the message says why; it is tried again
)

// Delivery is how a replica that has the role carries out a subscription.
type Delivery struct {
	Reason  string `json:"reason"` // "" delivers
	Message string `json:"message,omitempty"`
}

// Deliveries is what a replica tells of all subscriptions. Nil: it has not the role.
type Deliveries map[policy.Key]Delivery

// gravity orders reasons: the worst one of all replicas is told.
var gravity = []string{"", ReasonPaused, ReasonInterrupted, string(compile.Conflicted)}

// worse returns the delivery that a person should know of.
func worse(a, b Delivery) Delivery {
	if slices.Index(gravity, b.Reason) > slices.Index(gravity, a.Reason) {
		return b
	}
	return a
}

// Deliver tells of a document how it is delivered: own is what this replica says,
// peers what others do. Nil: no replica has the role, or it is no subscription.
func (d Document) Deliver(own Deliveries, peers map[string]Note) *Delivery {
	if d.Role == "" {
		return nil
	}
	var out *Delivery
	add := func(one Delivery) {
		if out != nil {
			one = worse(*out, one)
		}
		out = &one
	}
	if one, ok := own[d.Key]; ok {
		add(one)
	} else if own != nil {
		add(Delivery{Reason: ReasonInterrupted, Message: "it begins"})
	}
	for _, name := range slices.Sorted(maps.Keys(peers)) {
		n := peers[name]
		if !n.Delivers {
			continue
		}
		one := n.Troubled[d.Key.String()] // else it delivers
		if one.Reason == ReasonInterrupted {
			one.Message = "on another server: " + one.Message
		}
		add(one)
	}
	return out
}

// deliver adds to the note what this replica says of subscriptions.
func (n *Note) deliver(own Deliveries) {
	n.Delivers = own != nil
	for key, one := range own {
		if one.Reason == "" {
			continue
		}
		if n.Troubled == nil {
			n.Troubled = map[string]Delivery{}
		}
		n.Troubled[key.String()] = Delivery{one.Reason, shorten(one.Message, longestWords)}
	}
}
