// Package metrics counts what xds-server does and shows it to Prometheus, on a
// registry that the caller brings: there is no global one. What happens is
// counted as it happens (Metrics is the stream server's Observer); what is, is
// read at each scrape. Labels come from small fixed sets, the graph of calls
// apart: it has a series per pair of services that called each other within the
// last ten minutes, as many as xds/load keeps.
package metrics
