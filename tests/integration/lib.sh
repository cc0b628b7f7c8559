# shellcheck shell=bash
# What the scripts of the command line share: a store of their own, small images, assertions that say what differed.
# Sourced, not run. A script defines functions case_NAME and ends with run_cases; all cases share the store. Everything
# is gone at the end, also after a failure.
set -euo pipefail

: "${SNAP:?set SNAP to the snap program}" "${SNAP_BINARY_DIR:?set SNAP_BINARY_DIR to the build folder}"
support=$SNAP_BINARY_DIR/tests/support
work=$(mktemp -d /tmp/snap-cli-test.XXXXXX)
export SNAP SNAP_ROOT=$work/store SNAP_CONFIG='' NO_COLOR=1 TERM=xterm
unset SNAP_LOG SNAP_FAULT SNAP_PROGRESS SNAP_DURABILITY SNAP_IO_ENGINE SNAP_PARALLEL_LAYERS

# cleanup [STATUS]: ends the script with this status, or that of the last command.
cleanup() {
  local status=${1:-$?}
  trap - EXIT
  if [[ -n ${daemon:-} ]]; then
    kill -TERM "$daemon"
    wait "$daemon" || { echo "the daemon failed: $(<"$work/daemon.log")" >&2; status=1; }
  fi
  jobs -p | while read -r pid; do kill -KILL "$pid" 2>/dev/null || true; done
  # Deepest first; only ours.
  awk -v prefix="$work/" 'index($5, prefix) == 1 { print length($5), $5 }' /proc/self/mountinfo | sort -rn |
    while read -r _ target; do umount -l "$target" || true; done
  rm -rf --one-file-system "$work"
  exit "$status"
}
trap cleanup EXIT

# With SNAP_TEST_DAEMON=1 a daemon serves the store while the script runs: nothing that a command prints may differ.
daemon=''
# start_daemon: one that serves $SNAP_ROOT; returns when it does.
start_daemon() {
  local ready
  mkfifo "$work/ready"
  "$support/control_daemon" "$SNAP_ROOT" >"$work/ready" 2>"$work/daemon.log" &
  daemon=$!
  read -r ready <"$work/ready" || true
  rm "$work/ready"
  [[ $ready == ready ]] || { cat "$work/daemon.log" >&2; return 1; }
}
# stop_daemon SIGNAL: sets $status to its exit status.
stop_daemon() {
  status=0
  kill "-$1" "$daemon"
  { wait "$daemon" || status=$?; } 2>/dev/null
  daemon=''
}
[[ ${SNAP_TEST_DAEMON:-} != 1 ]] || start_daemon

