#!/bin/bash
# Large files that images share are there once: on disk, and in memory when both are read.
set -euo pipefail
. "$SNAP_SOURCE_DIR/tools/lib/oci-layout.sh"
work=$(mktemp -d "${TMPDIR:-/var/tmp}/snap-sharing-XXXXXX")
export SNAP_ROOT=$work/store SNAP_CONFIG=/dev/null SNAP_LAYER_FORMAT=packed
cleanup() { "$SNAP" umount -a >/dev/null 2>&1 || true; rm -rf "$work"; }
trap cleanup EXIT
fail() { echo "$*"; exit 1; }

oci_layout_begin "$work/oci"
head -c 100M /dev/urandom > "$work/shared"
for image in one two; do
  mkdir -p "$work/$image/$image"
  cp "$work/shared" "$work/$image/$image/large-$image"
  head -c 1M /dev/urandom > "$work/$image/own"
  tar -C "$work/$image" --sort=name -cf "$work/$image.tar" .
  oci_add_image "$work/oci" "$image:1" none '"Cmd":["/x"]' "$work/$image.tar"
done
oci_layout_end "$work/oci"
bytes() { du -s --block-size=1 "$SNAP_ROOT" | cut -f 1; }
"$SNAP" import --quiet "oci:$work/oci:one:1" >/dev/null
before=$(bytes)
"$SNAP" import --quiet "oci:$work/oci:two:1" >/dev/null
added=$(( $(bytes) - before ))
[ $added -lt 3000000 ] || fail "the second image takes $added bytes, though it only has one megabyte of its own"

mapfile -t objects < <(find "$SNAP_ROOT/objects" -type f -size +50M)
[ ${#objects[@]} = 1 ] || fail "${#objects[@]} objects for one file"
mkdir "$work/m1" "$work/m2"
"$SNAP" mount one:1 "$work/m1" >/dev/null
"$SNAP" mount two:1 "$work/m2" >/dev/null
resident() { fincore --bytes --noheadings --output RES "${objects[0]}"; }
dd if="${objects[0]}" iflag=nocache count=0 status=none  # out of the page cache
[ "$(resident)" -lt 1000000 ] || fail "$(resident) bytes are in memory before anybody read them"
device=$(basename "$(readlink -f "/sys/dev/block/$(stat -c %Hd:%Ld "${objects[0]}")")" 2>/dev/null || true)
read_bytes() { [ -z "$device" ] || awk -v d="$device" '$3 == d { print $6 * 512 }' /proc/diskstats; }
cmp "$work/m1/one/large-one" "$work/shared" || fail "the first image shows other bytes"
[ "$(resident)" = 104857600 ] || fail "read once, $(resident) bytes are in memory"
if [ -n "$device" ] && [ -n "$(read_bytes)" ]; then
  start=$(read_bytes)
  cmp "$work/m2/two/large-two" "$work/shared" || fail "the second image shows other bytes"
  [ $(( $(read_bytes) - start )) -lt 50000000 ] || fail "the second image read the shared file from disk again"
fi
cmp "$work/m2/two/large-two" "$work/shared" || fail "the second image shows other bytes"
# The overlays have no pages of their own: their files are the object's.
[ "$(fincore --bytes --noheadings --output RES "$work/m2/two/large-two")" = 104857600 ] || fail "the second image is not read through the object"

"$SNAP" umount -a >/dev/null
"$SNAP" rmi --wait one:1 >/dev/null
"$SNAP" mount two:1 "$work/m2" >/dev/null
cmp "$work/m2/two/large-two" "$work/shared" || fail "removing one image damaged the other"
"$SNAP" umount -a >/dev/null
"$SNAP" rmi --wait two:1 >/dev/null
[ -z "$(find "$SNAP_ROOT/objects" -type f)" ] || fail "an object is left"
"$SNAP" system check
