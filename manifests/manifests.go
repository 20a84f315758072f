// Package manifests embeds what is applied to Kubernetes, so that files and
// other carriers are checked by the very schema that kubectl meets.
package manifests

import "embed"

// CRDs holds crds/meshlite.dev_*.yaml, generated from internal/policy/v1alpha1.
//
//go:embed crds/meshlite.dev_*.yaml
var CRDs embed.FS
