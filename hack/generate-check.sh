#!/usr/bin/env bash
# Regenerates everything and fails when that changed a file. It compares with
# what stood there before, committed or not, and leaves the new content.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

sums() {
	find internal manifests docs -type f \( -name 'zz_generated*' -o -path '*/generated/*' -o -path 'manifests/crds/*' -o -path 'docs/reference/*' \) -print0 |
		sort -z | xargs -0 -r sha256sum
}

before=$(sums)
make generate >/dev/null
if ! diff <(printf '%s\n' "$before") <(sums) >/dev/null; then
	echo "generated files were out of date; they are rewritten now, commit them:"
	diff <(printf '%s\n' "$before") <(sums) | awk '/^[<>]/ {print "  " $3}' | sort -u
	exit 1
fi
