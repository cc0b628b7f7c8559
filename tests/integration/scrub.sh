#!/bin/bash
# Damage is found: one bit is flipped at a time, anywhere in what a packed layer consists of, and `system check --scrub` says so;
# without the flip it is clean again.
#   usage: scrub.sh [FLIPS] [SEED]
set -euo pipefail
flips=${1:-1000}; RANDOM=${2:-1}
. "$SNAP_SOURCE_DIR/tools/lib/oci-layout.sh"
work=$(mktemp -d "${TMPDIR:-/var/tmp}/snap-scrub-XXXXXX")
export SNAP_ROOT=$work/store SNAP_CONFIG=/dev/null SNAP_LAYER_FORMAT=packed
trap 'rm -rf "$work"' EXIT
fail() { echo "$*"; exit 1; }

for layer in 1 2; do
  dir=$work/l$layer
  mkdir -p "$dir/d/e$layer"
  for ((i = 0; i < 40; i++)); do echo "$layer $i" > "$dir/d/e$layer/f$i"; ln -s "f$i" "$dir/d/e$layer/l$i"; done
  head -c 20000 /dev/urandom > "$dir/d/small$layer"
  head -c 150000 /dev/urandom > "$dir/d/large$layer"
  tar -C "$dir" --sort=name -cf "$work/$layer.tar" .
done
oci_layout_begin "$work/oci"
oci_add_image "$work/oci" scrub:1 none '"Cmd":["/x"]' "$work/1.tar" "$work/2.tar"
oci_layout_end "$work/oci"
"$SNAP" import --quiet "oci:$work/oci" scrub:1 >/dev/null
"$SNAP" system check --scrub >/dev/null || fail "a new store is not clean"

mapfile -t files < <(find "$SNAP_ROOT/layers" "$SNAP_ROOT/objects" "$SNAP_ROOT/merged" -type f | sort)
[ ${#files[@]} = 9 ] || fail "expected two layers of three files, two objects and a merged image, found ${#files[@]}"
flip() { # FILE OFFSET BIT
  local byte
  byte=$(od -An -tu1 -j "$2" -N 1 "$1")
  printf "\\x$(printf %x $((byte ^ (1 << $3))))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
for ((n = 1; n <= flips; n++)); do
  file=${files[n % ${#files[@]}]}
  offset=$(( (RANDOM * 32768 + RANDOM) % $(stat -c %s "$file") ))
  bit=$((RANDOM % 8))
  flip "$file" "$offset" "$bit"
  status=0
  "$SNAP" system check --scrub > "$work/out" 2>&1 || status=$?
  [ $status = 6 ] || fail "flip $n, bit $bit of byte $offset of ${file#"$SNAP_ROOT"/}: exit status $status: $(cat "$work/out")"
  flip "$file" "$offset" "$bit"
done
"$SNAP" system check --scrub || fail "the flips were taken back, but it is not clean"
echo "$flips flipped bits found"

# What cannot be right again is removed, and another import brings it back.
printf x | dd of="${files[0]}" bs=1 seek=5 conv=notrunc status=none
"$SNAP" system check --scrub --repair >/dev/null || fail "not repaired"
"$SNAP" import --quiet "oci:$work/oci" scrub:1 >/dev/null
"$SNAP" system check --scrub || fail "imported again, but not clean"
