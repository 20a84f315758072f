package admin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"meshlite.dev/internal/admin/adminapi"
	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/mesh"
	"meshlite.dev/internal/policy"
)

// Changes returns the events between two states: of the services that next
// changed, and of the revision. before is the zero State at the start, of which
// no service is told.
func Changes(before, next State) []adminapi.Event {
	var out []adminapi.Event
	if before.At.IsZero() {
		return nil
	}
	for _, name := range next.Result.Changed {
		was, had := before.Result.Model.Services.Get(name)
		is, has := next.Result.Model.Services.Get(name)
		switch {
		case !had && has:
			out = append(out, serviceEvent("service.added", is, "added: "+count(is)))
		case had && !has:
			out = append(out, adminapi.Event{Type: "service.removed", Service: name, Message: "removed"})
		case had && has:
			out = append(out, serviceEvent("service.changed", is, difference(was, is)))
		}
	}
	if before.Revision.Hash != next.Revision.Hash {
		e := adminapi.Event{Type: "policy.revision", Message: "policies in force: revision " + RevisionLabel(next.Revision)}
		for _, key := range next.Revision.Changed {
			e.Policies = append(e.Policies, fmt.Sprintf("%s/%s/%s", mesh.ShortKind(key.Kind), key.Namespace, key.Name))
		}
		out = append(out, e)
	}
	return out
}

func serviceEvent(typ string, s *mesh.Service, message string) adminapi.Event {
	return adminapi.Event{Type: typ, Service: s.Name, Message: message, Healthy: healthy(s), Policies: policiesOf(s)}
}

func healthy(s *mesh.Service) int { return serviceRow(s, nil).Healthy }

func count(s *mesh.Service) string {
	if !s.Synced {
		return "the catalog has not answered for it yet"
	}
	return fmt.Sprintf("%d of %d instances healthy", healthy(s), len(s.Endpoints))
}

// difference says what changed between two versions of a service.
func difference(was, is *mesh.Service) string {
	var parts []string
	if a, b := count(was), count(is); a != b {
		parts = append(parts, b+" (before: "+a+")")
	}
	if a, b := was.Default.Protocol, is.Default.Protocol; a != b {
		parts = append(parts, fmt.Sprintf("protocol %s (before: %s)", b, a))
	}
	if a, b := policiesOf(was), policiesOf(is); !slices.Equal(a, b) {
		parts = append(parts, "policies "+labels(b)+" (before: "+labels(a)+")")
	}
	if len(parts) == 0 {
		return "instances or settings changed, " + count(is)
	}
	return strings.Join(parts, "; ")
}

func labels(policies []string) string {
	if len(policies) == 0 {
		return mesh.DefaultPolicyName
	}
	return strings.Join(policies, ", ")
}

// FollowGuard publishes what the guard holds and lets go until ctx ends. The
// catalog has no event of its own for it, so it is asked every second.
func FollowGuard(ctx context.Context, hub *Hub, source interface{ Status() catalog.Status }) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	held := map[string]catalog.Hold{}
	for {
		now := map[string]catalog.Hold{}
		for _, h := range source.Status().Holds {
			now[h.Service] = h
		}
		hub.Publish(guardEvents(held, now)...)
		held = now
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func guardEvents(before, after map[string]catalog.Hold) []adminapi.Event {
	var out []adminapi.Event
	for service, h := range after {
		if was, ok := before[service]; !ok || !slices.Equal(was.Lost, h.Lost) || was.Reason != h.Reason {
			out = append(out, adminapi.Event{Type: "guard.hold", Service: service,
				Message: fmt.Sprintf("%s held back from removal: %s", plural(len(h.Lost), "instance"), h.Reason)})
		}
	}
	for service := range before {
		if _, ok := after[service]; !ok {
			out = append(out, adminapi.Event{Type: "guard.release", Service: service, Message: "nothing is held any more"})
		}
	}
	slices.SortFunc(out, func(a, b adminapi.Event) int { return strings.Compare(a.Service+a.Type, b.Service+b.Type) })
	return out
}

// StatusChanges returns the events of a document whose status made a
// transition: one for each condition that says something else now.
func StatusChanges(before, now policy.Status) []adminapi.Event {
	var out []adminapi.Event
	for _, c := range now.Conditions {
		i := slices.IndexFunc(before.Conditions, func(o policy.Condition) bool { return o.Type == c.Type })
		if i >= 0 && before.Conditions[i].Status == c.Status && before.Conditions[i].Reason == c.Reason {
			continue
		}
		out = append(out, adminapi.Event{
			Type: "policy.status", Policies: []string{fmt.Sprintf("%s/%s/%s", mesh.ShortKind(now.Kind), now.Namespace, now.Name)},
			Message: fmt.Sprintf("%s %s (%s): %s", c.Type, c.Status, c.Reason, c.Message),
		})
	}
	return out
}
