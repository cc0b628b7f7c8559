#!/bin/bash
# snap ps and rm for containers that have ended.
. "$(dirname "$0")/lib.sh"
make_layout
"$SNAP" import -q "oci:$layout:base" base >/dev/null

case_lists_those_that_ended() {
  expect_status 3 run --name three base exit 3
  expect_ok run --name zero base true
  expect_ok ps
  expect_eq "none runs" "$out" "CONTAINER ID   IMAGE   COMMAND   CREATED   STATUS   NAMES"
  expect_ok ps -a
  expect_match "status" "$out" '[0-9a-f]{12} +base +"exit 3" +.* ago +Exited \(3\) .* ago +three'
  expect_match "newest first" "$out" 'zero.*three'
  expect_ok ps -aq
  expect_eq "ids" "$(grep -cE '^[0-9a-f]{12}$' <<<"$out")" 2
  expect_ok ps -a --no-trunc -q
  expect_match "whole ids" "$out" '^[0-9a-f]{64}'
}

case_json() {
  expect_ok ps -a --format json
  expect_eq "count" "$(json '#')" 2
  expect_eq "state" "$(json 1.state)" exited
  expect_eq "exit code" "$(json 1.exit_code)" 3
  expect_eq "arguments" "$(json 1.args)" '["exit","3"]'
  expect_match "finished" "$(json 1.finished)" "^20[0-9-]+T[0-9:]+Z$"
  expect_ok inspect three
  expect_eq "inspect" "$(json 0.type) $(json 0.name)" "container three"
}

case_escapes_commands() {
  expect_ok run --name evil base echo $'\033[31mred\nline'
  expect_ok ps -a
  expect_no_match "no control characters" "$out" $'\033'
  expect_match "escaped" "$out" '\\x1b'
}

case_images_of_containers_stay() {
  expect_status 4 rmi base
  expect_match "hint" "$err" "hint: 'snap ps -a'"
}

case_rm() {
  local id
  expect_ok ps -aq
  id=$(tail -1 <<<"$out")
  expect_ok rm "${id:0:8}" zero
  expect_eq "prints what was removed" "$out" "${id:0:8}"$'\n'zero
  expect_status 3 rm nonexistent evil
  expect_match "hint" "$err" "hint: 'snap ps -a' lists"
  expect_eq "the other went" "$out" evil
  expect_status 2 rm
  expect_clean
}

case_rm_json() {
  expect_ok run --name again base true
  expect_ok rm --format json again
  expect_eq "name" "$(json 0.name)" again
}

run_cases
