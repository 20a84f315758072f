// Package load receives the load reports of Envoys (LRS) and keeps who calls
// whom: tries that succeeded, failed and were dropped per caller (node.cluster)
// and callee (cluster), in a window of ten minutes and since the first report.
// Envoy counts tries, so a call that is retried twice counts three times; a 404
// is a success, a 5xx and a timeout are errors. There is no latency in reports.
//
// Every report repeats the whole node, about 61 KB of it; it is decoded in the
// first message of a stream only and skipped unread in all others.
package load
