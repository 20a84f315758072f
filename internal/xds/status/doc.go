// Package status shows what the stream server knows of its proxies through the
// client status discovery service (CSDS), which the xDS world's own tools
// speak. It reads the server's ledger and changes nothing.
package status
