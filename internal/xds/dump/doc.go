// Package dump shows Envoy's messages to people: as JSON, with what is secret
// left out. It needs no server, so that meshctl can use it offline.
package dump
