// Package web is the HTTP face of transactions, on both sides: [Handler] takes them
// from applications, [Caller] calls their participants. Neither needs a library in
// a service: both speak plain HTTP with JSON, through the services' own Envoys.
// docs/transactions.md states the formats and what participants owe.
package web
