#!/bin/bash
# snap images, tag, rmi, layers, history, inspect.
. "$(dirname "$0")/lib.sh"
make_layout
"$SNAP" import -q "oci:$layout:base" base >"$work/base.id"
"$SNAP" import -q "oci:$layout:app" app:1.4 >"$work/app.id"
base_id=$(<"$work/base.id")
app_id=$(<"$work/app.id")
short() { local id=${1#sha256:}; printf '%s' "${id:0:12}"; }

case_images_table() {
  expect_ok images
  expect_match "titles" "$out" '^REPOSITORY +TAG +IMAGE ID +CREATED +SIZE'
  expect_match "row" "$out" "base +latest +$(short "$base_id") +[0-9]+ (months|years) ago +[0-9.]+[kM]B"
  expect_match "row" "$out" "app +1.4 +$(short "$app_id")"
  expect_ok images -q
  expect_eq "ids" "$(sort <<<"$out")" "$(printf '%s\n' "$(short "$base_id")" "$(short "$app_id")" | sort)"
  expect_ok images -q --no-trunc
  expect_match "whole ids" "$out" "$base_id"
  expect_ok images --digests
  expect_match "digests" "$out" 'DIGEST.*sha256:[0-9a-f]{64}'
}

case_images_json() {
  expect_ok images --format json
  expect_eq "count" "$(json '#')" 2
  expect_match "id" "$(json 0.id)" '^sha256:[0-9a-f]{64}$'
  expect_eq "time" "$(json 0.created)" "2024-02-29T12:00:00Z"
  expect_match "size" "$(json 0.size_bytes)" '^[0-9]+$'
}

case_tag_and_untag() {
  expect_ok tag app:1.4 app:stable
  expect_ok images
  expect_match "second name" "$out" "app +stable +$(short "$app_id")"
  expect_ok rmi app:stable
  expect_eq "only the name goes" "$out" "Untagged: app:stable"
  expect_ok layers -q app:1.4
  expect_status 3 tag nonexistent other
  expect_match "hint" "$err" "hint: 'snap images' lists"
  expect_status 2 tag app:1.4 'Bad Name'
}

case_layers() {
  expect_ok layers app:1.4
  expect_eq "rows" "$(wc -l <<<"$out")" 4
  expect_match "numbered from the bottom" "$out" '1 +[0-9a-f]{12} .*2 +COPY root /'
  expect_match "shared by two" "$out" '2   COPY root /'
  expect_no_match "no control characters" "$out" $'\033'
  expect_match "escaped" "$out" 'RUN evil\\x1b\[31m\\nthings'
  expect_ok layers --format json app:1.4
  expect_eq "count" "$(json '#')" 3
  expect_eq "number" "$(json 2.number)" 3
  expect_eq "history" "$(json 1.history.created_by)" "RUN change things"
  expect_match "chain" "$(json 1.chain_id)" '^sha256:[0-9a-f]{64}$'
  expect_eq "bottom: DiffId is ChainId" "$(json 0.chain_id)" "$(json 0.diff_id)"
}

case_history() {
  expect_ok history app:1.4
  expect_eq "rows" "$(wc -l <<<"$out")" 5
  expect_match "newest first" "$(sed -n 2p <<<"$out")" 'RUN evil'
  expect_match "without a layer" "$out" '<none> .*ENV LANG=C +0B'
  expect_ok history --format json app:1.4
  expect_eq "layer of a step without one" "$(json 2.layer)" ""
  expect_eq "time" "$(json 0.created)" "2024-02-29T12:00:00Z"
}

case_inspect() {
  expect_ok inspect app:1.4
  expect_eq "type" "$(json 0.type)" image
  expect_eq "config" "$(json 0.config.entrypoint)" '["/bin/echo","entry"]'
  expect_eq "label" "$(json 0.config.labels.version)" 1.4
  expect_eq "layers" "$(json '0.layers.#')" 3
  local layer
  layer=$(json 0.layers.1.id)
  expect_ok inspect "$(short "$layer")"
  expect_eq "a layer by prefix" "$(json 0.type)" layer
  expect_eq "its image" "$(json 0.images.0)" "$app_id"
  expect_status 3 inspect --type image "$(short "$layer")"
  expect_status 3 inspect app:1.4 nonexistent
  expect_eq "what was found is printed" "$(json 0.type)" image
}

case_ids_may_be_shortened_while_unique() {
  expect_ok layers "$(short "$app_id")"
  expect_ok layers "$app_id"
  expect_ok layers "${app_id#sha256:}"
  expect_status 3 layers ffffffffffff
}

case_rmi_removes_layers_nobody_uses() {
  expect_ok import -q "oci:$layout:app" app:1.4
  expect_ok rmi app:1.4
  expect_match "untagged" "$out" 'Untagged: app:1.4'
  expect_match "deleted" "$out" "Deleted: $app_id"
  expect_eq "two of three layers" "$(grep -c '^Deleted layer: ' <<<"$out")" 2
  expect_ok run --rm base
  expect_eq "the shared one works" "$out" "hello from base"
  expect_status 3 rmi nonexistent base
  expect_match "error for the first" "$err" "nonexistent"
  expect_match "the second went" "$out" "Deleted: $base_id"
  expect_eq "no layer left" "$(ls "$SNAP_ROOT/layers")" ""
  expect_clean
}

case_rmi_json() {
  expect_ok import -q "oci:$layout:base" base
  expect_ok rmi --format json base
  expect_eq "untagged" "$(json 0.untagged.0)" base:latest
  expect_eq "deleted" "$(json 0.deleted)" "$base_id"
}

run_cases
