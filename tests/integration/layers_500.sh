#!/bin/bash
# An image of 500 layers, the most that overlayfs mounts: imported, mounted, run in, removed. 501 layers: a clear error.
set -euo pipefail
. "$SNAP_SOURCE_DIR/tools/lib/oci-layout.sh"
work=$(mktemp -d "${TMPDIR:-/var/tmp}/snap-500-XXXXXX")
export SNAP_ROOT=$work/store SNAP_CONFIG=/dev/null
cleanup() { "$SNAP" umount -a >/dev/null 2>&1 || true; rm -rf "$work"; }
trap cleanup EXIT
fail() { echo "$*"; exit 1; }

tars=()
for ((i = 1; i <= 501; i++)); do
  dir=$work/l
  rm -rf "$dir"
  mkdir -p "$dir/each"
  echo "$i" > "$dir/last"
  echo "$i" > "$dir/each/$i"
  [ $((i % 10)) != 0 ] || : > "$dir/each/.wh.$((i - 5))"
  tar -C "$dir" --owner=0 --group=0 --sort=name -cf "$work/$i.tar" .
  tars+=("$work/$i.tar")
done
oci_layout_begin "$work/oci"
oci_add_image "$work/oci" many:500 none '"Cmd":["/x"]' "${tars[@]:0:500}"
oci_add_image "$work/oci" many:501 none '"Cmd":["/x"]' "${tars[@]}"
oci_layout_end "$work/oci"

"$SNAP" import --quiet "oci:$work/oci:many:500" many:500 >/dev/null
mkdir "$work/mnt"
"$SNAP" mount many:500 "$work/mnt" >/dev/null
[ "$(cat "$work/mnt/last")" = 500 ] || fail "the top layer does not win"
[ "$(ls "$work/mnt/each" | wc -l)" = 450 ] || fail "$(ls "$work/mnt/each" | wc -l) files instead of 450"
"$SNAP" umount "$work/mnt" >/dev/null
"$SNAP" mount many:500 "$work/mnt" --upto 7 >/dev/null
[ "$(ls "$work/mnt/each" | wc -l)" = 7 ] || fail "--upto 7 does not show 7 files"
"$SNAP" umount "$work/mnt" >/dev/null
[ "$("$SNAP" layers many:500 --format json | grep -o '"diff_id"' | wc -l)" = 500 ] || fail "snap layers does not list 500"

# One more layer shares the 500; it can be stored but not mounted whole, and says so.
"$SNAP" import --quiet "oci:$work/oci:many:501" many:501 >/dev/null 2>"$work/err" || true
if "$SNAP" mount many:501 "$work/mnt" 2>"$work/err"; then fail "501 layers were mounted"; fi
grep -q '500' "$work/err" || fail "the error does not name the limit: $(cat "$work/err")"

"$SNAP" rmi --wait many:500 >/dev/null
"$SNAP" rmi --wait many:501 >/dev/null 2>&1 || true
"$SNAP" system check
[ -z "$(ls -A "$SNAP_ROOT/layers")" ] || fail "layers are left"
