#!/bin/bash
# Completion in a real bash, by its own function; zsh and fish where they are installed read their scripts.
. "$(dirname "$0")/lib.sh"
make_layout
"$SNAP" import -q "oci:$layout:base" base >/dev/null
"$SNAP" import -q "oci:$layout:app" team/app:1.4 >/dev/null

# complete_bash LINE: what bash would offer at the end of LINE, one on each line.
complete_bash() {
  mkdir -p "$work/bin"
  ln -sf "$SNAP" "$work/bin/snap"
  PATH=$work/bin:$PATH bash --norc -c '
    source <(snap completion bash)
    COMP_LINE=$1
    COMP_POINT=${#COMP_LINE}
    # As readline divides: at blanks, and with each run of : and = as a word of its own.
    mapfile -t COMP_WORDS < <(grep -oE "[:=]+|[^[:space:]:=]+" <<<"$COMP_LINE")
    [[ $COMP_LINE == *[[:space:]] || $COMP_LINE == *[:=] ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    # COMP_WORDBREAKS has its default, with : and = in it.
    _snap_complete
    printf "%s\n" "${COMPREPLY[@]}"
  ' _ "$1" 2>/dev/null
}

case_protocol() {
  expect_ok __complete -- im
  expect_eq "candidates and a directive" "$(cut -f1 <<<"$out")" $'images\nimport\n:words'
  expect_ok __complete -- layers te
  expect_eq "names from the store" "$(cut -f1 <<<"$out")" $'team/app:1.4\n:words'
  expect_ok __complete -- --root "$work/nonexistent" layers ''
  expect_eq "of a store that is not there" "$out" ":words"
  expect_eq "which is not made" "$(ls "$work" | grep -c nonexistent || true)" 0
  expect_eq "silent" "$err" ""
}

case_bash() {
  expect_eq "verbs" "$(complete_bash 'snap im')" $'images\nimport'
  expect_eq "options" "$(complete_bash 'snap images --no')" "--no-trunc"
  expect_eq "values" "$(complete_bash 'snap images --format ')" $'json\ntable'
  expect_eq "values behind =" "$(complete_bash 'snap images --format=js')" "json"
  expect_eq "images" "$(complete_bash 'snap layers te')" "team/app:1.4"
  expect_eq "behind a colon" "$(complete_bash 'snap layers team/app:')" "1.4"
  expect_eq "behind a colon" "$(complete_bash 'snap layers team/app:1')" "1.4"
  expect_eq "global options before the verb" "$(complete_bash "snap --root $SNAP_ROOT lay")" "layers"
  expect_eq "sources" "$(complete_bash 'snap import docker')" "docker-archive:"
  expect_eq "files in sources" "$(complete_bash "snap import oci:$work/lay")" "$layout/"
  mkdir -p "$work/directory"
  expect_eq "directories" "$(complete_bash "snap mount base $work/dir")" "$work/directory"
}

case_containers() {
  expect_ok run --name finished base true
  expect_eq "names" "$(complete_bash 'snap rm fin')" "finished"
  expect_ok rm finished
}

case_other_shells() {
  "$SNAP" completion zsh >"$work/_snap"
  "$SNAP" completion fish >"$work/snap.fish"
  if command -v zsh >/dev/null; then zsh -n "$work/_snap" || fail "zsh cannot read its script"; fi
  if command -v fish >/dev/null; then fish -n "$work/snap.fish" || fail "fish cannot read its script"; fi
  expect_status 2 completion tcsh
}

run_cases
