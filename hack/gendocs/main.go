// Command gendocs writes docs/reference: KIND.md from each CRD in
// manifests/crds and, for the values built in, from mesh-default; metrics.md
// from a page of /metrics; events.md from the types of
// internal/events; meshctl.md and xds-server.md from their commands and
// flags.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

const (
	crds     = "manifests/crds"
	defaults = "internal/policy/meshdefault.yaml"
	out      = "docs/reference"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gendocs:", err)
		os.Exit(1)
	}
}

func run() error {
	files, err := filepath.Glob(filepath.Join(crds, "meshlite.dev_*.yaml"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("no CRD in %s", crds)
	}
	var builtIn map[string]any
	if err := read(defaults, &builtIn); err != nil {
		return err
	}
	if spec, ok := builtIn["spec"].(map[string]any); ok {
		builtIn = spec
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, file := range files {
		var c crd
		if err := read(file, &c); err != nil {
			return err
		}
		if c.Spec.Versions[0].Subresources.Status == nil {
			continue // xds-server alone writes it
		}
		page := c.page(builtIn)
		path := filepath.Join(out, strings.ToLower(c.Spec.Names.Kind)+".md")
		if err := os.WriteFile(path, page, 0o644); err != nil {
			return err
		}
	}
	if err := commandPages(); err != nil {
		return err
	}
	if err := eventsPage(); err != nil {
		return err
	}
	return metricsPage()
}

func read(file string, into any) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}
