package admin

import (
	"context"
	"fmt"
	"os"
	"time"

	"meshlite.dev/internal/admin/adminapi"
)

// CheckFolder is a check that dir can be written: what must survive a restart
// is kept there.
func CheckFolder(dir string) func(context.Context) []adminapi.Check {
	return func(context.Context) []adminapi.Check {
		f, err := os.CreateTemp(dir, ".doctor-*")
		if err != nil {
			return []adminapi.Check{fault("state folder", "after a restart without it the server knows nothing until the catalog answers", "%s cannot be written: %v", dir, err)}
		}
		defer os.Remove(f.Name()) // an empty file that stays harms nobody
		if _, err := f.WriteString("x"); err != nil {
			return []adminapi.Check{fault("state folder", "make room on the disk", "%s cannot be written: %v", dir, err)}
		}
		if err := f.Close(); err != nil {
			return []adminapi.Check{fault("state folder", "make room on the disk", "%s cannot be written: %v", dir, err)}
		}
		return []adminapi.Check{ok("state folder", "%s can be written", dir)}
	}
}

// expiresSoon is how long before its end a certificate is reported.
const expiresSoon = 7 * 24 * time.Hour

// CheckCertificate is a check of a listener's certificate ("xds", "admin"):
// notAfter is when the one in use ends, problem why newer files are not in use
// (nil when they are).
func CheckCertificate(listener string, now func() time.Time, notAfter func() time.Time, problem func() error) func(context.Context) []adminapi.Check {
	name := "certificate of " + listener
	return func(context.Context) []adminapi.Check {
		end, left := notAfter(), notAfter().Sub(now())
		if err := problem(); err != nil {
			return []adminapi.Check{fault(name, fmt.Sprintf("the last good one serves until %s", end.UTC().Format(time.RFC3339)), "the newest files cannot be used: %v", err)}
		}
		if left < expiresSoon {
			return []adminapi.Check{warning(name, "replace the files; they are read again without a restart", "ends at %s", end.UTC().Format(time.RFC3339))}
		}
		return []adminapi.Check{ok(name, "good until %s", end.UTC().Format(time.RFC3339))}
	}
}
