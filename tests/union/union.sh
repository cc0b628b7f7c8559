# shellcheck shell=bash
# What the scripts here share. UNION: the mount program under test: "kernel", or the path of a FUSE program with options after commas
# (default: the built snap-fuse). Sourcing this moves the script into a mount namespace of its own, on a tmpfs in $work; at the end
# nothing is left. Lowers are fingerprinted: `unchanged` says whether anybody wrote to one.
set -euo pipefail
if [ -z "${UNION_NAMESPACE:-}" ]; then
  UNION_NAMESPACE=1 exec unshare --mount --propagation private "$BASH" "$0" "$@"
fi
UNION=${UNION:-$SNAP_BINARY_DIR/tools/snap-fuse}
oracle=$SNAP_BINARY_DIR/tests/lower_oracle
work=$(mktemp -d "${TMPDIR:-/tmp}/snap-union-XXXXXX")
server=
failures=0
mount -t tmpfs -o size=4g,mode=755 union "$work"

cleanup() {
  cd /
  if [ -n "$server" ]; then kill -KILL "$server" 2>/dev/null || true; fi
  umount -l "$work" 2>/dev/null || true  # with everything that is mounted in it
  rmdir "$work"
}
trap cleanup EXIT

fail() { echo "FAIL $*"; failures=$((failures + 1)); }
expect() { # WHAT WANT GOT
  [ "$2" = "$3" ] || fail "$1: '$3' instead of '$2'"
}

# union_mount LOWERS UPPER WORK MOUNTPOINT [OPTIONS]: UPPER "" mounts read-only.
union_mount() {
  local options="lowerdir=$1" waited
  if [ -n "$2" ]; then options+=",upperdir=$2,workdir=$3"; fi
  if [ -n "${5:-}" ]; then options+=",$5"; fi
  if [ "$UNION" = kernel ]; then
    mount -t overlay overlay -o "$options" "$4"
    return
  fi
  local program=${UNION%%,*}
  if [ "$program" != "$UNION" ]; then options+=",${UNION#*,}"; fi
  "$program" -f -o "$options" "$4" &
  server=$!
  for ((waited = 0; waited < 1000; waited++)); do
    mountpoint -q "$4" && return
    kill -0 "$server" 2>/dev/null || break
    sleep 0.01  # until the mount is there
  done
  echo "$program does not mount"
  exit 2
}

# union_unmount MOUNTPOINT: the server must end by itself, with 0.
union_unmount() {
  local status=0
  umount "$1" || { fail "unmount $1"; return; }
  if [ -z "$server" ]; then return; fi
  wait "$server" || status=$?
  server=
  [ "$status" = 0 ] || fail "the server ended with $status"
}

remember() { "$oracle" "$@" >"$work/.before"; }
unchanged() { # WHAT DIR...
  local what=$1
  shift
  "$oracle" "$@" | diff "$work/.before" - >"$work/.diff" || fail "$what: A LOWER WAS CHANGED: $(head -n 4 "$work/.diff")"
}

finish() {
  [ "$failures" = 0 ] || { echo "$failures failures"; exit 1; }
}
