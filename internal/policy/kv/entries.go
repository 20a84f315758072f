package kv

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/hashicorp/consul/api"
)

// Entries are Consul's config entries as its HTTP API gives them, for those
// who come from Consul's own mesh.
type Entries struct {
	Raw      []json.RawMessage // each an object with Kind and Name
	Services []string          // plain services of the catalog, sorted; never nil
	Hidden   bool              // the token does not show all of them
}

// ReadEntries reads all config entries of the kinds, and the names in the
// catalog. Its error wraps ErrToken where Consul refuses the token.
func ReadEntries(ctx context.Context, cfg Config, kinds []string) (Entries, error) {
	client, err := newClient(cfg)
	if err != nil {
		return Entries{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, direct)
	defer cancel()
	q := (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx)
	out := Entries{Services: []string{}}
	for _, kind := range kinds {
		var list []json.RawMessage
		meta, err := client.Raw().Query("/v1/config/"+kind, &list, q)
		if err != nil {
			return Entries{}, denied("read "+kind, err)
		}
		out.Raw = append(out.Raw, list...)
		out.Hidden = out.Hidden || meta.ResultsFilteredByACLs
	}
	plain := (&api.QueryOptions{RequireConsistent: true, Filter: `ServiceKind == ""`}).WithContext(ctx)
	services, meta, err := client.Catalog().Services(plain)
	if err != nil {
		return Entries{}, denied("read the list of services", err)
	}
	for name := range services {
		if name != "consul" {
			out.Services = append(out.Services, name)
		}
	}
	slices.Sort(out.Services)
	out.Hidden = out.Hidden || meta.ResultsFilteredByACLs
	return out, nil
}

func denied(what string, err error) error {
	if forbidden(err) {
		return fmt.Errorf("%w: %s: %w", ErrToken, what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}
