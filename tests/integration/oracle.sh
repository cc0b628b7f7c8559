# The slow and simple way to apply layers, with GNU tar: what mounted trees are compared with. Source this file.

# oracle_apply TAR DIR: applies one layer (a plain tar file) onto DIR as the OCI image specification says.
oracle_apply() {
  local tar=$1 dir=$2 fresh path base parent
  fresh=$(mktemp -d "${TMPDIR:-/tmp}/oracle-XXXXXX")
  # Extracted alone first: gives every name NUL-safe and its type.
  oracle_tar "$tar" "$fresh"
  # Whiteouts act on what the layers below left, before anything of this layer is there.
  while IFS= read -r -d '' path; do
    base=${path##*/}
    parent=${path%/*}
    [ "$parent" != "$path" ] || parent=.
    if [ "$base" = .wh..wh..opq ]; then
      [ ! -d "$dir/$parent" ] || [ -L "$dir/$parent" ] || find "$dir/$parent" -mindepth 1 -maxdepth 1 -exec rm -rf {} +
    else
      rm -rf "${dir:?}/$parent/${base#.wh.}"
    fi
  done < <(cd "$fresh" && find . -name '.wh.*' -printf '%P\0')
  # A file replaces a directory and the other way round as a whole; tar would refuse or follow.
  while IFS= read -r -d '' path; do
    if [ -L "$dir/$path" ] || [ -e "$dir/$path" ]; then
      if [ -d "$fresh/$path" ] && [ ! -L "$fresh/$path" ]; then
        { [ -d "$dir/$path" ] && [ ! -L "$dir/$path" ]; } || rm -f "${dir:?}/$path"
      else
        rm -rf "${dir:?}/$path"
      fi
    fi
  done < <(cd "$fresh" && find . -mindepth 1 -printf '%P\0')
  oracle_tar "$tar" "$dir" --exclude='.wh.*'
  rm -rf "$fresh"
}

oracle_tar() { # TAR DIR [OPTION...]
  local tar=$1 dir=$2
  shift 2
  tar --extract --file "$tar" --directory "$dir" --same-owner --numeric-owner --same-permissions --xattrs \
    --xattrs-include='user.*' --xattrs-include='security.capability' --xattrs-include='system.posix_acl_*' \
    --wildcards --anchored --no-anchored "$@"
}
