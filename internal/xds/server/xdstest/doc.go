// Package xdstest helps to test what speaks xDS: resources made by hand from
// Envoy's own messages, a pipe that stands for a gRPC stream without a
// network, and a model of an Envoy that checks after every response that no
// reference leads nowhere.
package xdstest
