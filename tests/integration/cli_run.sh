#!/bin/bash
# snap run: what is started, with what, and what becomes of it.
. "$(dirname "$0")/lib.sh"
make_layout
"$SNAP" import -q "oci:$layout:base" base >/dev/null
"$SNAP" import -q "oci:$layout:app" app >/dev/null

case_image_command_and_arguments() {
  expect_ok run --rm base
  expect_eq "the image's command" "$out" "hello from base"
  expect_ok run --rm base echo a 'b c' -x --rm
  expect_eq "what follows the image belongs to the command" "$out" "a b c -x --rm"
  expect_ok run --rm app
  expect_eq "entrypoint and command" "$out" "entry default"
  expect_ok run --rm app one two
  expect_eq "arguments replace the command" "$out" "entry one two"
  expect_ok run --rm --entrypoint pwd app
  expect_eq "--entrypoint drops both" "$out" "/srv"
  expect_ok run --rm --entrypoint= app pwd
  expect_eq "--entrypoint= drops it" "$out" "/srv"
  expect_ok run --rm --entrypoint '' app echo x
  expect_eq "--entrypoint ''" "$out" x
  expect_status 125 run --rm --entrypoint '' app
  expect_match "nothing to run" "$err" "snap: no command"
}

case_exit_status() {
  local code
  for code in 0 1 42 255; do expect_status "$code" run --rm base exit "$code"; done
  expect_status 127 run --rm base nonexistent
  expect_status 127 run --rm base /bin/nonexistent
  expect_status 126 run --rm base /etc/motd
  expect_status 126 run --rm base /etc
  expect_status 132 run --rm base crash
  expect_status 125 run --rm nonexistent
  expect_match "hint" "$err" "hint: 'snap images'"
  expect_status 125 run --rm --unknown base
  expect_status 125 run
  expect_status 125 run --rm --network bridge base
  expect_status 125 run --rm -w relative base
  expect_status 125 run --rm -v relative:/x base
  expect_status 125 run --rm --env-file "$work/nonexistent" base
  expect_clean
}

case_environment() {
  expect_ok run --rm --hostname h --entrypoint env app
  expect_match "from the image" "$out" $'(^|\n)APP=1(\n|$)'
  expect_match "default path" "$out" '(^|'$'\n'')PATH=/usr/local/sbin:'
  expect_match "host name" "$out" 'HOSTNAME=h'
  printf '# comment\nFILE=1\nAPP=file\nFROM_HOST\n' >"$work/env"
  FROM_HOST=host ALSO=too expect_ok run --rm --env-file "$work/env" -e APP=2 -e ALSO -e NOT_SET -eLANG -u 0 --entrypoint env app
  expect_match "file" "$out" 'FILE=1'
  expect_match "-e wins" "$out" 'APP=2'
  expect_match "from the host" "$out" 'FROM_HOST=host'
  expect_match "from the host" "$out" 'ALSO=too'
  expect_no_match "not set" "$out" 'NOT_SET'
  expect_eq "once" "$(grep -c '^APP=' <<<"$out")" 1
}

case_user_and_directory() {
  expect_ok run --rm --entrypoint id app
  expect_eq "the image's user" "$out" "uid=7 gid=8"
  expect_ok run --rm -u 1000:2000 --entrypoint id app
  expect_eq "-u" "$out" "uid=1000 gid=2000"
  expect_ok run --rm -u root --entrypoint id app
  expect_eq "by name" "$out" "uid=0 gid=0"
  expect_ok run --rm --entrypoint pwd app
  expect_eq "the image's directory" "$out" /srv
  expect_ok run --rm -w /new/dir -u 0 --entrypoint pwd app
  expect_eq "-w" "$out" /new/dir
  expect_status 125 run --rm -u nobody-here base
}

case_names_and_hostnames() {
  expect_ok run --rm --hostname some-host base hostname
  expect_eq "--hostname" "$out" some-host
  expect_ok run --rm base hostname
  expect_match "the short id" "$out" '^[0-9a-f]{12}$'
  expect_ok run --name kept base true
  expect_status 125 run --name kept base true
  expect_match "what next" "$err" "hint: choose another --name"
  expect_ok rm kept
  expect_ok run --name kept base true
  expect_ok rm kept
  expect_status 125 run --name 'bad name' base true
  expect_clean
}

case_standard_input() {
  expect_eq "with -i" "$(echo input | "$SNAP" run --rm -i base cat)" input
  expect_eq "without -i it is empty" "$(echo input | "$SNAP" run --rm base cat)" ""
  expect_eq "closed" "$("$SNAP" run --rm base echo x <&-)" x
  head -c 100000 /dev/urandom >"$work/random"
  "$SNAP" run --rm -i base cat <"$work/random" >"$work/copied"
  expect_eq "binary" "$(cmp "$work/random" "$work/copied" && echo same)" same
}

case_terminals() {
  expect_status 125 run --rm -it base tty
  expect_eq "message" "$(head -1 <<<"$err")" "snap: the input device is not a TTY"
  script -qec "stty rows 30 cols 90; '$SNAP' run --rm -it base tty" /dev/null >"$work/tty" </dev/null
  expect_match "has a terminal of the same size" "$(<"$work/tty")" 'terminal 90x30'
  expect_ok run --rm base tty
  expect_eq "without -t" "$out" "no terminal"
}

