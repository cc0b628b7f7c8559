#!/bin/bash
# The daemon's life: options, settings, start, reload, stop, and what SIGKILL leaves.
# shellcheck disable=SC2154,SC2329  # out, err, work come from lib.sh; cases are called by name
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=tests/integration/lib.sh
. "$here/lib.sh"

program=$SNAP_BINARY_DIR/tools/snapshotterd
socket=$work/run/s.sock
config=$work/daemon.toml

# start_daemon [ARG...]: runs it and waits until it serves. Its lines are in $work/log; sets $pid.
start_daemon() {
  rm -f "$work/log" "$work/lines"
  mkfifo "$work/lines"
  "$program" --address "$socket" --config "$config" "$@" 2>"$work/lines" &
  pid=$!
  exec 4<"$work/lines"
  wait_line 'serving '
}
# wait_line TEXT: reads the log up to a line with that text.
wait_line() {
  local line
  while read -r -t 30 line <&4; do
    printf '%s\n' "$line" >>"$work/log"
    [[ $line == *"$1"* ]] && return 0
  done
  fail "no line with '$1'"
  cat "$work/log" >&2
  return 1
}
# stop_daemon SIGNAL STATUS
stop_daemon() {
  local got=0
  kill -"$1" "$pid"
  wait "$pid" || got=$?
  cat <&4 >>"$work/log"
  exec 4<&-
  expect_eq "exit status after SIG$1" "$got" "$2"
}
# fetch PATH: from the metrics' address.
fetch() {
  local address
  address=$(sed -n 's/.*metrics at 127.0.0.1:\([0-9]*\).*/\1/p' "$work/log")
  exec 5<>"/dev/tcp/127.0.0.1/$address"
  printf 'GET %s HTTP/1.0\r\n\r\n' "$1" >&5
  cat <&5
  exec 5<&-
}
run_daemon() {
  status=0
  "$program" "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
  out=$(<"$work/out")
  err=$(<"$work/err")
}

case_options() {
  run_daemon --version
  expect_eq "status of --version" "$status" 0
  expect_match "--version" "$out" '^snapshotterd [0-9.]+$'
  run_daemon --help
  expect_eq "status of --help" "$status" 0
  expect_match "--help" "$out" '--log-format'
  run_daemon --nosuch
  expect_eq "status of an unknown option" "$status" 2
  run_daemon --log-format xml
  expect_eq "status of a bad format" "$status" 2
}

case_settings_that_are_wrong() {
  printf '[daemon]\n\nadress = "/x"\n' >"$config"
  run_daemon --config "$config"
  expect_eq "status" "$status" 1
  expect_match "message" "$err" "^snapshotterd: error: $config:3: unknown key 'daemon.adress'"
  run_daemon --config "$work/nosuch"
  expect_eq "status without the file" "$status" 1
  printf '[daemon]\nmetrics_address = "nowhere"\n' >"$config"
  run_daemon --config "$config" --address "$socket"
  expect_eq "status of a bad address" "$status" 1
  expect_match "message" "$err" "serve metrics at 'nowhere'"
  [[ ! -e $socket ]] || fail "a socket is left"
}

case_serves_reloads_and_stops() {
  printf '[daemon]\nmetrics_address = "127.0.0.1:0"\n' >"$config"
  start_daemon
  expect_eq "mode of the socket" "$(stat -c %A "$socket")" srw-------
  expect_eq "mode of its directory" "$(stat -c %a "$work/run")" 711
  expect_match "health" "$(fetch /healthz)" '^HTTP/1.0 200 OK'
  fetch /metrics >"$work/answer"
  sed '1,/^\r$/d' "$work/answer" >"$work/metrics"
  expect_match "metrics" "$(<"$work/metrics")" 'snapshotterd_build_info\{version="[0-9.]+"\} 1'
  if command -v promtool >/dev/null; then
    promtool check metrics <"$work/metrics" >"$work/out" 2>&1 || fail "promtool: $(<"$work/out")"
  fi
  # A second one ends before it touches anything, and the first goes on.
  run_daemon --address "$socket" --config "$config"
  expect_eq "status of a second daemon" "$status" 1
  expect_match "message of a second daemon" "$err" 'another process does'
  expect_match "health after that" "$(fetch /healthz)" '^HTTP/1.0 200 OK'

  printf '[daemon]\nmetrics_address = "127.0.0.1:0"\nlog_format = "json"\nparallel_applies = 3\n' >"$config"
  kill -HUP "$pid"
  wait_line 'settings read again'
  expect_match "what takes a restart" "$(<"$work/log")" '"message":"daemon.parallel_applies has changed, which takes a restart"'
  printf 'nosuch = 1\n' >"$config"
  kill -HUP "$pid"
  wait_line "unknown key"
  stop_daemon TERM 0
  expect_match "last words" "$(tail -n 1 "$work/log")" '"message":"stopped"'
  [[ ! -e $socket ]] || fail "a socket is left"
}

case_starts_again_after_sigkill() {
  : >"$config"
  start_daemon
  stop_daemon KILL 137
  [[ -S $socket ]] || fail "SIGKILL should leave the socket"
  start_daemon
  stop_daemon INT 0
}

run_cases
