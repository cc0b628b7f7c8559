#!/bin/bash
# While a container runs, its launcher's executable cannot be written through /proc, not even by root: an entry point
# "#!/proc/self/exe" would otherwise reach it (CVE-2019-5736). The unprotected way is tried first, so that this can fail.
. "$(dirname "$0")/lib.sh"
make_layout
"$SNAP" import -q "oci:$layout:base" base >/dev/null

# attack PID: keeps the program's file open, waits for its end (a running program is only busy), then asks to write.
attack() {
  exec 4<"/proc/$1/exe"
  kill -KILL "$1"
  wait "$1" 2>/dev/null || true
  local i said
  for ((i = 0; i < 100; i++)); do  # the kernel lets go of a dead program's file a little later
    said=$( (exec 3>>/proc/self/fd/4) 2>&1 || true)
    [[ $said == *'Text file busy'* ]] || break
    sleep 0.05
  done
  printf '%s' "$said"
  exec 4<&-
}

case_attack_works_on_an_unprotected_program() {
  cp "$(command -v sleep)" "$work/sleep"
  "$work/sleep" 30 &
  until [ "$(readlink "/proc/$!/exe")" = "$work/sleep" ]; do sleep 0.01; done  # the shell's copy before
  attack $! > "$work/said"
  expect_eq "attack" "$(cat "$work/said")" ""
}

case_launcher_is_on_a_read_only_mount() {
  "$SNAP" run --rm base sleep 30 >"$work/out" &
  local pid=$! i
  for ((i = 0; i < 400; i++)); do
    ! grep -qs sleeping "$work/out" || break
    sleep 0.05
  done
  attack $pid > "$work/said"
  expect_match "attack" "$(cat "$work/said")" 'Read-only file system'
  "$SNAP" system gc >/dev/null
}

run_cases
