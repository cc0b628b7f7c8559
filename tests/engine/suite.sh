#!/bin/bash
# containerd's snapshotter test-suite, and ours in suite/, against the daemon. Prints the Go tests' own results.
#   usage: suite.sh [ARGUMENT OF THE TEST...]     e.g. -test.run Random     env: SNAPSHOTTERD, SNAP_BINARY_DIR; see suite/model_test.go
#   SNAPSHOTTERD=reference: against containerd's own overlayfs snapshotter, which shows that the suite is right
set -euo pipefail
: "${SNAPSHOTTERD:?set SNAPSHOTTERD to the daemon}" "${SNAP_BINARY_DIR:?set SNAP_BINARY_DIR to the build folder}"
here=$(dirname "$(realpath "$0")")
. "$here/isolate.sh"
. "$here/go_build.sh"
build=$SNAP_BINARY_DIR/tests/engine
mkdir -p "$build"
go_build "$build/suite.test" "$here/suite" go test -c
if [ "$SNAPSHOTTERD" = reference ]; then
  go_build "$build/reference" "$here/reference" go build
  export SNAPSHOTTERD=$build/reference SUITE_REFERENCE=1
fi
work=$(mktemp -d "${TMPDIR:-/var/tmp}/snap-suite-XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
export TMPDIR=$work SNAP_CONFIG=''
cd "$work"
"$build/suite.test" -test.v -test.parallel 4 -test.timeout "${SUITE_TIMEOUT:-20m}" "$@"
