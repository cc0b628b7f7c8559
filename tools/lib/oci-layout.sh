# Functions for scripts that make small OCI image layouts from tar files with nothing but coreutils. Source this file.

# oci_layout_begin DIR: an empty layout.
oci_layout_begin() {
  mkdir -p "$1/blobs/sha256"
  printf '{"imageLayoutVersion":"1.0.0"}' > "$1/oci-layout"
  : > "$1/manifests"
}

# oci_add_blob DIR FILE: copies FILE into the layout; prints "DIGEST SIZE".
oci_add_blob() {
  local digest size
  digest=$(sha256sum < "$2"); digest=${digest%% *}
  size=$(stat -c %s "$2")
  cp "$2" "$1/blobs/sha256/$digest"
  echo "sha256:$digest $size"
}

# oci_add_image DIR REF gzip|zstd|none CONFIG_FIELDS TAR...: adds an image whose layers are the tars, bottom first.
# CONFIG_FIELDS is the inside of the config's "config" object, e.g. '"Cmd":["/bin/sh"]'.
oci_add_image() {
  local dir=$1 ref=$2 compression=$3 fields=$4 tar diff digest size type layers="" diffs="" work
  shift 4
  work=$(mktemp -d)
  for tar in "$@"; do
    diff=$(sha256sum < "$tar"); diff=${diff%% *}
    case $compression in
      gzip) gzip -n -6 -c "$tar" > "$work/blob"; type=application/vnd.oci.image.layer.v1.tar+gzip ;;
      zstd) zstd -q -3 -c "$tar" > "$work/blob"; type=application/vnd.oci.image.layer.v1.tar+zstd ;;
      none) cp "$tar" "$work/blob"; type=application/vnd.oci.image.layer.v1.tar ;;
      *) echo "oci_add_image: unknown compression $compression" >&2; rm -rf "$work"; return 1 ;;
    esac
    read -r digest size < <(oci_add_blob "$dir" "$work/blob")
    layers+="${layers:+,}{\"mediaType\":\"$type\",\"digest\":\"$digest\",\"size\":$size}"
    diffs+="${diffs:+,}\"sha256:$diff\""
  done
  local arch
  arch=$(dpkg --print-architecture 2>/dev/null || echo amd64)
  printf '{"created":"2024-01-01T00:00:00Z","architecture":"%s","os":"linux","config":{%s},"rootfs":{"type":"layers","diff_ids":[%s]}}' \
    "$arch" "$fields" "$diffs" > "$work/config"
  read -r digest size < <(oci_add_blob "$dir" "$work/config")
  printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":%s},"layers":[%s]}' \
    "$digest" "$size" "$layers" > "$work/manifest"
  read -r digest size < <(oci_add_blob "$dir" "$work/manifest")
  printf '{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"%s","size":%s,"annotations":{"org.opencontainers.image.ref.name":"%s"}}\n' \
    "$digest" "$size" "$ref" >> "$dir/manifests"
  rm -rf "$work"
}

# oci_layout_end DIR: writes index.json.
oci_layout_end() {
  printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[%s]}' \
    "$(paste -sd, "$1/manifests")" > "$1/index.json"
  rm "$1/manifests"
}
