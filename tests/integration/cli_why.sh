#!/bin/bash
# snap why, and what snap system gc --dry-run lists.
. "$(dirname "$0")/lib.sh"
make_layout
"$SNAP" import -q "oci:$layout:app" app >/dev/null

case_an_image() {
  expect_ok why app
  expect_match "type" "$out" 'Type: +image'
  expect_match "kept" "$out" "Kept by: +its name 'app:latest'"
  expect_match "removed" "$out" "Removed by: +'snap rmi app:latest'"
}

case_a_layer_and_its_mounts() {
  local layer target
  layer=$("$SNAP" layers -q --no-trunc app | head -n 1)
  target=$work/target
  mkdir "$target"
  "$SNAP" mount app "$target" >/dev/null
  expect_ok why "$layer" --format json
  expect_eq "type" "$(json 0.type)" layer
  expect_eq "image" "$(json 0.kept_by.0)" "image 'app:latest'"
  expect_match "mount" "$out" "mount [0-9a-f]{12} at '$target'"
  expect_eq "orphan" "$(json 0.orphan)" false
  "$SNAP" umount "$target"
  expect_ok why "${layer:0:15}" --format json
  expect_no_match "the mount is gone" "$out" '"mount '
}

case_unknown_ids() {
  expect_status 3 why nothing app
  expect_match "the other is explained" "$out" 'Type: +image'
  expect_match "which" "$err" "nothing in the store is called 'nothing'"
}

case_orphans_are_listed_by_gc() {
  mkdir -p "$SNAP_ROOT/snapshots/stray/fs"
  expect_ok why stray
  expect_match "says so" "$out" 'Kept by: +nothing: it is an orphan'
  expect_ok system gc --dry-run
  expect_match "line" "$out" 'upper +stray +[0-9.]+k?B +no container and no snapshot has it'
  expect_ok system gc --dry-run --format json
  expect_eq "json" "$(json findings.0.type) $(json findings.0.id)" "upper stray"
  expect_ok system gc --format json
  expect_eq "taken" "$(json uppers)" 1
  expect_eq "only totals" "$(json 'findings.#')" 0
  expect_status 3 why stray
  expect_clean
}

run_cases
