#!/bin/bash
# snap save: what is written is the image that was imported, byte for byte, for us and for others; damage and refusals leave
# nothing.
. "$(dirname "$0")/lib.sh"
make_layout

# make_rich: an image "rich" whose tars are as tars can be: large files (objects), equal ones, holes, long names, hard links,
# xattrs, an entry that comes twice, whiteouts, bytes behind the end; GNU and PAX headers.
make_rich() {
  local one=$work/rich1 two=$work/rich2 name
  mkdir -p "$one"/{lib,doc,deep} "$two"/{lib,doc}
  head -c 300000 /dev/urandom >"$one/lib/large"
  cp "$one/lib/large" "$one/lib/large-again"
  head -c 70001 /dev/urandom >"$one/lib/odd"
  head -c 65536 /dev/urandom >"$one/lib/limit"
  head -c 65535 /dev/urandom >"$one/lib/below"
  truncate -s 3M "$one/lib/hole"
  printf x | dd of="$one/lib/hole" bs=1 seek=1500000 conv=notrunc status=none
  truncate -s 200000 "$one/lib/zeros"
  for name in $(seq 300); do head -c "$name" "$one/lib/large" >"$one/doc/$name"; done
  : >"$one/doc/empty"
  name=$one/deep/$(printf 'n%.0s' {1..200})
  mkdir -p "$name/$(printf 'm%.0s' {1..150})"
  echo deep >"$name/$(printf 'm%.0s' {1..150})/file"
  ln "$one/doc/7" "$one/doc/hard"
  ln -s ../lib/large "$one/doc/soft"
  setfattr -n user.note -v "a value" "$one/doc/8"
  mkfifo "$one/fifo"
  tar -C "$one" --sort=name --format=gnu --sparse -cf "$work/rich1.tar" .
  tar -C "$one" --format=gnu -rf "$work/rich1.tar" ./doc/9 ./lib/odd  # the last one wins, the first one is kept nowhere else
  printf 'bytes behind the end' >>"$work/rich1.tar"
  cp "$one/lib/large" "$two/lib/moved"
  : >"$two/doc/.wh.8"
  : >"$two/doc/.wh..wh..opq"
  head -c 100000 /dev/urandom >"$two/lib/new"
  tar -C "$two" --sort=name --format=posix --xattrs -cf "$work/rich2.tar" .
  zstd -q "$work/rich2.tar"
  "$support/make_image" "$layout" rich --layer "$work/rich1.tar" --layer "$work/rich2.tar.zst" --layer "$work/rich1.tar" \
    --cmd /bin/true
}
make_rich

