package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// Instance is what a registry knows of an instance.
type Instance struct {
	ID      string            `json:"id"`
	Name    string            `json:"name"` // of the service
	Address string            `json:"address"`
	Port    int               `json:"port"`
	Tags    []string          `json:"tags,omitempty"`
	Meta    map[string]string `json:"meta,omitempty"`
	Check   map[string]any    `json:"check,omitempty"`
}

// Registry is a catalog that tests write to.
type Registry interface {
	Register(...Instance)
	Deregister(...Instance)
	// Flags are what xds-server needs to read this catalog.
	Flags() []string
}

// FileCatalog is a folder of Consul service definitions, a file per service.
type FileCatalog struct {
	t        T
	dir      string
	mu       sync.Mutex
	services map[string][]Instance
}

// Flags implements Registry.
func (c *FileCatalog) Flags() []string { return []string{"--catalog", "file", "--catalog-dir", c.dir} }

// Folder returns where the files stand.
func (c *FileCatalog) Folder() string { return c.dir }

// Register adds or replaces instances.
func (c *FileCatalog) Register(ins ...Instance) { c.t.Helper(); c.edit(ins, true) }

// Deregister takes instances away; a service without any keeps an empty file.
func (c *FileCatalog) Deregister(ins ...Instance) { c.t.Helper(); c.edit(ins, false) }

func (c *FileCatalog) edit(ins []Instance, keep bool) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	changed := map[string]bool{}
	for _, in := range ins {
		changed[in.Name] = true
		rest := slices.DeleteFunc(slices.Clone(c.services[in.Name]), func(o Instance) bool { return o.ID == in.ID })
		if keep {
			rest = append(rest, in)
		}
		c.services[in.Name] = rest
	}
	for name := range changed {
		if len(c.services[name]) == 0 {
			_ = os.Remove(filepath.Join(c.dir, name+".json"))
			continue
		}
		raw, err := json.MarshalIndent(map[string]any{"services": c.services[name]}, "", "  ")
		if err == nil {
			err = writeFile(filepath.Join(c.dir, name+".json"), raw)
		}
		if err != nil {
			c.t.Fatalf("write the catalog: %v", err)
		}
	}
}

// Policies is the folder given to --policy-dir.
type Policies struct {
	t   T
	Dir string
}

// Write puts a file there, or replaces it, in one step.
func (p *Policies) Write(file, text string) string {
	p.t.Helper()
	path := filepath.Join(p.Dir, file)
	if err := writeFile(path, []byte(text)); err != nil {
		p.t.Fatalf("write a policy: %v", err)
	}
	return path
}

// Remove takes a file away.
func (p *Policies) Remove(file string) {
	p.t.Helper()
	if err := os.Remove(filepath.Join(p.Dir, file)); err != nil {
		p.t.Fatalf("remove a policy: %v", err)
	}
}

// writeFile replaces path by rename, as careful tools do.
func writeFile(path string, raw []byte) error {
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
	if err := os.WriteFile(tmp, raw, 0o644); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("put %s in place: %w", path, err)
	}
	return nil
}
