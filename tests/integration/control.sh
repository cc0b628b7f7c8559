#!/bin/bash
# One store, used by commands and by a daemon that comes, goes and is killed.
. "$(dirname "$0")/lib.sh"
make_layout

case_without_a_daemon() {
  "$SNAP" import -q "oci:$layout:base" base >/dev/null
  expect_ok system info
  expect_match "says so" "$out" 'Daemon: +none serves this store'
  expect_ok system info --format json
  expect_eq "says so as JSON" "$(json daemon)" null
  expect_status 1 events
  expect_match "no events" "$err" 'the daemon is not running'
  expect_status 1 --root "$work/nowhere" events
  expect_match "no store, no events" "$err" 'the daemon is not running'
  [[ ! -e $work/nowhere ]] || fail "a store was made"
}

case_commands_use_the_daemon() {
  start_daemon
  expect_ok system info --format json
  expect_eq "pid" "$(json daemon.pid)" "$daemon"
  expect_eq "address" "$(json daemon.address)" "$SNAP_ROOT/test.sock"
  expect_eq "mode" "$(stat -c '%a %F' "$SNAP_ROOT/control")" "600 socket"
  expect_ok images -q
  expect_eq "sees what was there" "$(wc -l <<<"$out")" 1
  # The daemon has the database open to write: only it can have served these.
  expect_ok import -q "oci:$layout:app" app
  expect_ok run --name one base true
  expect_ok tag base other
  expect_status 3 inspect nothing
  expect_ok system check
}

case_rebuild_needs_the_daemon_to_stop() {
  expect_status 4 system check --rebuild
  expect_match "says what to do" "$err" 'stop snapshotterd first'
  expect_ok images -q
  expect_eq "nothing is lost" "$(sort -u <<<"$out" | wc -l)" 2
}

case_a_second_daemon_is_refused() {
  local second=0
  "$support/control_daemon" "$SNAP_ROOT" >"$work/daemon2.log" 2>&1 || second=$?
  expect_eq "status" "$second" 1
  expect_match "says why" "$(<"$work/daemon2.log")" 'another daemon serves this store'
  expect_ok ps -a
}

case_events() {
  local follower
  "$SNAP" events --format json >"$work/events" 2>"$work/events.err" &
  follower=$!
  wait_for "a listener" sh -c '"$SNAP" system info >/dev/null; kill -USR1 "$1"; test -s "$2"' sh "$daemon" "$work/events"
  out=$(head -1 "$work/events")
  expect_eq "type" "$(json type)" test.signal
  expect_match "time" "$(json time)" '^20[0-9-]+T[0-9:.]+Z$'
  expect_match "attributes" "$(json attributes.count)" '^[0-9]+$'
  stop_daemon TERM
  expect_eq "a daemon that is asked to stop does" "$status" 0
  wait "$follower" && fail "events went on without a daemon"
  expect_match "says why it ends" "$(<"$work/events.err")" 'it has gone'
}

case_the_files_are_free_after_the_daemon() {
  [[ ! -e $SNAP_ROOT/control ]] || fail "the socket is still there"
  expect_ok images -q
  expect_eq "what was imported through it" "$(sort -u <<<"$out" | wc -l)" 2
  expect_ok rm one
  expect_clean
}

case_a_killed_daemon_is_not_missed() {
  local i writers
  for i in 1 2 3; do
    start_daemon
    expect_ok run --name "killed$i" base true
    stop_daemon KILL
    [[ -S $SNAP_ROOT/control ]] || fail "no stale socket"
    expect_ok ps -aq
    expect_eq "what it was told" "$(wc -l <<<"$out")" "$i"
    expect_ok tag base "killed:$i"
  done
  # Writers at the moment of the death: each succeeds or says that it did not; the store is whole.
  start_daemon
  for i in $(seq 40); do "$SNAP" tag base "race:$i" 2>>"$work/race.err"; echo "$i $?"; done >"$work/race" &
  writers=$!
  wait_for "writes" sh -c 'test "$(wc -l <"$1")" -ge 10' sh "$work/race"
  stop_daemon KILL
  wait "$writers"
  while read -r i status; do
    ((status == 0)) || { expect_eq "status of $i" "$status" 8; continue; }
    "$SNAP" inspect "race:$i" >/dev/null 2>&1 || fail "race:$i was acknowledged and is lost"
  done <"$work/race"
  expect_eq "all were tried" "$(wc -l <"$work/race")" 40
  expect_ok rm killed1 killed2 killed3
  expect_clean
}

case_a_killed_client_leaves_nothing_half_done() {
  local point
  start_daemon
  for point in metadata.before_write metadata.after_write; do
    SNAP_FAULT=$point:kill "$SNAP" tag base "fault:$point" 2>/dev/null && fail "$point: not killed"
    expect_ok images -q
  done
  expect_status 3 inspect fault:metadata.before_write
  expect_ok inspect fault:metadata.after_write
  expect_clean
  stop_daemon TERM
}

run_cases
