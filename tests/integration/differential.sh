#!/bin/bash
# Generated stacks of layers: the mounted tree equals GNU tar's extraction plus whiteouts, whatever the tar format, the
# compression and the I/O engine.
#   usage: differential.sh [SEED...]     (default: fixed seeds; a failing seed reproduces)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/oracle.sh"
. "$SNAP_SOURCE_DIR/tools/lib/oci-layout.sh"
manifest=$SNAP_BINARY_DIR/tests/tree_manifest
work=$(mktemp -d "${TMPDIR:-/var/tmp}/snap-differential-XXXXXX")
export SNAP_ROOT=$work/store SNAP_CONFIG=/dev/null
cleanup() {
  "$SNAP" umount -a >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT

# pick WORD...: sets $picked to one of them. Not a substitution: a subshell would have random numbers of its own, and a
# failing seed could not be repeated.
pick() {
  local n=$((RANDOM % $# + 1))
  picked=${!n}
}

names=(plain 'with space' $'new\nline' $'\xff\xfe' 'ünïcode' "quote'\"" 'back\slash' 'comma,colon:' '-dash' 'a=b' "$(printf 'n%.0s' {1..255})")

long_target=$(printf 's%.0s' {1..180})

# make_layer DIR PREVIOUS: random changes against the tree PREVIOUS, written into DIR as a layer.
make_layer() {
  local dir=$1 previous=$2 count i path parent target
  mkdir -p "$dir"
  count=$((RANDOM % 30 + 10))
  for ((i = 0; i < count; i++)); do
    parent=$dir
    while [ $((RANDOM % 3)) != 0 ] && [ ${#parent} -lt $((${#dir} + 600)) ]; do
      pick d1 d2 d3 'd 4'
      parent+="/$picked"
    done
    mkdir -p "$parent" 2>/dev/null || continue
    pick "${names[@]}" f$i g$i
    path="$parent/$picked"
    { [ -e "$path" ] || [ -L "$path" ]; } && continue
    case $((RANDOM % 12)) in
      0) pick 700 755 1777 2755 555; mkdir "$path"; chmod "$picked" "$path" ;;
      1) pick /etc/passwd ../../x 'dangling target' "$long_target"; ln -s "$picked" "$path" ;;
      2) mkfifo "$path" ;;
      3) mknod "$path" c 1 $((RANDOM % 9 + 1)) ;;
      4) target=$(find "$dir" -type f -print0 | sort -z | head -z -n 1 | tr -d '\0')
         if [ -n "$target" ]; then ln "$target" "$path"; else echo "$i" > "$path"; fi ;;
      5) truncate -s $((RANDOM * 13)) "$path"; echo data | dd of="$path" bs=1 seek=$((RANDOM * 5)) conv=notrunc status=none ;;
      6) head -c $((RANDOM * 40)) /dev/urandom > "$path" ;;
      7) : > "$path"; chmod 4755 "$path" ;;
      8) echo "$i" > "$path"; setfattr -n user.note -v "value $i" "$path"; chown $((RANDOM + 100000)):$RANDOM "$path" ;;
      *) pick 644 600 755 000 4711 2755; echo "layer content $RANDOM" > "$path"; chmod "$picked" "$path" ;;
    esac
    [ -L "$path" ] || touch -d "@$((RANDOM * 40000)).$((RANDOM * 3000))" "$path"
  done
  # Removals and opaque directories of what the layers below have.
  if [ -n "$previous" ]; then
    while IFS= read -r -d '' path; do
      [ $((RANDOM % 8)) = 0 ] || continue
      # Whoever whites one name of a hard-linked file out sees overlayfs' count of the lower inode: not compared here.
      [ "$(stat -c %h "$previous/$path")" = 1 ] || [ -d "$previous/$path" ] || continue
      target="$dir/$path"
      [ ${#path} -lt 200 ] || continue
      parent=${target%/*}
      [ -d "$parent" ] && [ ! -L "$parent" ] || continue
      { [ -e "$target" ] || [ -L "$target" ]; } && continue
      : > "$parent/.wh.${target##*/}"
    done < <(cd "$previous" && find . -mindepth 1 -printf '%P\0' | sort -z)
    while IFS= read -r -d '' path; do
      [ $((RANDOM % 6)) = 0 ] && [ -d "$previous/$path" ] && [ ! -L "$previous/$path" ] || continue
      : > "$dir/$path/.wh..wh..opq"
    done < <(cd "$dir" && find . -mindepth 1 -type d -printf '%P\0' | sort -z)
  fi
  find "$dir" -depth -type d -exec touch -d "@$((RANDOM * 30000)).5" {} +
}

one_seed() {
  local seed=$1 n i tars=() format sparse compression
  RANDOM=$seed
  n=$((RANDOM % 6 + 1))
  rm -rf "$work/case"
  mkdir -p "$work/case/expected"
  for ((i = 1; i <= n; i++)); do
    make_layer "$work/case/l$i" "$([ "$i" = 1 ] || echo "$work/case/expected")"
    pick gnu pax posix; format=$picked
    pick "" --sparse; sparse=$picked
    tar --create --file "$work/case/$i.tar" --format "$format" --xattrs --xattrs-include='user.*' --numeric-owner \
      $sparse --sort=name -C "$work/case/l$i" .
    oracle_apply "$work/case/$i.tar" "$work/case/expected"
    tars+=("$work/case/$i.tar")
  done
  oci_layout_begin "$work/case/oci"
  pick gzip zstd none; compression=$picked
  oci_add_image "$work/case/oci" "t:$seed" "$compression" '"Cmd":["/x"]' "${tars[@]}"
  oci_layout_end "$work/case/oci"
  "$manifest" "$work/case/expected" > "$work/case/want"
  for engine in plain uring; do
    "$SNAP" import --quiet --io-engine "$engine" "oci:$work/case/oci" "t:$seed" >/dev/null
    mkdir -p "$work/case/mnt"
    "$SNAP" mount "t:$seed" "$work/case/mnt" >/dev/null
    "$manifest" "$work/case/mnt" > "$work/case/got"
    "$SNAP" umount "$work/case/mnt" >/dev/null
    if ! diff -a "$work/case/want" "$work/case/got" > "$work/case/diff"; then
      echo "seed $seed, $n layers, $compression, engine $engine: the mounted tree differs (- GNU tar, + snap)"
      head -40 "$work/case/diff"
      exit 1
    fi
    "$SNAP" rmi --wait "t:$seed" >/dev/null
  done
  echo "seed $seed: $n layers, $(wc -l < "$work/case/want") files equal"
}

if [ $# = 0 ]; then set -- 1 2 3 4 5 6 7 8 9 10 11 12; fi
for seed in "$@"; do one_seed "$seed"; done
"$SNAP" system check
[ -z "$(ls -A "$SNAP_ROOT/layers" && find "$SNAP_ROOT/objects" "$SNAP_ROOT/merged" -type f)" ] || { echo "layers or objects are left after rmi"; exit 1; }
