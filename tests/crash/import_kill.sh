#!/bin/bash
# SIGKILL during import at random moments: the next command recovers, the check is clean, nothing stray is left.
#   usage: import_kill.sh [KILLS] [SEED]
set -euo pipefail
kills=${1:-200}; RANDOM=${2:-1}
. "$SNAP_SOURCE_DIR/tools/lib/oci-layout.sh"
work=$(mktemp -d "${TMPDIR:-/var/tmp}/snap-kill-XXXXXX")
export SNAP_ROOT=$work/store SNAP_CONFIG=/dev/null
cleanup() { "$SNAP" umount -a >/dev/null 2>&1 || true; rm -rf "$work"; }
trap cleanup EXIT
fail() { echo "$*"; exit 1; }
leftovers() { ls -A "$SNAP_ROOT/layers"; find "$SNAP_ROOT/objects" "$SNAP_ROOT/merged" -type f; }

# Three layers, about 1,500 files, a few of them large.
for layer in 1 2 3; do
  dir=$work/l$layer
  for ((i = 0; i < 25; i++)); do
    mkdir -p "$dir/d$layer/s$i"
    for ((j = 0; j < 20; j++)); do echo "$layer $i $j" > "$dir/d$layer/s$i/f$j"; done
  done
  head -c 3000000 /dev/urandom > "$dir/d$layer/big"
  for ((j = 0; j < 20; j++)); do head -c 70000 /dev/urandom > "$dir/d$layer/large$j"; done
  [ $layer = 1 ] || cp "$work/l1/d1/big" "$dir/d$layer/same"
  [ $layer = 1 ] || : > "$dir/.wh.d$((layer - 1))"
  tar -C "$dir" --sort=name -cf "$work/$layer.tar" .
done
oci_layout_begin "$work/oci"
oci_add_image "$work/oci" kill:1 gzip '"Cmd":["/x"]' "$work/1.tar" "$work/2.tar" "$work/3.tar"
oci_layout_end "$work/oci"

start=$(date +%s%N)
"$SNAP" import --quiet "oci:$work/oci" kill:1 >/dev/null
whole_us=$(( ($(date +%s%N) - start) / 1000 ))
"$SNAP" rmi --wait kill:1 >/dev/null

killed=0; finished=0
for ((n = 1; n <= kills; n++)); do
  "$SNAP" import --quiet "oci:$work/oci" kill:1 >/dev/null 2>&1 &
  pid=$!
  delay=$(( (RANDOM * 32768 + RANDOM) % (whole_us * 11 / 10) ))
  sleep "$(printf '%d.%06d' $((delay / 1000000)) $((delay % 1000000)))"
  kill -KILL "$pid" 2>/dev/null || true
  if wait "$pid" 2>/dev/null; then finished=$((finished + 1)); else killed=$((killed + 1)); fi
  # The next command, whatever it is, recovers.
  images=$("$SNAP" images -q) || fail "kill $n after $delay us: snap images fails"
  [ -z "$(find "$SNAP_ROOT/staging" -mindepth 2 -maxdepth 2 2>/dev/null)" ] || fail "kill $n after $delay us: a stage is left"
  [ -z "$(find "$SNAP_ROOT/trash" -mindepth 1 -maxdepth 1 2>/dev/null)" ] || fail "kill $n after $delay us: trash is left"
  report=$("$SNAP" system check) || fail "kill $n after $delay us: check says: $report"
  ! grep -qF "$work" /proc/self/mountinfo || fail "kill $n after $delay us: a mount is left"
  if [ -n "$images" ]; then
    # Acknowledged or not, an image that is listed is whole.
    [ "$("$SNAP" run --rm kill:1 /x 2>/dev/null; echo $?)" = 127 ] || fail "kill $n after $delay us: the listed image is broken"
    "$SNAP" rmi --wait kill:1 >/dev/null
  fi
  [ -z "$(leftovers)" ] || {
    "$SNAP" system gc >/dev/null
    [ -z "$(leftovers)" ] || fail "kill $n after $delay us: unreferenced content survives gc: $(leftovers)"
  }
done
echo "$killed killed, $finished finished before the kill; every one recovered"
[ "$killed" -gt $((kills / 4)) ] || fail "too few kills hit a running import: the test says nothing"
"$SNAP" import --quiet "oci:$work/oci" kill:1 >/dev/null
