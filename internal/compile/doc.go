// Package compile turns the catalog and the policy revision in force into
// mesh.Model: for every service, and for every caller that a policy names, the
// one resilience that counts, with the origin of each of its fields.
//
// The documents of a destination form a stack, least specific first:
//
//	mesh-default < catalog's health check < Mesh < Service < Service with `from`
//	             < TrafficRoute < rule of it < the rule's own timeouts and retry
//
// A more specific layer overrides field by field; lists replace whole. At one
// level the lower namespace/name wins and the other document is Conflicted.
// Merged results are kept per stack and shared by all services under it.
//
// A service is compiled in two steps. build works out what concerns it alone:
// its stacks, its TrafficRoute, and the facts that others need. link makes its
// routes, for which it reads the facts of the services that they name. A change
// of facts links again exactly the services whose routes name that service.
//
// Everything here is a plain function of its arguments: no clock, network,
// environment, log or goroutine. Compiler keeps what it needs to redo only
// what a change touches; Full is the reference that it must equal.
package compile
