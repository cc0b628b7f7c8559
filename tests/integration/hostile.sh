#!/bin/bash
# Hostile layers, end to end: one clear error each, the canary outside unchanged, nothing left in the store. Odd but legitimate
# layers pass. Then whole images that lie: digests, sizes, bombs, truncation.
set -euo pipefail
. "$SNAP_SOURCE_DIR/tools/lib/oci-layout.sh"
work=$(mktemp -d "${TMPDIR:-/var/tmp}/snap-hostile-XXXXXX")
export SNAP_ROOT=$work/store SNAP_CONFIG=/dev/null
cleanup() { "$SNAP" umount -a >/dev/null 2>&1 || true; rm -rf "$work"; }
trap cleanup EXIT
problems=0
problem() { echo "$*"; problems=$((problems + 1)); }

mkdir -p "$work/canary" "$work/corpus"
echo untouched > "$work/canary/keep"
chmod 700 "$work/canary"
snapshot() { "$SNAP_BINARY_DIR/tests/tree_manifest" "$work/canary"; find "$work" -path "$SNAP_ROOT" -prune -o -print | sort; }
store() { # everything in the store that names something; the database's own files change with every transaction
  (cd "$SNAP_ROOT" && find layers merged objects snapshots staging trash -mindepth 1 2>/dev/null | grep -v '^staging/[^/]*$\|^objects/..$' | sort)
  "$SNAP" images -q --no-trunc
}
mounts() { grep -cF "$work" /proc/self/mountinfo || true; }  # of this test alone: others run beside it

"$SNAP_BINARY_DIR/tests/make_hostile" "$work/corpus" "$work/canary"
"$SNAP" images >/dev/null
outside=$(snapshot); inside=$(store); mounted=$(mounts)

expect_failure() { # LABEL SOURCE [ARGS...]
  local label=$1 source=$2 status=0
  shift 2
  "$SNAP" import --quiet "$source" hostile:1 "$@" > "$work.out" 2> "$work.err" || status=$?
  [ "$status" != 0 ] || { problem "$label: accepted"; "$SNAP" rmi --wait -f hostile:1 >/dev/null 2>&1 || true; }
  [ "$status" -lt 100 ] || problem "$label: exit status $status"
  head -n 1 "$work.err" | grep -q '^snap: ' || problem "$label: no error message, but: $(cat "$work.err")"
  [ "$(grep -c '^snap: ' "$work.err")" -le 1 ] || problem "$label: more than one error: $(cat "$work.err")"
  grep -qE 'internal error|terminate|Sanitizer' "$work.err" && problem "$label: $(cat "$work.err")"
  rm -f "$work.out" "$work.err"
  [ "$(snapshot)" = "$outside" ] || { problem "$label: something outside of the store changed"; diff <(echo "$outside") <(snapshot) || true; exit 1; }
  [ "$(store)" = "$inside" ] || { problem "$label: something is left in the store:"; diff <(echo "$inside") <(store) || true; exit 1; }
  [ "$(mounts)" = "$mounted" ] || { problem "$label: a mount is left"; exit 1; }
}

count=0
for tar in "$work"/corpus/should-fail-*.tar; do
  expect_failure "$(basename "$tar" .tar)" "tar:$tar"
  count=$((count + 1))
done
echo "$count hostile layers refused"

count=0
for tar in "$work"/corpus/should-pass-*.tar; do
  label=$(basename "$tar" .tar)
  if "$SNAP" import --quiet "tar:$tar" legit:1 >/dev/null 2>"$work.err"; then
    "$SNAP" rmi --wait legit:1 >/dev/null
  else
    problem "$label: refused: $(cat "$work.err")"
  fi
  rm -f "$work.err"
  [ "$(snapshot)" = "$outside" ] || { problem "$label: something outside of the store changed"; exit 1; }
  count=$((count + 1))
done
echo "$count odd but legitimate layers accepted"

