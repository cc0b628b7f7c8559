#!/bin/bash
# Every spelling of whiteouts and opaque directories in lower layers, names of the longest kind and of odd bytes, 500 layers, a directory
# of 100,000 entries. What ".wh." files mean the kernel's overlayfs does not know: with UNION=kernel those cases are left out.
#   usage: formats.sh        (UNION: the program, see union.sh; ENTRIES: size of the large directory)
. "$(dirname "$0")/union.sh"
entries=${ENTRIES:-100000}
listing() { (cd "$1" && find . -mindepth 1 -printf '%P\n' | LC_ALL=C sort | tr '\n' ' '); }
layers() { mkdir -p "$work/$1"/{top,low,u,w,m}; cd "$work/$1"; }
look() { # WHAT WANT: read-only, then with an upper; names that are hidden are also not found when asked for by name
  local what=$1 want=$2 name
  shift 2
  remember top low
  union_mount "$PWD/top:$PWD/low" "" "" "$PWD/m"
  expect "$what, read-only" "$want" "$(listing m)"
  for name in "$@"; do [ ! -e "m/$name" ] || fail "$what: '$name' is found"; done
  union_unmount "$PWD/m"
  union_mount "$PWD/top:$PWD/low" "$PWD/u" "$PWD/w" "$PWD/m"
  for name in "$@"; do [ ! -e "m/$name" ] || fail "$what: '$name' is found when asked for first"; done
  expect "$what, writable" "$want" "$(listing m)"
  for name in "$@"; do
    [[ $name != *.wh.* ]] || continue  # reserved
    [ -d "m/${name%/*}" ] || [ "${name%/*}" = "$name" ] || continue
    echo fresh >"m/$name" || fail "$what: '$name' cannot be made again"
    expect "$what: '$name' made again" fresh "$(cat "m/$name")"
    rm "m/$name" || fail "$what: '$name' cannot be removed again"
    [ ! -e "m/$name" ] || fail "$what: '$name' is back after it was removed"
  done
  expect "$what, after changes" "$want" "$(listing m)"
  union_unmount "$PWD/m"
  unchanged "$what" top low
}

