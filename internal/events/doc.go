// Package events is the vocabulary of domain events: the event, its forms on
// the wire, the types that the mesh itself tells of, and the patterns that pick
// them. It is pure. Below it, facts says what changed, outbox keeps what was
// told, and teller joins both to the running mesh.
//
// An event is one JSON document that is both the plain envelope
// {"type", "data", "timestamp"} and a structured event of CloudEvents 1.0
// (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md);
// timestamp is an extension that repeats time.
package events