case_volumes() {
  mkdir "$work/volume"
  echo shared >"$work/volume/file"
  expect_ok run --rm -v "$work/volume:/mnt/volume" base write /mnt/volume/new text
  expect_eq "written on the host" "$(<"$work/volume/new")" text
  expect_ok run --rm -v "$work/volume/file:/etc/motd:ro" base
  expect_eq "a file" "$out" shared
  expect_status 1 run --rm -v "$work/volume:/v:ro" base write /v/x y
  expect_match "read-only" "$err" 'Read-only file system'
  expect_ok run --rm -v "$work/made:/v" base write /v/x y
  expect_eq "a missing directory is made" "$(<"$work/made/x")" y
  expect_status 125 run --rm -v "$work/volume:/" base true
}

case_read_only() {
  expect_status 1 run --rm --read-only base write /x y
  expect_match "read-only" "$err" 'Read-only file system'
}

case_host_network() {
  expect_ok run --rm --network host base cat /proc/self/net/dev
  expect_eq "the host's interfaces" "$(cut -d: -f1 <<<"$out")" "$(cut -d: -f1 /proc/self/net/dev)"
  expect_ok run --rm base cat /proc/self/net/dev
  expect_eq "only loopback" "$(tail -n +3 <<<"$out" | grep -vc '^ *lo:')" 0
}

case_changes_stay_without_rm() {
  expect_ok run --name kept base write /etc/motd changed
  expect_ok diff kept
  expect_match "changed" "$out" 'C /etc/motd'
  expect_ok run --rm base
  expect_eq "the image has not" "$out" "hello from base"
  expect_ok rm kept
  expect_clean
}

start_catcher() {  # in the background; waits until its program is ready
  "$SNAP" run "$@" base catch >"$work/catch.out" 2>"$work/catch.err" </dev/null &
  launcher=$!
  wait_for "the start of the program" grep -q ready "$work/catch.out"
}

case_signals_are_passed_on() {
  local code=0
  start_catcher --rm --name signalled
  kill -TERM "$launcher"
  wait "$launcher" || code=$?
  expect_eq "the program's own status" "$code" 40
  expect_match "it saw the signal" "$(<"$work/catch.out")" 'caught 15'
  expect_clean
}

case_commands_work_while_it_runs() {
  start_catcher --rm --name running
  expect_ok images
  expect_ok ps
  expect_match "is listed" "$out" '"catch" .* Up .* running'
  expect_status 4 rm running
  expect_status 4 rmi -f base
  expect_status 4 mount --rw running
  expect_ok mount running
  expect_eq "readable" "$(<"$out/etc/motd")" "hello from base"
  expect_ok umount "$out"
  expect_ok import -q "dir:$work/third" meanwhile
  expect_ok run --rm base true
  kill -INT "$launcher"
  wait "$launcher" || true
  expect_clean
}

case_killed_launchers_take_everything_with_them() {
  start_catcher --rm --name killed
  local init
  wait_for "the record of the program" bash -c '"$SNAP" ps --format json | grep -q "\"pid\": [1-9]"'
  expect_ok ps --format json
  init=$(json 0.pid)
  kill -KILL "$launcher"
  wait "$launcher" || true
  wait_for "the end of the program" bash -c "! kill -0 $init"
  expect_ok ps -a -q
  expect_eq "not listed any more" "$out" ""
  expect_clean
}

case_killed_launchers_keep_what_was_to_be_kept() {
  start_catcher --name keeper
  kill -KILL "$launcher"
  wait "$launcher" || true
  wait_for "the end of the program" bash -c '! "$SNAP" ps | grep -q keeper'
  expect_ok ps -a
  expect_match "as killed" "$out" 'Exited \(137\) .*keeper'
  expect_ok rm keeper
  expect_clean
}

case_rm_force_kills() {
  start_catcher --name stubborn
  expect_ok rm -f stubborn
  local code=0
  wait "$launcher" || code=$?
  expect_eq "killed" "$code" 137
  start_catcher --rm --name vanishing
  expect_ok rm -f vanishing
  wait "$launcher" || true
  expect_clean
}

case_many_at_once() {
  local i pids=()
  for i in 1 2 3 4 5 6; do "$SNAP" run --rm base echo "$i" >"$work/many.$i" & pids+=($!); done
  for i in "${pids[@]}"; do wait "$i" || fail "one of many: exit status $?"; done
  expect_eq "all ran" "$(cat "$work"/many.*)" "$(printf '%s\n' 1 2 3 4 5 6)"
  expect_clean
}

case_orphan_that_changed_its_user_ends_with_the_next_run() {
  local i
  "$SNAP" run --rm --name orphan base /bin/toolbox become >"$work/became" 2>&1 &
  local launcher=$!
  for ((i = 0; i < 400; i++)); do
    ! grep -qs became "$work/became" || ! "$SNAP" ps -q --no-trunc | grep -q . || break
    sleep 0.05
  done
  sleep 0.3  # the launcher records pid 1 a moment after the start
  kill -KILL $launcher
  wait $launcher 2>/dev/null || true
  expect_ok run --rm base true
  expect_ok ps -aq
  expect_eq "nothing is left" "$out" ""
  expect_clean
}

run_cases
