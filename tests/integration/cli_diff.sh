#!/bin/bash
# snap diff: containers and images.
. "$(dirname "$0")/lib.sh"
make_layout
"$SNAP" import -q "oci:$layout:base" base >/dev/null
"$SNAP" import -q "oci:$layout:app" app >/dev/null

# One container that does many things, one at a time, in the same tree.
do_in() {
  local target
  target=$("$SNAP" mount --rw changed)
  (cd "$target" && eval "$1")
  "$SNAP" umount "$target" >/dev/null
}

case_containers() {
  expect_ok run --name changed base write /etc/motd changed
  expect_ok diff changed
  expect_eq "a change with its directory" "$out" $'C /etc\nC /etc/motd'
  do_in 'rm dir/a; echo n >dir/new; mkdir -p opt/x; echo y >opt/x/y; chmod 700 srv'
  expect_ok diff changed
  expect_eq "all kinds" "$out" "C /dir
D /dir/a
A /dir/new
C /etc
C /etc/motd
A /opt
A /opt/x
A /opt/x/y
C /srv"
  do_in 'rm -r dir; mkdir dir; echo b2 >dir/b'
  expect_ok diff changed
  expect_match "a directory made anew" "$out" $'C /dir\nD /dir/a\nC /dir/b'
  expect_ok diff --format json changed
  expect_eq "JSON" "$(json 0.kind) $(json 0.path)" "C /dir"
  expect_ok rm changed
}

case_running_containers() {
  "$SNAP" run --rm --name running base sleep >"$work/sleep.out" &
  local launcher=$!
  wait_for "the start" grep -q sleeping "$work/sleep.out"
  expect_ok diff running
  expect_eq "nothing yet" "$out" ""
  kill -KILL "$launcher"
  wait "$launcher" || true
  expect_ok system gc
}

case_images() {
  expect_ok diff base app
  expect_eq "from one to the other" "$out" "A /app
A /app/two
C /dir
D /dir/a
C /etc
C /etc/motd
A /etc/new"
  expect_ok diff app base
  expect_match "and back" "$out" 'D /app'
  expect_ok diff app app
  expect_eq "with itself" "$out" ""
}

case_layers_of_an_image() {
  expect_ok diff app@1 app@2
  expect_eq "layer 2" "$out" "A /app
A /app/one
C /dir
D /dir/a
C /etc
C /etc/motd"
  local two=$out
  expect_ok diff app@2
  expect_eq "the same in short" "$out" "$two"
  expect_ok diff app
  expect_eq "the last layer" "$out" "C /app
D /app/one
A /app/two
C /etc
A /etc/new"
  expect_status 3 diff app@4
  expect_match "why" "$err" "has no layer 4: it has 3"
  expect_status 2 diff base
  expect_match "what next" "$err" "hint: compare it with another image"
  expect_status 3 diff nonexistent
}

case_nothing_is_left() { expect_clean; }

run_cases
