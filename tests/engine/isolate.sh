# shellcheck shell=bash
# Sourced first by the scripts here: runs them again in mount, process and network namespaces of their own, with an empty /run.
# An engine keeps its state and its shims' sockets in fixed places below /run and outlives the shell that starts it; so nothing
# of the machine's own engine is seen, and the kernel ends every process and every mount with the script, whatever happens.
if [ "${SNAP_ISOLATED:-}" != "$0" ]; then
  SNAP_ISOLATED=$0 unshare --mount --propagation private --pid --fork --kill-child --mount-proc --net bash "$0" "$@"
  exit
fi
mount -t tmpfs -o mode=755 tmpfs /run
ip link set lo up
