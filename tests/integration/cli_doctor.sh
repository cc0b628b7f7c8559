#!/bin/bash
# snap doctor: what it finds in a configuration, and the canary through a daemon that runs.
. "$(dirname "$0")/lib.sh"
program=$(dirname "$SNAP")/snapshotterd
socket=$SNAP_ROOT/run/snapshotterd.sock
mkdir "$work/bin"

# fake_containerd VERSION FILE: a containerd that dumps FILE.
fake_containerd() {
  printf '#!/bin/sh\ncase "$*" in\n*--version) echo "containerd x %s" ;;\n*dump) cat "%s" ;;\nesac\n' "$1" "$2" >"$work/bin/containerd"
  chmod +x "$work/bin/containerd"
}
# verdict NAME: of the check in $out, which is JSON.
verdict() {
  local i
  for ((i = 0; i < $(json 'checks.#'); i++)); do
    [[ $(json "checks.$i.name") == "$1" ]] && json "checks.$i.verdict"
  done
}

case_without_engines_all_is_well() {
  PATH=$work/bin expect_ok doctor
  expect_match "store" "$out" 'ok +store'
  expect_match "no containerd is a note" "$out" 'note +containerd +no containerd here'
  expect_match "no docker is a note" "$out" 'note +docker +no Docker here'
  expect_match "no daemon is a note" "$out" 'note +daemon.socket'
}

case_a_daemon_that_is_configured_is_missed() {
  "$SNAP" engine-config cri --version 2.2 >"$work/good.toml" 2>/dev/null
  fake_containerd 2.2.0 "$work/good.toml"
  PATH=$work/bin:/usr/bin:/bin expect_status 1 doctor --format json
  expect_eq "socket" "$(verdict daemon.socket)" problem
  expect_eq "plugin" "$(verdict containerd.proxy-snapshot)" ok
  expect_eq "unpack" "$(verdict containerd.unpack-config)" ok
  expect_eq "healthy" "$(json healthy)" false
}

case_fallbacks_are_named() {
  sed 's/disable_snapshot_annotations = true/disable_snapshot_annotations = false/; s/    differ = "snap-diff"//' \
    "$work/good.toml" >"$work/bad.toml"
  fake_containerd 2.2.0 "$work/bad.toml"
  PATH=$work/bin:/usr/bin:/bin expect_status 1 doctor
  expect_match "annotations" "$out" 'warning +containerd.cri.disable_snapshot_annotations +.*-> set disable_snapshot_annotations = true'
  expect_match "differ" "$out" 'containerd prefers "walking"'
  expect_match "rebase" "$out" 'problem +containerd.capabilities.rebase'
}

case_a_broken_configuration_is_a_problem() {
  printf 'version = 3\nx = \n' >"$work/broken.toml"
  fake_containerd 2.2.0 "$work/broken.toml"
  PATH=$work/bin:/usr/bin:/bin expect_status 1 doctor
  expect_match "line" "$out" 'problem +containerd.config .*dump:2:'
}

case_a_socket_without_daemon() {
  rm -f "$work/bin/containerd"
  mkdir -p "$SNAP_ROOT/run"
  python3 -c 'import socket,sys; s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1])' "$socket"
  PATH=$work/bin expect_status 1 doctor
  expect_match "says so" "$out" 'problem +daemon.socket +nobody listens'
  rm "$socket"
}

case_the_canary_lives() {
  "$program" --root "$SNAP_ROOT" --address "$socket" 2>"$work/daemon.log" &
  local pid=$!
  wait_for "the daemon" test -S "$socket"
  PATH=$work/bin expect_ok doctor --containerd-address "$work/none.sock" --format json
  expect_eq "socket" "$(verdict daemon.socket)" ok
  expect_eq "snapshots" "$(verdict daemon.snapshots)" ok
  expect_eq "apply is not tried" "$(verdict daemon.apply)" note
  PATH=$work/bin expect_ok doctor --no-canary --format json
  expect_eq "no canary" "$(verdict daemon.snapshots)" ""
  chmod 0666 "$socket"
  PATH=$work/bin expect_status 1 doctor --no-canary
  expect_match "open to all" "$out" 'everybody may connect'
  kill "$pid"
  wait "$pid" || fail "the daemon: $(<"$work/daemon.log")"
  expect_eq "nothing is left" "$(ls "$SNAP_ROOT/snapshots")" ""
}

case_the_canary_applies_a_layer_of_containerds() {
  if ! command -v containerd >/dev/null; then
    echo "note: no containerd here for a layer" >&2
    return 0
  fi
  local home=$work/containerd containerd_pid pid
  mkdir "$home"
  printf 'version = 2\nroot = "%s/root"\nstate = "%s/state"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\n  address = "%s/sock"\n' \
    "$home" "$home" "$home" >"$home/config.toml"
  "$SNAP" engine-config containerd --address "$socket" 2>/dev/null | grep -v '^version' >>"$home/config.toml"
  printf '[daemon]\ncontainerd_address = "%s/sock"\n' "$home" >"$work/daemon.toml"
  "$program" --root "$SNAP_ROOT" --address "$socket" --config "$work/daemon.toml" 2>"$work/daemon.log" &
  pid=$!
  wait_for "the daemon" test -S "$socket"
  containerd --config "$home/config.toml" >"$home/log" 2>&1 &
  containerd_pid=$!
  wait_for "containerd" ctr --address "$home/sock" version
  expect_ok doctor --config "$home/config.toml" --containerd-address "$home/sock" --format json
  [[ $status == 0 ]] || printf '%s\n' "$out" >&2
  expect_eq "apply" "$(verdict daemon.apply)" ok
  expect_eq "plugin" "$(verdict containerd.proxy-snapshot)" ok
  expect_eq "no blob is left" "$(ctr --address "$home/sock" content ls -q)" ""
  kill "$pid"
  wait "$pid" || fail "the daemon: $(<"$work/daemon.log")"
  # One that looks for containerd elsewhere: the snapshots work, the layer does not, and the advice says why.
  "$program" --root "$SNAP_ROOT" --address "$socket" 2>"$work/daemon.log" &
  pid=$!
  wait_for "the daemon" "$program" probe --address "$socket" --containerd-address "$work/none.sock"
  expect_status 1 doctor --config "$home/config.toml" --containerd-address "$home/sock"
  expect_match "apply" "$out" 'problem +daemon.apply .*-> daemon.containerd_address'
  kill "$containerd_pid"
  wait "$containerd_pid" || true
  kill "$pid"
  wait "$pid" || fail "the daemon: $(<"$work/daemon.log")"
  expect_eq "no snapshot is left" "$(ls "$SNAP_ROOT/snapshots")" ""
}

run_cases
