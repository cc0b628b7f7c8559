#!/bin/bash
# The arrows between folders and the places of raw system calls are as docs/architecture.md says.
set -euo pipefail
cd "$SNAP_SOURCE_DIR"
failed=0
complain() { echo "$*"; failed=1; }

# allowed FOLDER REGEX: includes of project headers in FOLDER must match.
allowed() {
  local folder=$1 regex=$2 bad
  [ -d "$folder" ] || return 0
  bad=$(grep -rnE '^#include "' --include='*.cc' --include='*.h' "$folder" | grep -vE "#include \"($regex)" || true)
  [ -z "$bad" ] || complain "$folder includes what it must not:"$'\n'"$bad"
}
allowed fs/base 'fs/base/'
allowed fs 'fs/'
allowed overlay 'overlay/|fs/'
allowed fuse 'fuse/|fs/'
allowed runtime 'runtime/|fs/base/'
allowed snapshotter 'snapshotter/|fs/'
bad=$(grep -rnE '^#include "(tools|tests|bench)/' --include='*.cc' --include='*.h' fs overlay runtime snapshotter || true)
[ -z "$bad" ] || complain "includes of tools/, tests/ or bench/:"$'\n'"$bad"

# Raw system calls and their headers live in fs/base/sys_*.cc alone.
bad=$(grep -rnE '(^|[^a-zA-Z_:])(::)?syscall\(|[^a-zA-Z_]::(open|openat|read|write|close|mount|unshare|clone|fork|ioctl|mkdir|mkdirat|unlink|rename|chmod|chown|fchown|stat|fstat|lstat)\(' \
        --include='*.cc' --include='*.h' fs overlay runtime snapshotter tools | grep -vE '^fs/base/(sys_[a-z_]*|unique_fd|fault)\.cc:' || true)
[ -z "$bad" ] || complain "raw system calls outside fs/base/sys_*:"$'\n'"$bad"

# A folder README fits on one screen.
for readme in $(git ls-files '*/README.md' 2>/dev/null || find . -name README.md -not -path './build/*'); do
  lines=$(wc -l < "$readme")
  [ "$lines" -le 40 ] || complain "$readme has $lines lines, at most 40"
done
exit $failed