failures=0
fail() {
  printf 'FAILED: %s\n' "$*" >&2
  local i
  for ((i = 1; i < ${#FUNCNAME[@]}; i++)); do
    [[ ${FUNCNAME[i]} == case_* ]] && printf '  in %s, line %s\n' "${FUNCNAME[i]}" "${BASH_LINENO[i-1]}" >&2
  done
  failures=$((failures + 1))
}

# expect_eq WHAT GOT WANT
expect_eq() {
  [[ $2 == "$3" ]] && return 0
  fail "$1"
  diff -u --label want --label got <(printf '%s\n' "$3") <(printf '%s\n' "$2") >&2 || true
}
# expect_match WHAT GOT EXTENDED-REGEX
expect_match() {
  [[ $2 =~ $3 ]] && return 0
  fail "$1: does not match $3"
  printf '%s\n' "$2" | sed 's/^/  got: /' >&2
}
expect_no_match() {
  [[ ! $2 =~ $3 ]] && return 0
  fail "$1: matches $3"
  printf '%s\n' "$2" | sed 's/^/  got: /' >&2
}
# run_snap ARG...: sets $out, $err and $status.
run_snap() {
  status=0
  "$SNAP" "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
  out=$(<"$work/out")
  err=$(<"$work/err")
}
# expect_status STATUS ARG...
expect_status() {
  local want=$1
  shift
  run_snap "$@"
  [[ $status == "$want" ]] && return 0
  fail "snap $*: exit status $status instead of $want"
  sed 's/^/  stderr: /' "$work/err" >&2
}
# expect_ok ARG...: the command must succeed.
expect_ok() { expect_status 0 "$@"; }
# expect_clean: the store is sound, and no container's tree and no mount is left.
expect_clean() {
  expect_ok system check
  [[ $status == 0 ]] || printf '%s\n' "$out" >&2
  expect_eq "containers' trees" "$(ls "$SNAP_ROOT/snapshots")" ""
  expect_eq "mounts" "$(awk -v prefix="$SNAP_ROOT/" 'index($5, prefix) == 1 { print $5 }' /proc/self/mountinfo)" ""
}
# json PATH: a value of $out, see json_value.
json() { "$support/json_value" "$1" <<<"$out" || true; }

# wait_for WHAT COMMAND...: until it succeeds, at most twenty seconds.
wait_for() {
  local what=$1 deadline=$((SECONDS + 20))
  shift
  while ((SECONDS < deadline)); do
    "$@" >/dev/null 2>&1 && return 0
    read -r -t 0.02 <> <(:) || true
  done
  fail "$what did not happen within 20 seconds"
}

# make_tar FILE DIR: everything in DIR, the same bytes whenever it is made.
make_tar() {
  tar -C "$2" --sort=name --mtime='2024-01-01 00:00:00Z' --owner=0 --group=0 --numeric-owner -cf "$1" .
}

# make_layout: an OCI layout in $layout with the images
#   base   one layer: /bin/toolbox and links to it, /etc/passwd, /etc/motd, /dir/{a,b}; cmd
#   app    base and two more: /etc/motd changed, /dir/a removed, /app/one added; then /app opaque with two, /etc/new;
#          entrypoint, cmd, env, user, workdir, labels, and a history that tries to write on the terminal
layout=$work/layout
make_layout() {
  local root=$work/root tool
  umask 022
  mkdir -p "$root"/{bin,etc,dir,tmp,srv}
  cp "$support/toolbox" "$root/bin/toolbox"
  for tool in true false exit cat ls write rm mkdir chmod tty echo env id pwd hostname pid crash sleep catch; do
    ln -s toolbox "$root/bin/$tool"
  done
  printf 'root:x:0:0::/root:/bin/sh\ndaemon:x:7:8::/srv:/bin/sh\n' >"$root/etc/passwd"
  printf 'root:x:0:\ndaemon:x:8:\n' >"$root/etc/group"
  echo "hello from base" >"$root/etc/motd"
  echo a >"$root/dir/a"
  echo b >"$root/dir/b"
  make_tar "$work/base.tar" "$root"

  mkdir -p "$work/second"/{etc,dir,app}
  echo "hello from app" >"$work/second/etc/motd"
  : >"$work/second/dir/.wh.a"
  echo one >"$work/second/app/one"
  make_tar "$work/second.tar" "$work/second"
  gzip -nk "$work/second.tar"
  mkdir -p "$work/third"/{etc,app}
  echo new >"$work/third/etc/new"
  : >"$work/third/app/.wh..wh..opq"
  echo two >"$work/third/app/two"
  make_tar "$work/third.tar" "$work/third"

  "$support/make_image" "$layout" base --layer "$work/base.tar" --history 'COPY root /' --cmd /bin/cat --cmd /etc/motd
  "$support/make_image" "$layout" app --layer "$work/base.tar" --history 'COPY root /' \
    --empty 'ENV LANG=C' --layer "$work/second.tar.gz" --history 'RUN change things' \
    --layer "$work/third.tar" --history $'RUN evil\033[31m\nthings' \
    --entrypoint /bin/echo --entrypoint entry --cmd default --env LANG=C --env APP=1 --user daemon --workdir /srv \
    --label version=1.4
}

# run_cases: every case_* function of the script, in the order in which they stand there.
run_cases() {
  local name before
  for name in $(grep -oE '^case_[a-z0-9_]+' "$0"); do
    before=$failures
    "$name"
    if ((failures == before)); then echo "ok   ${name#case_}"; else echo "FAIL ${name#case_}"; fi
  done
  ((failures == 0))
}
