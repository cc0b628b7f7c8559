#!/bin/bash
# By hand: the tests of this folder with the engines of a newer distribution (containerd 2, runc, Go) that live in a root file
# system of their own. The daemon runs in there too, with the libraries of the machine it was built on.
#   usage: peers.sh ENTER suite|containerd|cri [ARG...]
#   ENTER: runs a command in that root file system, in a mount namespace of its own; /tmp is /host-tmp there
#   env: SNAPSHOTTERD (or `reference`), SNAP, SNAP_BINARY_DIR, SNAP_SOURCE_DIR as containerd.sh
set -euo pipefail
enter=$1 what=$2
shift 2
work=$(mktemp -d /tmp/snap-peers-XXXXXX)
trap 'rm -rf --one-file-system "$work"' EXIT
mkdir -p "$work/lib" "$work/build/tests/support"
cp -r "$SNAP_SOURCE_DIR/tests" "$SNAP_SOURCE_DIR/tools" "$work/"

# containerd 2 has other import paths.
find "$work/tests/engine" -name '*.go' -exec sed -i -E '
  s,"github.com/containerd/containerd/errdefs","github.com/containerd/errdefs",
  s,"github.com/containerd/containerd/(metadata|mount|snapshots|snapshots/proxy|snapshots/testsuite)","github.com/containerd/containerd/v2/core/\1",
  s,"github.com/containerd/containerd/snapshots/overlay","github.com/containerd/containerd/v2/plugins/snapshots/overlay",
  s,"github.com/containerd/containerd/(namespaces)","github.com/containerd/containerd/v2/pkg/\1",
  s,"github.com/containerd/containerd/(pkg|contrib)/,"github.com/containerd/containerd/v2/\1/,' {} +

# bundle PROGRAM: in the work folder, with its libraries and its loader.
bundle() {
  local name
  name=$(basename "$1")
  cp "$1" "$work/lib/$name.bin"
  ldd "$1" | awk '$3 ~ /^\// { print $3 } $1 ~ /^\/.*ld-linux/ { print $1 }' | xargs -I{} cp -L {} "$work/lib/"
  printf '#!/bin/sh\nexec /host-tmp/%s/lib/ld-linux-x86-64.so.2 --library-path /host-tmp/%s/lib /host-tmp/%s/lib/%s.bin "$@"\n' \
    "${work#/tmp/}" "${work#/tmp/}" "${work#/tmp/}" "$name" >"$work/lib/$name"
  chmod +x "$work/lib/$name"
}
inside=/host-tmp/${work#/tmp/}
daemon=reference
if [ "$SNAPSHOTTERD" != reference ]; then
  bundle "$SNAPSHOTTERD"
  daemon=$inside/lib/$(basename "$SNAPSHOTTERD")
fi
snap=/bin/true
if [ "$SNAP" != /bin/true ]; then
  bundle "$SNAP"
  snap=$inside/lib/$(basename "$SNAP")
fi
cp "$(command -v busybox)" "$work/lib/busybox"
"$enter" env PATH="$PATH:$inside/lib" TMPDIR=/host-tmp SNAP_SOURCE_DIR="$inside" SNAP_BINARY_DIR="$inside/build" \
  SNAPSHOTTERD="$daemon" SNAP="$snap" bash "$inside/tests/engine/$what.sh" "$@"
