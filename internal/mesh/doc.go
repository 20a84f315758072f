// Package mesh is the vocabulary of the control plane: services, endpoints,
// the resilience in force for each, where every value came from, and the
// names of the Envoy resources made of them. It imports neither Consul nor
// Envoy nor Kubernetes, reads no clock and starts no goroutine; values are
// immutable once published.
package mesh
