#!/bin/bash
# snap import: sources, names, options, output, errors; nothing is left of what failed.
. "$(dirname "$0")/lib.sh"
make_layout

case_names_and_ids() {
  expect_ok import "oci:$layout:base" base
  expect_match "prints the id" "$out" '^sha256:[0-9a-f]{64}$'
  local id=$out
  expect_match "says what was new" "$err" 'base:latest: 1 new layer, 0 shared'
  expect_ok import --quiet "oci:$layout:base" host:5000/team/base:1.0
  expect_eq "the same image has the same id" "$out" "$id"
  expect_eq "quiet" "$err" ""
  expect_ok inspect "$id" --format json
  expect_eq "both names" "$(json 0.names)" '["base:latest","host:5000/team/base:1.0"]'
}

case_shares_layers() {
  expect_ok import "oci:$layout:app" app
  expect_match "one layer was there" "$err" 'app:latest: 2 new layers, 1 shared'
}

case_uses_the_sources_name() {
  expect_ok import "oci:$layout:base"
  expect_ok images
  expect_match "named as in the layout" "$out" 'base +latest'
}

case_reads_archives_tars_and_directories() {
  tar -C "$layout" -cf "$work/layout.tar" .
  expect_ok import -q "oci-archive:$work/layout.tar:app" from-archive
  expect_ok run --rm from-archive
  expect_eq "from an archive" "$out" "entry default"
  expect_ok import -q "tar:$work/base.tar" from-tar
  expect_ok run --rm from-tar cat /etc/motd
  expect_eq "from a tar" "$out" "hello from base"
  expect_ok import -q "dir:$work/root" from-dir
  expect_ok run --rm from-dir cat /etc/motd
  expect_eq "from a directory" "$out" "hello from base"
  "$SNAP" import -q tar:- from-stdin <"$work/second.tar.gz" >"$work/out"
  expect_ok layers -q from-stdin
  expect_match "from standard input" "$out" '^[0-9a-f]{12}$'
}

case_moves_names() {
  expect_ok import "oci:$layout:base" moving
  expect_ok import "oci:$layout:app" moving
  expect_match "says so" "$err" 'moving:latest now names the new image'
  expect_ok run --rm moving
  expect_eq "the name is the new image's" "$out" "entry default"
}

case_json_is_one_document() {
  expect_ok import --format json --progress none "oci:$layout:app" as-json
  expect_match "id" "$(json id)" '^sha256:'
  expect_eq "shared" "$(json layers_shared)" 3
  expect_eq "quiet" "$err" ""
}

case_progress_is_plain_off_a_terminal() {
  expect_ok import --progress plain "dir:$work/third" plain
  expect_match "phases" "$err" 'layer 1/1 [^:]+: extracting'
  expect_no_match "no control characters" "$err" $'\033'
}

case_progress_draws_bars_on_a_terminal() {
  # script(1) gives a terminal to draw on.
  script -qec "'$SNAP' import --progress auto 'tar:$work/second.tar' bars" /dev/null >"$work/drawn" </dev/null
  expect_match "control sequences" "$(<"$work/drawn")" $'\033\\[J'
}

case_bad_sources_say_what_a_source_is() {
  expect_status 2 import nonsense
  expect_match "hint" "$err" 'hint: a source is oci:DIR'
  expect_status 2 import "oci:$layout:base" 'Not A Name'
  expect_status 3 import "oci:$work/nonexistent:base"
  expect_status 3 import "oci:$layout:nonexistent"
  expect_match "what there is" "$err" 'app'
  expect_status 2 import --durability some "oci:$layout:base"
  expect_status 2 import --platform a/b/c/d "oci:$layout:base"
  expect_status 3 import --platform linux/s390x "oci:$layout:base" other-platform
}

case_damaged_layers_leave_nothing() {
  local broken=$work/broken before blob
  mkdir -p "$work/unique"
  head -c 100000 /dev/urandom | base64 >"$work/unique/file"
  make_tar "$work/unique.tar" "$work/unique"
  gzip -nk "$work/unique.tar"
  "$support/make_image" "$broken" broken --layer "$work/base.tar" --layer "$work/unique.tar.gz"
  blob=$broken/blobs/sha256/$(sha256sum "$work/unique.tar.gz" | cut -d' ' -f1)
  before=$(find "$SNAP_ROOT/layers" | sort)
  printf '\377' | dd of="$blob" bs=1 seek=5000 conv=notrunc status=none
  expect_status 6 import "oci:$broken:broken" broken
  expect_eq "layers" "$(find "$SNAP_ROOT/layers" | sort)" "$before"
  expect_status 3 inspect --type image broken
  expect_clean
}

case_hostile_archive_cannot_escape() {
  mkdir -p "$work/evil"
  echo canary >"$work/canary"
  tar -C "$work" --transform='s|^canary$|../../../../../../../..'"$work"'/canary|' -P -cf "$work/evil.tar" canary
  expect_status 2 import "tar:$work/evil.tar" evil
  expect_eq "canary" "$(<"$work/canary")" canary
  expect_clean
}

run_cases
