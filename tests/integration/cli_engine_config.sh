#!/bin/bash
# snap engine-config: what is printed, for which version, and that engines accept it.
. "$(dirname "$0")/lib.sh"
mkdir "$work/bin"
# fake PROGRAM TEXT: a program that says its version; with status 1 for an empty text.
fake() { printf '#!/bin/sh\n[ -n "%s" ] && echo "%s"\n' "$2" "$2" >"$work/bin/$1"; chmod +x "$work/bin/$1"; }

case_the_version_here_is_asked_for() {
  fake containerd 'containerd github.com/containerd/containerd/v2 2.1.9+unknown'
  PATH=$work/bin:$PATH expect_ok engine-config containerd
  expect_match "whose" "$err" 'note: for containerd 2.1.9, which is here'
  expect_match "config version" "$out" 'version = 3'
  fake containerd ''
  PATH=$work/bin:$PATH expect_ok engine-config containerd
  expect_match "says why not" "$err" 'note: containerd --version failed with status 1.*this is for 2'
  rm "$work/bin/containerd"
  PATH=$work/bin expect_ok engine-config containerd
  expect_match "none" "$err" 'note: no containerd here; this is for 2'
}

case_golden_for_1_6() {
  expect_ok engine-config containerd --version 1.6.20
  expect_eq "the whole text" "$out" "# For containerd 1.6: merge into /etc/containerd/config.toml.
version = 2

[proxy_plugins.snap]
  type = \"snapshot\"
  address = \"$SNAP_ROOT/run/snapshotterd.sock\""
}

case_docker_is_json() {
  expect_ok engine-config docker --version 28.5.2 --name mine
  expect_eq "driver" "$(json storage-driver)" mine
  expect_eq "feature" "$(json features.containerd-snapshotter)" true
  expect_match "the other half" "$err" "snap engine-config containerd --name mine"
}

case_mistakes() {
  expect_status 2 engine-config podman
  expect_status 2 engine-config containerd --version new
  expect_status 2 engine-config containerd --name overlayfs
  expect_status 2 engine-config containerd --address run/x.sock
  expect_status 1 engine-config containerd --version 1.5
  expect_match "which" "$err" 'containerd 1.5.0 is older than 1.6.0'
  expect_eq "nothing to paste" "$out" ""
}

case_containerd_accepts_it() {
  if ! command -v containerd >/dev/null; then
    echo "note: no containerd here to try it" >&2
    return 0
  fi
  local engine
  for engine in containerd cri; do
    expect_ok engine-config "$engine" --name mine
    printf '%s\n' "$out" >"$work/config.toml"
    out=$(containerd --config "$work/config.toml" config dump 2>"$work/err") || fail "containerd: $(<"$work/err")"
    expect_eq "$engine: complaints" "$(<"$work/err")" ""
    expect_match "$engine: the plugin" "$out" '\[proxy_plugins\.mine\]'
    expect_match "$engine: its socket" "$out" "address = [\"']$SNAP_ROOT/run/snapshotterd.sock[\"']"
  done
  expect_match "CRI's snapshotter" "$out" "snapshotter = [\"']mine[\"']"
}

run_cases
