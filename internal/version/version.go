// Package version says which build this is. The values come from the Go
// toolchain's own build information, so no build flag can be forgotten.
package version

import (
	"runtime"
	"runtime/debug"

	"meshlite.dev/internal/admin/adminapi"
)

// Number is the release, without a leading v.
const Number = "0.1.0"

// Commit is the revision the binary was built from, or "" outside a checkout.
func Commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}

// API returns the answer of GET /v1/version; builder is the version of the road
// from documents to messages.
func API(builder string) adminapi.Version {
	return adminapi.Version{Version: Number, Commit: Commit(), Go: runtime.Version(), Builder: builder}
}

// Labels are those of meshlite_build_info.
func Labels() map[string]string {
	return map[string]string{"version": Number, "commit": Commit(), "go": runtime.Version()}
}
