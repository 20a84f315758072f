package file_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"meshlite.dev/internal/catalog"
	"meshlite.dev/internal/catalog/catalogtest"
	"meshlite.dev/internal/catalog/file"
	"meshlite.dev/internal/mesh"
)

// TestContract runs the suite of catalog.Source on a folder that is changed as
// Kubernetes and deployment tools do: a new folder is written beside it, then
// the link is swapped.
func TestContract(t *testing.T) {
	catalogtest.Run(t, func(t *testing.T) catalogtest.World {
		root := t.TempDir()
		link := filepath.Join(root, "services")
		files := map[string][]catalogtest.Instance{} // by service key
		version := 0
		swap := func(t *testing.T) {
			t.Helper()
			version++
			real := filepath.Join(root, fmt.Sprint("v", version))
			must(t, os.Mkdir(real, 0o755))
			for key, instances := range files {
				service, datacenter := mesh.SplitServiceKey(key)
				for _, i := range instances {
					if datacenter != "" {
						i.Meta = map[string]string{catalog.MetaDatacenter: datacenter}
					}
					write(t, real, key+"."+i.ID+".json", map[string]any{"service": map[string]any{
						"name": service, "id": i.ID, "address": i.Address, "port": i.Port, "tags": i.Tags, "meta": i.Meta,
					}})
				}
			}
			must(t, os.Symlink(real, link+".new"))
			must(t, os.Rename(link+".new", link))
		}
		swap(t)
		return catalogtest.World{
			Within: 3 * time.Second, Far: 3 * time.Second,
			Source: func(t *testing.T) catalog.Source { return newSource(t, file.Config{Dir: link}) },
			Set: func(t *testing.T, services map[string][]catalogtest.Instance) {
				t.Helper()
				for service, instances := range services {
					files[service] = instances
				}
				swap(t)
			},
			Abroad: func(t *testing.T, services map[string][]catalogtest.Instance) {
				t.Helper()
				for service, instances := range services {
					files[mesh.ServiceKey(service, "dc2")] = instances
				}
				swap(t)
			},
			Break: func(t *testing.T) { must(t, os.Remove(link)) },
			Mend:  swap,
		}
	})
}

func newSource(t *testing.T, cfg file.Config) *file.Source {
	t.Helper()
	s, err := file.New(cfg)
	must(t, err)
	return s
}

func write(t *testing.T, dir, name string, v any) {
	t.Helper()
	raw, err := json.Marshal(v)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, name), raw, 0o644))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
