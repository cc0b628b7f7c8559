#!/bin/bash
# Images that share large files, imported and removed in any order, with kills in between: no object is lost and none is left.
#   usage: remove_kill.sh [STEPS] [SEED]
set -euo pipefail
steps=${1:-150}; RANDOM=${2:-1}
. "$SNAP_SOURCE_DIR/tools/lib/oci-layout.sh"
work=$(mktemp -d "${TMPDIR:-/var/tmp}/snap-remove-XXXXXX")
export SNAP_ROOT=$work/store SNAP_CONFIG=/dev/null SNAP_LAYER_FORMAT=packed
trap 'rm -rf "$work"' EXIT
fail() { echo "$*"; exit 1; }

# Five images of one to three layers; every layer holds some of twelve large files.
for ((f = 0; f < 12; f++)); do head -c $((70000 + f)) /dev/urandom > "$work/file$f"; done
oci_layout_begin "$work/oci"
for ((image = 0; image < 5; image++)); do
  tars=()
  for ((layer = 0; layer <= image % 3; layer++)); do
    dir=$work/i$image-$layer
    mkdir -p "$dir"
    echo "$image $layer" > "$dir/id$layer"
    for ((f = 0; f < 12; f++)); do [ $((RANDOM % 2)) = 0 ] || cp "$work/file$f" "$dir/file$f"; done
    tar -C "$dir" --sort=name -cf "$dir.tar" .
    tars+=("$dir.tar")
  done
  oci_add_image "$work/oci" "image:$image" none '"Cmd":["/x"]' "${tars[@]}"
done
oci_layout_end "$work/oci"

run() { # COMMAND...: most of the time killed somewhere
  if [ $((RANDOM % 4)) = 0 ]; then
    "$SNAP" "$@" >/dev/null 2>&1 || true
    return
  fi
  "$SNAP" "$@" >/dev/null 2>&1 &
  local pid=$!
  sleep "$(printf '0.%03d' $((RANDOM % 40)))"
  if kill -KILL $pid 2>/dev/null; then kills=$((kills + 1)); fi
  wait $pid 2>/dev/null || true
}
kills=0
for ((n = 1; n <= steps; n++)); do
  image=image:$((RANDOM % 5))
  case $((RANDOM % 5)) in
    0 | 1) run rmi "$image" ;;
    2) run system migrate "$([ $((RANDOM % 2)) = 0 ] && echo tree || echo packed)" "$image" ;;
    *) run import --quiet "oci:$work/oci:$image" ;;
  esac
  if [ $((n % 10)) = 0 ]; then
    "$SNAP" images -q >/dev/null  # recovers what a kill left
    report=$("$SNAP" system check --scrub) || fail "step $n: $report"
    "$SNAP" system gc >/dev/null
    report=$("$SNAP" system check --scrub) || fail "step $n, after gc: $report"
  fi
done
[ $kills -gt $((steps / 10)) ] || fail "only $kills kills: the test says nothing"
for ((image = 0; image < 5; image++)); do "$SNAP" rmi --wait "image:$image" >/dev/null 2>&1 || true; done
"$SNAP" system gc >/dev/null
left=$(find "$SNAP_ROOT/layers" "$SNAP_ROOT/objects" "$SNAP_ROOT/merged" "$SNAP_ROOT/staging" "$SNAP_ROOT/trash" -type f)
[ -z "$left" ] || fail "left without an owner: $left"
"$SNAP" system check --scrub || fail "not clean at the end"
echo "$steps steps, $kills kills"
