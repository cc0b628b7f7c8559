#!/bin/bash
# snap system df, check, gc, info; several processes on one store.
. "$(dirname "$0")/lib.sh"
make_layout

case_empty_store() {
  expect_ok images
  expect_eq "titles only" "$(wc -l <<<"$out")" 1
  expect_ok images --format json
  expect_eq "an empty array" "$out" "[]"
  expect_ok ps --format json
  expect_eq "an empty array" "$out" "[]"
  expect_ok mount --format json
  expect_eq "an empty array" "$out" "[]"
  expect_clean
}

case_df() {
  "$SNAP" import -q "oci:$layout:app" app >/dev/null
  expect_ok system df
  expect_match "layers" "$out" 'TYPE +COUNT +SIZE +RECLAIMABLE.*layers +3 +[0-9.]+[kM]B +0B'
  expect_ok system df --format json
  expect_eq "first row" "$(json 0.kind) $(json 0.count)" "layers 3"
}

case_info() {
  expect_ok system info
  expect_match "where things are" "$out" "Store: +$SNAP_ROOT \(environment\)"
  expect_match "features" "$out" 'Mounts by: +overlay'
  expect_ok system info --format json
  expect_eq "images" "$(json images) $(json layers)" "1 3"
  expect_eq "backend" "$(json backend.name)" overlay
}

case_check_finds_and_repairs() {
  mkdir "$SNAP_ROOT/layers/stray"
  expect_status 6 system check
  expect_match "finding" "$out" "layers/stray.* no"
  expect_match "what next" "$err" "hint: 'snap system check --repair'"
  expect_status 6 system check --format json
  expect_eq "clean" "$(json clean)" false
  expect_ok system check --repair
  expect_match "repaired" "$out" "layers/stray.* yes"
  expect_clean
  # Files that a daemon has open are its own.
  local served=$daemon
  [[ -z $served ]] || stop_daemon TERM
  rm -r "$SNAP_ROOT/db"
  expect_status 6 images
  expect_match "what next" "$err" "check --rebuild"
  expect_ok system check --rebuild --repair
  [[ -z $served ]] || start_daemon
  expect_ok import -q "oci:$layout:app" app
  expect_clean
}

case_gc() {
  mkdir -p "$SNAP_ROOT/trash/dead/tree"
  expect_ok system gc --dry-run --format json
  expect_eq "seen" "$(json trash)" 1
  expect_eq "dry" "$(json dry_run)" true
  expect_ok system gc
  expect_match "report" "$out" 'Freed: '
  expect_clean
}

case_waits_for_a_locked_store() {
  # flock(1) holds the lock as another snap would.
  mkfifo "$work/held" "$work/release"
  flock "$SNAP_ROOT/lock" bash -c 'echo held >"$1/held"; read -r _ <"$1/release"' _ "$work" &
  local holder=$!
  read -r _ <"$work/held"
  "$SNAP" tag app waited 2>"$work/waiting" &
  local waiter=$!
  wait_for "the message" grep -q 'snap: waiting for the store' "$work/waiting"
  echo release >"$work/release"
  wait "$holder"
  wait "$waiter" || fail "the waiting command failed"
  expect_ok layers -q waited
  expect_ok rmi waited
}

case_several_importers() {
  local i pids=()
  for i in 1 2 3 4; do "$SNAP" import -q "oci:$layout:app" "parallel:$i" >/dev/null 2>"$work/err.$i" & pids+=($!); done
  for i in "${pids[@]}"; do wait "$i" || fail "parallel import: $(cat "$work"/err.*)"; done
  expect_ok images --format json
  expect_eq "one image with all names" "$(json '#')" 1
  expect_eq "names" "$(json '0.names.#')" 5
  expect_clean
}

case_another_root() {
  expect_ok --root "$work/other" images
  expect_eq "is empty" "$(wc -l <<<"$out")" 1
  expect_ok images --root="$work/other" -q
  expect_eq "the option may follow" "$out" ""
}

case_read_only_places_are_permission_errors() {
  mkdir "$work/ro"
  mount -t tmpfs -o ro none "$work/ro"
  expect_status 5 --root "$work/ro/store" images
  umount "$work/ro"
}

run_cases
