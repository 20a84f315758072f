package consul

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
)

// Subjects of notes: one hint of each kind at a time.
const (
	noteToken    = "token"
	noteRights   = "rights"
	noteCrowded  = "connections"
	noteDefaults = "service-defaults"
	noteLimit    = "watches"
)

// note records a hint for doctor, or takes it back when message is "".
func (b *book) note(subject string, severity mesh.Severity, message, hint string) {
	if message == "" {
		delete(b.notes, subject)
		return
	}
	b.notes[subject] = finding(subject, severity, message, hint)
}

func finding(subject string, severity mesh.Severity, message, hint string) mesh.Finding {
	return mesh.Finding{Code: mesh.CodeInvalidCatalogEntry, Severity: severity, Document: "consul", Path: subject, Message: message, Hint: hint}
}

func unwatched(name string, limit int) catalog.Skipped {
	return catalog.Skipped{
		Name:   name,
		Reason: fmt.Sprintf("not watched: the limit of %d watches is reached", limit),
		Hint:   hintLimit,
	}
}

// noteUnwatched counts the services beyond the limit for doctor, and takes
// the note back when there are none.
func (b *book) noteUnwatched(names []string) {
	message := ""
	if n := len(names); n > 0 {
		const named = 5
		message = fmt.Sprintf("%d services are not watched, because --consul-max-watches is %d: %s", n, b.cfg.MaxWatches, strings.Join(names[:min(n, named)], ", "))
		if n > named {
			message += ", …"
		}
	}
	b.note(noteLimit, mesh.Error, message, hintLimit)
}

func hidden(service string) mesh.Finding {
	return mesh.Finding{
		Code: mesh.CodeInvalidCatalogEntry, Severity: mesh.Warning, Service: service,
		Message: fmt.Sprintf("the token hides instances of %q", service),
		Hint:    "give it service:read and node:read for every instance; until then no loss of one is believed",
	}
}

// How it shows that Consul is not what it was.
const (
	wentBack    = "its index went backwards: it was restored from an older snapshot, or rebuilt"
	otherDomain = "its trust domain is another one: it was rebuilt"
)

// rewindShown is how long a rewind is told of, when nothing is held any more.
const rewindShown = 10 * time.Minute

// hints for faults of rights and connections.
const (
	hintToken   = "set CONSUL_HTTP_TOKEN to a token with service_prefix \"\" and node_prefix \"\" read"
	hintRights  = "give the token service_prefix \"\" and node_prefix \"\" read, or accept that what it hides is not served"
	hintLimit   = "reach Consul by HTTPS, whose connections are shared, or raise the agent's limits.http_max_conns_per_client and then --consul-max-watches, or name the services in use with --services"
	hintAbroad  = "give the agent a token that other datacenters know too: one of the primary datacenter that is not local"
	hintWAN     = "look at `consul members -wan` on a server; what is known of its services stays, and failover goes on without news"
	hintRewound = "what it lost is kept; once it is right, accept it with `meshctl service accept NAME…` or --all"
	hintCrowded = "reach Consul by HTTPS, or raise the agent's limits.http_max_conns_per_client"
)

// status tells how fresh each part is.
func (b *book) status(now time.Time, address string) catalog.Status {
	s := catalog.Status{
		Kind: "consul", Address: address,
		Connected: b.home.list.err == "" && !b.home.list.at.IsZero(), LastError: b.home.list.err,
		Stale:   b.published && !b.everRead,
		Holds:   b.guard.Holds(now),
		Skipped: slices.Clone(b.skipped),
	}
	places := []*place{b.home}
	for _, name := range slices.Sorted(maps.Keys(b.abroad)) {
		places = append(places, b.abroad[name])
	}
	for _, p := range places {
		s.Watches = append(s.Watches, watchOf(p.subject(""), p.list))
	}
	for _, name := range slices.Sorted(maps.Keys(b.watches)) {
		s.Watches = append(s.Watches, watchOf(name, b.watches[name].fresh))
	}
	for _, subject := range slices.Sorted(maps.Keys(b.notes)) {
		s.Notes = append(s.Notes, b.notes[subject])
	}
	for _, p := range places {
		if !p.rewoundAt.IsZero() && (len(s.Holds) > 0 || now.Sub(p.rewoundAt) < rewindShown) {
			s.Notes = append(s.Notes, finding(p.subject("index"), mesh.Warning,
				fmt.Sprintf("%s at %s is not what it was at %s: %s", p, address, p.rewoundAt.UTC().Format(time.RFC3339), p.rewind), hintRewound))
		}
		if p != b.home && p.list.err != "" && b.home.list.err == "" {
			s.Notes = append(s.Notes, silent(p))
		}
	}
	return s
}

// silent tells of a datacenter that does not answer, through an agent that
// does.
func silent(p *place) mesh.Finding {
	hint, message := hintWAN, p.String()+" does not answer: "+p.list.err
	switch {
	case strings.Contains(p.list.err, "No path to datacenter") && p.list.at.IsZero():
		hint = "check the name in the routes that use it; `consul catalog datacenters` lists those that there are, " + hintWAN
	case strings.Contains(p.list.err, "response code: 403"):
		hint = hintAbroad
	}
	return finding(p.subject("datacenter"), mesh.Warning, message, hint)
}

func watchOf(name string, f freshness) catalog.Watch {
	return catalog.Watch{Service: name, LastRead: f.at, Index: f.index, LastError: f.err}
}