case_device_whiteout() {
  layers device; mkdir low/d top/d; touch low/a low/b low/d/x low/d/y; mknod top/a c 0 0; mknod top/d/x c 0 0
  look "devices 0:0" "b d d/y " a d/x
}
case_device_whiteout_hides_directory() {
  layers devicedir; mkdir -p low/d/sub; touch low/d/sub/x; mknod top/d c 0 0
  look "a device 0:0 over a directory" "" d
}
case_file_whiteout() {
  [ "$UNION" != kernel ] || return 0
  layers file; mkdir low/d top/d; touch low/a low/b low/d/x low/d/y top/.wh.a top/d/.wh.x
  look ".wh. files" "b d d/y " a d/x
}
case_xattr_whiteout() {
  layers xattr; mkdir low/d top/d; touch low/d/x low/d/y top/d/x
  setfattr -n trusted.overlay.opaque -v x top/d; setfattr -n trusted.overlay.whiteout -v "" top/d/x
  look "files with overlay.whiteout" "d d/y " d/x
}
# In the upper too it counts for nothing, also for who lists the directory before a name was looked up in it. (The kernel hides such a
# name from lookups in an upper, and lists it.)
case_xattr_whiteout_in_upper() {
  [ "$UNION" != kernel ] || return 0
  layers xattrupper; mkdir low/d u/d; touch low/d/x u/d/x
  setfattr -n trusted.overlay.opaque -v x u/d; setfattr -n trusted.overlay.whiteout -v "" u/d/x
  union_mount "$PWD/top:$PWD/low" "$PWD/u" "$PWD/w" "$PWD/m"
  rmdir m/d || fail "a directory with nothing but whiteouts of the upper cannot be removed"
  expect "after it was removed" "" "$(listing m)"
  union_unmount "$PWD/m"
}
# A server that is ended by a signal unmounts, also where the mount point was given from another directory.
case_ended_by_signal() {
  [ "$UNION" != kernel ] || return 0
  layers signal; touch low/a
  union_mount "$PWD/low" "" "" m
  kill -TERM "$server"
  wait "$server" || fail "the server ended with $?"
  server=
  ! mountpoint -q m || fail "the mount is left after SIGTERM"
}
case_opaque_trusted() {
  layers opaque; mkdir low/d top/d; touch low/d/x top/d/z; setfattr -n trusted.overlay.opaque -v y top/d
  look "trusted.overlay.opaque" "d d/z " d/x
}
case_opaque_user() {
  [ "$UNION" != kernel ] || return 0
  local name
  for name in user.overlay.opaque user.fuseoverlayfs.opaque; do
    layers "opaque-$name"; mkdir low/d top/d; touch low/d/x top/d/z; setfattr -n "$name" -v y top/d
    look "$name" "d d/z " d/x
  done
}
case_opaque_file() {
  [ "$UNION" != kernel ] || return 0
  layers opaquefile; mkdir low/d top/d; touch low/d/x top/d/z top/d/.wh..wh..opq
  look ".wh..wh..opq" "d d/z " d/x
}
case_everything_at_once() {
  [ "$UNION" != kernel ] || return 0
  layers mixed; mkdir -p low/{d,e,f} top/{d,e,f}
  touch low/{d,e,f}/{x,y} top/d/.wh.x top/e/.wh..wh..opq top/e/z top/f/x
  mknod top/d/y c 0 0; setfattr -n trusted.overlay.opaque -v x top/f; setfattr -n trusted.overlay.whiteout -v "" top/f/x
  look "all forms" "d e e/z f f/y " d/x d/y e/x f/x
}
# A whiteout that hides nothing is not shown: also in a directory that only one layer has.
case_stray_whiteout() {
  [ "$UNION" != kernel ] || return 0  # lists them where only one layer has the directory
  layers stray; mkdir -p top/only low/other; mknod top/only/gone c 0 0; mknod top/none c 0 0; mknod low/other/gone c 0 0; touch low/other/.wh.never low/x
  look "whiteouts of nothing" "only other x " only/gone none other/gone other/.wh.never
}
case_file_over_directory() {
  layers over; mkdir -p low/d/sub top/e; touch low/d/sub/x top/d low/e top/e/y
  look "a file over a directory, a directory over a file" "d e e/y "
}
case_names() {
  layers names
  local long name
  long=$(printf 'n%.0s' {1..255})
  local names=("$long" $'\xff\xfe\x01' $'new\nline' 'comma,colon:' 'back\slash' '...' '.w' '.wh' 'ünï' '-rf' '*' ' ')
  for name in "${names[@]}"; do echo low >"low/$name"; done
  mkdir "top/dir" "low/dir"; echo x >"low/dir/$long"
  remember top low
  union_mount "$PWD/top:$PWD/low" "$PWD/u" "$PWD/w" "$PWD/m"
  for name in "${names[@]}"; do
    expect "name $(printf %q "$name")" low "$(cat "m/$name")"
    echo changed >>"m/$name" || fail "append to $(printf %q "$name")"
    mv "m/$name" m/moved && mv m/moved "m/$name" || fail "rename $(printf %q "$name")"
    rm "m/$name" || fail "remove $(printf %q "$name")"
    [ ! -e "m/$name" ] || fail "$(printf %q "$name") is still there"
    echo again >"m/$name" || fail "make $(printf %q "$name") again"
    expect "name $(printf %q "$name") again" again "$(cat "m/$name")"
  done
  expect "a name of 255 bytes in a directory" x "$(cat "m/dir/$long")"
  if touch "m/${long}n" 2>/dev/null; then fail "a name of 256 bytes is accepted"; fi
  expect "names" "$((${#names[@]} + 1))" "$(find m -mindepth 1 -maxdepth 1 -printf x | wc -c)"
  union_unmount "$PWD/m"
  unchanged names top low
}
case_500_layers() {
  mkdir -p "$work/many"/{u,w,m}; cd "$work/many"
  local i lowers
  for ((i = 499; i >= 0; i--)); do
    mkdir -p "$i/each"; echo "$i" >"$i/last"; echo "$i" >"$i/each/$i"
    [ $((i % 10)) != 5 ] || mknod "$i/each/$((i + 1))" c 0 0
  done
  # 0 is on top; a whiteout in layer 5 hides what 6 has below it. Short names: mount(2) takes a page of options.
  lowers=$(seq -s: 0 499)
  union_mount "$lowers" "$PWD/u" "$PWD/w" "$PWD/m"
  expect "500 layers: the top" 0 "$(cat m/last)"
  expect "500 layers: entries" 450 "$(find m/each -mindepth 1 -printf x | wc -c)"
  expect "500 layers: the bottom" 499 "$(cat m/each/499)"
  echo new >m/each/499; rm m/each/250
  expect "500 layers: changed" "new" "$(cat m/each/499)"
  expect "500 layers: removed" 449 "$(find m/each -mindepth 1 -printf x | wc -c)"
  union_unmount "$PWD/m"
}
case_large_directory() {
  mkdir -p "$work/large"/{top/d,low/d,u,w,m}; cd "$work/large"
  (cd low/d && seq -f 'file-%06.0f' 1 "$entries" | xargs touch)
  (cd top/d && seq -f 'file-%06.0f' 1 2 1000 | xargs -n 1 sh -c 'mknod "$0" c 0 0' && seq -f 'extra-%05.0f' 1 5000 | xargs touch)
  union_mount "$PWD/top:$PWD/low" "$PWD/u" "$PWD/w" "$PWD/m"
  expect "large directory" $((entries - 500 + 5000)) "$(find m/d -mindepth 1 -printf x | wc -c)"
  expect "large directory: each once" 0 "$(find m/d -mindepth 1 -printf '%f\n' | sort | uniq -d | wc -l)"
  find m/d -name 'file-00[0-4]*' -delete
  expect "large directory: after removing" "$(find m/d -mindepth 1 -printf x | wc -c)" "$(find m/d -mindepth 1 -not -name 'file-00[0-4]*' -printf x | wc -c)"
  rm -rf m/d || fail "large directory: rm -rf"
  [ ! -e m/d ] || fail "large directory: still there"
  union_unmount "$PWD/m"
}

for name in $(grep -oE '^case_[a-z0-9_]+' "$0"); do
  before=$failures
  "$name"
  if ((failures == before)); then echo "ok   ${name#case_}"; else echo "FAIL ${name#case_}"; fi
done
finish