for image in base app rich; do "$SNAP" import -q "oci:$layout:$image" "$image" >/dev/null; done
# Until a layer that was imported here keeps its tar there is nothing to try.
if ! ls "$SNAP_ROOT"/layers/*/tar.idx >/dev/null 2>&1; then
  echo "layers are stored as trees on this machine"
  exit 77
fi

# ids STORE: names, ids and DiffIds of all images there.
ids() {
  local image
  for image in $("$SNAP" --root "$1" images -q --no-trunc | sort -u); do
    "$SNAP" --root "$1" inspect --format json "$image" >"$work/inspected"
    "$support/json_value" 0.id <"$work/inspected"
    "$support/json_value" 0.names <"$work/inspected"
    "$SNAP" --root "$1" layers --format json "$image" | grep -oE '"diff_id": ?"[^"]*"'
  done
}
# leftovers DIR: what a save that failed might have forgotten.
leftovers() { find "$1" -name '.snap-*'; }

case_every_format_comes_back_as_the_same_images() {
  local format compress n=0 target image
  for format in docker-archive oci-archive oci; do
    for compress in none gzip zstd; do
      [[ $format == docker-archive && $compress != none ]] && continue
      target=$work/out-$format-$compress
      expect_ok save --format "$format" --compress "$compress" -o "$target" base app rich
      expect_match "says what it did" "$err" '3 images, 5 layers'
      n=$((n + 1))
      for image in base app rich; do
        "$SNAP" --root "$work/other-$n" import -q "$format:$target:$image:latest" >/dev/null || fail "import from $format $compress"
      done
      expect_eq "$format $compress" "$(ids "$work/other-$n")" "$(ids "$SNAP_ROOT")"
      expect_eq "no leftovers" "$(leftovers "$work")" ""
    done
  done
}

case_a_saved_image_can_be_saved_again() {
  expect_ok save -q -o "$work/saved-once.tar" rich
  expect_eq "quiet" "$err" ""
  "$SNAP" --root "$work/again" import -q "docker-archive:$work/saved-once.tar" >/dev/null
  "$SNAP" --root "$work/again" save -q -o "$work/saved-twice.tar" rich
  cmp "$work/saved-once.tar" "$work/saved-twice.tar" || fail "the second archive differs"
}

case_standard_output() {
  expect_ok save -q -o "$work/file.tar" app
  "$SNAP" save app >"$work/stream.tar" 2>/dev/null
  cmp "$work/file.tar" "$work/stream.tar" || fail "the stream differs"
  "$SNAP" save -q --format oci-archive -o - app | cat >"$work/pipe.tar"
  "$SNAP" --root "$work/piped" import -q "oci-archive:$work/pipe.tar" >/dev/null || fail "import what went through a pipe"
  expect_status 2 save --format oci app
  expect_match "a layout is no stream" "$err" 'hint: -o DIR'
  script -qec "'$SNAP' save app" /dev/null >"$work/drawn" </dev/null && fail "wrote to a terminal"
  expect_match "not to a terminal" "$(<"$work/drawn")" 'it is a terminal'
}

case_names_follow_the_reference() {
  local id
  id=$("$SNAP" inspect --format json app | "$support/json_value" 0.id)
  expect_ok tag app team/app:2
  expect_ok save -q --format oci -o "$work/named" team/app:2
  expect_eq "by name: that one" "$(grep -o '"org.opencontainers.image.ref.name":"[^"]*"' "$work/named/index.json")" \
    '"org.opencontainers.image.ref.name":"team/app:2"'
  expect_ok save -q -o "$work/unnamed.tar" "${id#sha256:}"
  expect_match "by id: none" "$(tar -xOf "$work/unnamed.tar" manifest.json)" '"RepoTags":null'
  expect_ok save -q -o "$work/both.tar" app team/app:2
  expect_match "one image, two names" "$(tar -xOf "$work/both.tar" manifest.json)" '"RepoTags":\["app:latest","team/app:2"\]'
  expect_ok rmi team/app:2
}

case_does_not_replace_unasked() {
  echo precious >"$work/precious"
  expect_status 4 save -o "$work/precious" base
  expect_match "hint" "$err" 'hint: --force'
  expect_eq "kept" "$(<"$work/precious")" precious
  expect_ok save -q --force -o "$work/precious" base
  expect_match "replaced" "$(tar -tf "$work/precious")" 'manifest.json'
  expect_eq "private" "$(stat -c %a "$work/precious")" 600
  mkdir -p "$work/directory"
  echo precious >"$work/directory/file"
  expect_status 4 save --format oci -o "$work/directory" base
  expect_status 2 save -o "$work/directory" base
  expect_status 2 save --compress zstd -o "$work/x" base
  expect_status 3 save -o "$work/x" nonexistent
  expect_status 3 save -o "$work/no/such/directory" base
  expect_eq "nothing written" "$(ls "$work/x" 2>/dev/null)" ""
}

case_a_layout_grows() {
  expect_ok save -q --format oci -o "$work/grown" base
  expect_ok save -q --format oci --compress zstd -o "$work/grown" app
  expect_ok save -q --format oci -o "$work/grown" base
  expect_eq "two images" "$(grep -o 'ref.name' "$work/grown/index.json" | wc -l)" 2
  "$SNAP" --root "$work/regrown" import -q "oci:$work/grown:base:latest" >/dev/null || fail "the first is still there"
  "$SNAP" --root "$work/regrown" import -q "oci:$work/grown:app:latest" >/dev/null || fail "the second is there"
}

# flip FILE OFFSET: another byte there. Small files begin at multiples of 512, so in an image that is content.
flip() {
  local byte
  byte=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
  printf "\\x$(printf %02x $((byte ^ 16)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

case_damage_is_found_and_leaves_nothing() {
  local index damaged format offset
  index=$(ls -S "$SNAP_ROOT"/layers/*/tar.idx | head -n 1)
  for damaged in "$index" "$(dirname "$index")/layer.erofs" "$(find "$SNAP_ROOT/objects" -type f -size 300000c)"; do
    offset=10240
    [[ $damaged == "$index" ]] && offset=$(($(stat -c %s "$index") / 2))
    for format in docker-archive oci-archive oci; do
      flip "$damaged" "$offset"
      expect_status 6 save --format "$format" -o "$work/damaged" rich
      expect_eq "$format of a damaged $(basename "$damaged")" "$(ls -d "$work/damaged" 2>/dev/null)$(leftovers "$work")" ""
      flip "$damaged" "$offset"
    done
  done
  expect_ok save -q -o "$work/whole-again" rich
}

case_layers_without_an_index_are_refused() {
  mv "$(dirname "$(ls "$SNAP_ROOT"/layers/*/tar.idx | head -n 1)")/tar.idx" "$work/kept.idx"
  expect_status 1 save -o "$work/unsupported" base app rich
  expect_match "says why" "$err" 'stored without its tar index'
  expect_eq "nothing written" "$(ls -d "$work/unsupported" 2>/dev/null)" ""
  mv "$work/kept.idx" "$(ls -d "$SNAP_ROOT"/layers/* | while read -r dir; do [[ -e $dir/tar.idx ]] || echo "$dir"; done)/tar.idx"
}

case_skopeo_reads_it() {
  local format id
  command -v skopeo >/dev/null || return 0
  id=$("$SNAP" inspect --format json rich | "$support/json_value" 0.id)
  for format in docker-archive oci-archive oci; do
    rm -rf "$work/read"
    skopeo copy -q --insecure-policy "$format:$work/out-$format-none:rich:latest" "dir:$work/read" >/dev/null ||
      fail "skopeo cannot read $format"
    expect_match "the image that skopeo sees" "$(<"$work/read/manifest.json")" "\"digest\": ?\"$id\""
  done
}

run_cases
