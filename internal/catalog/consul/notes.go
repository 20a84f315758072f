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
	b.notes[subject] = mesh.Finding{Code: mesh.CodeInvalidCatalogEntry, Severity: severity, Document: "consul", Path: subject, Message: message, Hint: hint}
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
	hintCrowded = "reach Consul by HTTPS, or raise the agent's limits.http_max_conns_per_client"
)

// status tells how fresh each part is.
func (b *book) status(now time.Time, address string) catalog.Status {
	s := catalog.Status{
		Kind: "consul", Address: address,
		Connected: b.list.err == "" && !b.list.at.IsZero(), LastError: b.list.err,
		Stale:   b.published && !b.everRead,
		Holds:   b.guard.Holds(now),
		Skipped: slices.Clone(b.skipped),
		Watches: []catalog.Watch{watchOf("", b.list)},
	}
	for _, name := range slices.Sorted(maps.Keys(b.watches)) {
		s.Watches = append(s.Watches, watchOf(name, b.watches[name].fresh))
	}
	for _, subject := range slices.Sorted(maps.Keys(b.notes)) {
		s.Notes = append(s.Notes, b.notes[subject])
	}
	if !b.rewoundAt.IsZero() && (len(s.Holds) > 0 || now.Sub(b.rewoundAt) < rewindShown) {
		s.Notes = append(s.Notes, mesh.Finding{
			Code: mesh.CodeInvalidCatalogEntry, Severity: mesh.Warning, Document: "consul", Path: "index",
			Message: fmt.Sprintf("Consul at %s is not what it was at %s: %s", address, b.rewoundAt.UTC().Format(time.RFC3339), b.rewind),
			Hint:    "what it lost is kept; once it is right, accept it with `meshctl service accept NAME…` or --all",
		})
	}
	return s
}

func watchOf(name string, f freshness) catalog.Watch {
	return catalog.Watch{Service: name, LastRead: f.at, Index: f.index, LastError: f.err}
}