# --- images
mkdir -p "$work/l"
for ((i = 0; i < 40; i++)); do echo "content $i" > "$work/l/f$i"; done
tar -C "$work/l" --sort=name -cf "$work/layer.tar" .
fresh() { # COMPRESSION: a good layout in $work/oci
  rm -rf "$work/oci"
  oci_layout_begin "$work/oci"
  oci_add_image "$work/oci" h:1 "$1" '"Cmd":["/x"]' "$work/layer.tar"
  oci_layout_end "$work/oci"
  manifest=$(grep -o '"digest":"sha256:[0-9a-f]*"' "$work/oci/index.json" | head -n 1 | grep -o '[0-9a-f]\{64\}')
  layer=$(grep -o '"layers":.*' "$work/oci/blobs/sha256/$manifest" | grep -o '[0-9a-f]\{64\}' | head -n 1)
  config=$(grep -o '"config":{[^}]*}' "$work/oci/blobs/sha256/$manifest" | grep -o '[0-9a-f]\{64\}')
  outside=$(snapshot)
}
edit() { # FILE SED_EXPRESSION: keeps the name although the content changes
  sed -i "$2" "$1"; outside=$(snapshot)
}
for compression in gzip zstd none; do
  fresh $compression
  blob=$work/oci/blobs/sha256/$layer
  size=$(stat -c %s "$blob")
  for at in 1 10 $((size / 3)) $((size / 2)) $((size - 1)); do
    cp "$blob" "$work/saved"
    truncate -s "$at" "$blob"; outside=$(snapshot)
    expect_failure "$compression layer truncated at $at" "oci:$work/oci"
    cp "$work/saved" "$blob"
    printf '\x55' | dd of="$blob" bs=1 seek="$at" conv=notrunc status=none; outside=$(snapshot)
    cmp -s "$blob" "$work/saved" || expect_failure "$compression layer with a flipped byte at $at" "oci:$work/oci"
    cp "$work/saved" "$blob"
  done
  printf 'trailing' >> "$blob"; outside=$(snapshot)
  expect_failure "$compression layer with trailing bytes" "oci:$work/oci"
done
fresh gzip
edit "$work/oci/blobs/sha256/$config" 's/Cmd/Cmx/'; expect_failure "config digest mismatch" "oci:$work/oci"
fresh gzip
edit "$work/oci/blobs/sha256/$manifest" 's/schemaVersion/schemaVersiom/'; expect_failure "manifest digest mismatch" "oci:$work/oci"
fresh gzip
edit "$work/oci/index.json" 's/sha256:[0-9a-f]*/sha256:..\/..\/..\/etc\/passwd/'; expect_failure "digest as a path" "oci:$work/oci"
fresh gzip
edit "$work/oci/index.json" 's/"schemaVersion":2/"schemaVersion":2,"schemaVersion":2/'; expect_failure "duplicate key" "oci:$work/oci"
fresh gzip
rm "$work/oci/blobs/sha256/$layer"; mkfifo "$work/oci/blobs/sha256/$layer"; outside=$(snapshot)
expect_failure "fifo as a blob" "oci:$work/oci"
fresh gzip
rm "$work/oci/blobs/sha256/$layer"; ln -s /etc/shadow "$work/oci/blobs/sha256/$layer"; outside=$(snapshot)
expect_failure "symlink as a blob" "oci:$work/oci"

# A DiffId that the content does not have: a manifest that is consistent in everything else.
rm -rf "$work/oci"
oci_layout_begin "$work/oci"
wrong=$(printf 'other' | sha256sum | cut -c 1-64)
read -r ldigest lsize < <(gzip -n -c "$work/layer.tar" > "$work/blob.gz"; oci_add_blob "$work/oci" "$work/blob.gz")
printf '{"architecture":"%s","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$(dpkg --print-architecture)" "$wrong" > "$work/c"
read -r cdigest csize < <(oci_add_blob "$work/oci" "$work/c")
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"%s","size":%s}]}' "$cdigest" "$csize" "$ldigest" "$lsize" > "$work/m"
read -r mdigest msize < <(oci_add_blob "$work/oci" "$work/m")
printf '{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"%s","size":%s}\n' "$mdigest" "$msize" >> "$work/oci/manifests"
oci_layout_end "$work/oci"
outside=$(snapshot)
expect_failure "DiffId mismatch" "oci:$work/oci"

# Bombs: valid tars of zeros behind compression. Refused by ratio long before the content has been written.
truncate -s 2G "$work/zeros"
tar -C "$work" -cf - zeros | zstd -q -3 > "$work/bomb.zst"
truncate -s 200M "$work/zeros"
tar -C "$work" -cf - zeros | gzip -9 > "$work/bomb.gz"
rm "$work/zeros"
outside=$(snapshot)
expect_failure "zstd bomb" "tar:$work/bomb.zst"
expect_failure "gzip bomb" "tar:$work/bomb.gz"

"$SNAP" system check || problem "system check is not clean"
[ "$problems" = 0 ] || { echo "$problems problems"; exit 1; }
