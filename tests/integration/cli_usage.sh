#!/bin/bash
# The command line itself: help, errors, exit statuses, configuration, version, manual pages.
. "$(dirname "$0")/lib.sh"

case_help() {
  local verb
  for verb in import images rmi tag layers inspect history mount umount run ps rm diff events version completion \
    'system df' 'system check' 'system gc' 'system info'; do
    # shellcheck disable=SC2086  # two words are two words
    expect_ok $verb --help
    expect_match "$verb: usage" "$out" "^Usage: snap $verb"
    expect_match "$verb: examples" "$out" 'Examples:'
    # shellcheck disable=SC2086
    expect_ok $verb -h
    # shellcheck disable=SC2086
    expect_ok help $verb
  done
  expect_ok
  expect_match "without arguments" "$out" 'Commands:.*import'
  expect_ok system
  expect_match "a group" "$out" 'Commands:.*df'
  expect_no_match "hidden commands" "$(expect_ok --help; echo "$out")" '__'
}

case_mistakes() {
  expect_status 2 improt
  expect_eq "suggestion" "$err" "snap: snap has no command 'improt'
hint: did you mean 'snap import'?"
  expect_status 2 system chekc
  expect_match "suggestion in a group" "$err" "did you mean 'snap system check'"
  expect_status 2 images --nonsense
  expect_match "hint" "$err" "hint: 'snap images --help' shows"
  expect_status 2 tag one
  expect_status 2 images extra
  expect_status 2 images --format yaml
  expect_eq "nothing on standard output" "$out" ""
}

case_error_as_json() {
  expect_status 3 layers --format json nonexistent
  expect_eq "three lines" "$(wc -l <<<"$err")" 3
  out=$(tail -1 <<<"$err")
  expect_eq "code" "$(json error.code)" E_NOT_FOUND
  expect_eq "status" "$(json error.exit_status)" 3
  expect_status 3 layers nonexistent
  expect_no_match "only when asked for" "$err" '\{'
}

case_terminal_escapes_in_arguments() {
  expect_status 2 layers $'nonexistent\033[31m'
  expect_no_match "escaped" "$err" $'\033'
}

case_color() {
  expect_status 2 --color always improt
  expect_no_match "early errors follow the environment" "$err" $'\033'
  NO_COLOR='' expect_status 3 layers --color always nonexistent
  expect_match "a flag turns it on" "$err" $'^\033\[1;31msnap:'
  expect_status 3 layers --color auto nonexistent
  expect_no_match "not off a terminal" "$err" $'\033'
}

case_full_disk_is_noticed() {
  expect_ok images
  local code=0
  "$SNAP" images >/dev/full 2>"$work/err" || code=$?
  expect_eq "exit status" "$code" 7
  expect_match "message" "$(<"$work/err")" "snap: write to standard output: No space left"
}

case_closed_streams() {
  local code=0
  "$SNAP" images <&- >&- 2>&- || code=$?
  expect_eq "exit status" "$code" 0
}

case_version() {
  expect_ok version
  expect_match "version" "$out" '^snap [0-9]+\.[0-9]+\.[0-9]+$'
  local version=$out
  expect_ok --version
  expect_eq "as an option" "$out" "$version"
  expect_ok version --format json
  expect_eq "as JSON" "snap $(json version)" "$version"
}

case_configuration() {
  printf 'root = "%s"\n' "$work/configured" >"$work/config.toml"
  export SNAP_CONFIG=$work/config.toml
  local root=$SNAP_ROOT
  unset SNAP_ROOT
  expect_ok system info
  expect_match "from the file" "$out" "Store: +$work/configured \(file\)"
  expect_match "which file" "$out" "Configuration: +$work/config.toml"
  export SNAP_ROOT=$root
  expect_ok system info
  expect_match "the environment wins" "$out" "Store: +$root \(environment\)"
  expect_ok --root "$work/flag" system info
  expect_match "flags win" "$out" "Store: +$work/flag \(flag\)"
  printf '# a comment\nrooot = "/x"\n' >"$work/config.toml"
  expect_status 2 images
  expect_match "file, line and key" "$err" "snap: $work/config.toml:2: unknown key 'rooot'"
  expect_status 125 run base
  export SNAP_CONFIG=$work/nonexistent.toml
  expect_status 3 images
  export SNAP_CONFIG=
}

case_manual_pages() {
  mkdir "$work/man"
  expect_ok __man "$work/man"
  expect_eq "one for each command" "$(ls "$work/man" | wc -l)" 27
  expect_match "root page" "$(<"$work/man/snap.1")" '\.TH SNAP 1'
  if command -v mandoc >/dev/null; then
    # STYLE and BASE complain about the operating system's habits; the pages must have no warnings.
    expect_eq "mandoc" "$(mandoc -T lint -W warning "$work/man"/*.1 2>&1)" ""
  fi
  expect_status 3 __man "$work/nonexistent"
}

run_cases
