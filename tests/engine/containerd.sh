#!/bin/bash
# Debian's containerd on the daemon as its proxy snapshotter, driven by ctr: import, unpack, run with runc, exec, commit, remove,
# two namespaces, garbage, a registry, restarts and kills of either side.
#   env: SNAPSHOTTERD (`reference`: containerd's own overlayfs), SNAP, SNAP_BINARY_DIR, SNAP_SOURCE_DIR
. "$(dirname "$(realpath "$0")")/isolate.sh"
. "$SNAP_SOURCE_DIR/tests/engine/engine.sh"
make_images
start_daemon
start_containerd

case_import_unpacks_into_the_snapshotter() {
  expect_ctr images import "$work/images.tar"
  expect_eq "committed snapshots" "$(snapshots | wc -l)" 3
  run_ctr snapshots ls
  expect_no_match "kinds" "$out" 'Active|View'
}

case_run_gives_the_image_and_a_place_to_write() {
  expect_ctr run --rm test:app first sh -c 'cat /etc/motd /app/* && ls /dir && echo new > /app/new && echo x >> /etc/motd && cat /etc/motd /app/new'
  expect_eq "output" "$out" $'hello from app\ntwo\nb\nhello from app\nx\nnew'
  expect_ctr run --rm test:app second sh -c 'cat /etc/motd; ls /app'
  expect_eq "the second container sees nothing of the first" "$out" $'hello from app\ntwo'
  run_ctr run --rm test:app third false
  expect_eq "exit status" "$status" 1
  expect_eq "snapshots" "$(snapshots | wc -l)" 3
}

case_exec_sees_the_running_container() {
  expect_ctr run -d test:app exec-1 sh -c 'echo ready > /state; exec sleep 1000'
  wait_for "the container's first file" ctr tasks exec --exec-id wait exec-1 cat /state
  expect_ctr tasks exec --exec-id e1 exec-1 sh -c 'cat /state; echo from exec > /second'
  expect_eq "output" "$out" ready
  expect_ctr tasks exec --exec-id e2 exec-1 cat /second
  expect_eq "output" "$out" "from exec"
  expect_ctr tasks rm -f exec-1
  expect_ctr containers rm exec-1
}

case_commit_keeps_what_was_written() {
  run_ctr run test:app commit-1 sh -c 'echo kept > /app/kept; rm /etc/motd; mkdir /app/dir; mv /app/two /app/three'
  expect_ctr containers info commit-1
  expect_ctr snapshots usage commit-1
  # What image builders ask for: the difference to the parent, as a layer.
  ctr snapshots diff --media-type application/vnd.oci.image.layer.v1.tar commit-1 >"$work/diff.tar"
  # overlayfs marks a new directory opaque whether or not there was one below; our differ says so too.
  expect_eq "names in the difference" "$(tar -tf "$work/diff.tar" | grep -v '^app/dir/.wh..wh..opq$' | sed 's,/$,,' | sort | tr '\n' ' ')" \
    "app app/.wh.two app/dir app/kept app/three etc etc/.wh.motd "
  # A container holds its snapshot by name; without it, the commit is a layer.
  expect_ctr snapshots prepare copy "$(ctr snapshots info commit-1 | sed -n 's/.*"Parent": "\(.*\)".*/\1/p')"
  mkdir -p "$work/tree"
  eval "$(ctr snapshots mounts "$work/tree" copy)"
  tar -C "$work/tree" --exclude='.wh.*' -xf "$work/diff.tar"
  umount "$work/tree"
  expect_ctr snapshots commit committed copy
  expect_ctr snapshots prepare look committed
  eval "$(ctr snapshots mounts "$work/tree" look)"
  expect_eq "the committed file" "$(cat "$work/tree/app/kept")" kept
  umount "$work/tree"
  expect_ctr_fails snapshots rm "$(ctr snapshots info committed | sed -n 's/.*"Parent": "\(.*\)".*/\1/p')"
  expect_ctr snapshots rm look
  expect_ctr snapshots rm committed
  expect_ctr containers rm commit-1
}

case_view_is_read_only() {
  mkdir -p "$work/view"
  expect_ctr images mount test:app "$work/view"
  expect_eq "content" "$(cat "$work/view/etc/motd")" "hello from app"
  expect_eq "writing" "$(touch "$work/view/x" 2>/dev/null || echo refused)" refused
  expect_ctr images unmount --rm "$work/view"
}

case_second_namespace_shares_nothing_that_is_seen() {
  export CONTAINERD_NAMESPACE=${namespaces[1]}
  expect_eq "snapshots before" "$(snapshots)" ""
  expect_ctr images import "$work/images.tar"
  expect_eq "snapshots" "$(snapshots | wc -l)" 3
  expect_ctr run --rm test:app same-name cat /etc/motd
  expect_eq "output" "$out" "hello from app"
  expect_ctr images rm --sync test:app test:base test:pause
  expect_eq "snapshots after" "$(snapshots)" ""
  export CONTAINERD_NAMESPACE=${namespaces[0]}
  expect_ctr run --rm test:app same-name cat /app/two
  expect_eq "the first namespace's layers are still there" "$out" two
}

case_restart_of_either_side_loses_nothing() {
  local before
  expect_ctr run -d test:app restart-1 sh -c 'echo before > /state; exec sleep 1000'
  before=$(snapshots)
  stop_daemon
  start_daemon
  expect_eq "snapshots after the daemon's restart" "$(snapshots)" "$before"
  expect_ctr run --rm test:app restart-2 cat /app/two
  stop_containerd
  start_containerd
  expect_eq "snapshots after containerd's restart" "$(snapshots)" "$before"
  expect_ctr tasks exec --exec-id e restart-1 cat /state
  expect_eq "output" "$out" before
  stop_containerd
  stop_daemon
  start_daemon
  start_containerd
  expect_eq "snapshots after both" "$(snapshots)" "$before"
  expect_ctr tasks rm -f restart-1
  # A new task on the container's old snapshot: Mounts is asked again.
  expect_ctr tasks start -d restart-1
  expect_ctr tasks exec --exec-id e restart-1 cat /state
  expect_ctr tasks rm -f restart-1
  expect_ctr containers rm restart-1
}

# Twenty containers that read their lower layers and write all the time.
case_killed_daemon_disturbs_no_container() {
  local i before counts count
  for ((i = 1; i <= 20; i++)); do
    expect_ctr run -d test:app "many-$i" sh -c \
      'n=0; while cat /etc/motd /app/two > /copy && [ -s /copy ]; do n=$((n + 1)); echo $n > /count.new; mv /count.new /count; sleep 0.05; done'
  done
  before=$(snapshots)
  kill_daemon
  for ((i = 1; i <= 20; i++)); do
    counts[i]=$(ctr tasks exec --exec-id "before" "many-$i" cat /count)
  done
  # No call hangs, whatever it answers.
  run_ctr snapshots ls
  expect_ctr_fails run --rm test:app unlucky true
  counted_on() { (($(ctr tasks exec --exec-id "e$RANDOM" "many-$1" cat /count) > counts[$1])); }
  for ((i = 1; i <= 20; i++)); do wait_for "container $i working without a daemon" counted_on "$i"; done
  start_daemon
  expect_eq "snapshots" "$(snapshots | grep -v unlucky)" "$before"
  for ((i = 1; i <= 20; i++)); do
    counts[i]=$(ctr tasks exec --exec-id "after" "many-$i" cat /count)
    wait_for "container $i working with the next daemon" counted_on "$i"
  done
  count=$(ctr tasks ls | grep -c RUNNING)
  expect_eq "running containers" "$count" 20
  expect_ctr run --rm test:app lucky cat /app/two
  for ((i = 1; i <= 20; i++)); do
    expect_ctr snapshots usage "many-$i"
    expect_ctr tasks rm -f "many-$i"
    expect_ctr containers rm "many-$i"
  done
  run_ctr containers rm unlucky # made or not before it failed
}

# What the store keeps for snapshots.
kept() { ls "$SNAP_ROOT/snapshots" "$SNAP_ROOT/layers"; }

case_registry_push_and_pull() {
  start_registry
  local name=$registry/team/app:1
  expect_ctr images tag test:app "$name"
  expect_ctr images push --plain-http "$name"
  expect_ctr images rm --sync "$name"
  export CONTAINERD_NAMESPACE=${namespaces[1]}
  expect_ctr images pull --plain-http "$name"
  expect_eq "snapshots" "$(snapshots | wc -l)" 3
  expect_ctr run --rm "$name" pulled sh -c 'cat /etc/motd /app/*; ls /dir'
  expect_eq "output" "$out" $'hello from app\ntwo\nb'
  # What one namespace has pulled is not unpacked for another, where the client says what it unpacks for: ctr does since 2.0.
  if [ -z "$reference" ] && [[ $(containerd --version) != *" "v1.* && $(containerd --version) != *" "1.* ]]; then
    local before
    before=$(kept)
    export CONTAINERD_NAMESPACE=${namespaces[1]}-again
    expect_ctr images pull --plain-http "$name"
    expect_eq "snapshots of the third namespace" "$(snapshots | wc -l)" 3
    expect_eq "uppers and layers of the store" "$(kept)" "$before"
    expect_ctr images rm --sync "$name"
    export CONTAINERD_NAMESPACE=${namespaces[1]}
  fi
  expect_ctr images rm --sync "$name"
  expect_eq "snapshots after" "$(snapshots)" ""
  export CONTAINERD_NAMESPACE=${namespaces[0]}
  stop_registry
}

# A daemon that dies in the middle of an import: the next import is whole.
case_kill_during_import() {
  local i imported
  for ((i = 0; i < 8; i++)); do
    export CONTAINERD_NAMESPACE=${namespaces[1]}
    timeout -k 5 60 ctr images import "$work/images.tar" >"$work/import.log" 2>&1 &
    imported=$!
    sleep "0.0$((RANDOM % 10))"
    kill_daemon
    wait "$imported" || true
    start_daemon
    expect_ctr images import "$work/images.tar"
    expect_ctr run --rm test:app "killed-$i" sh -c 'cat /etc/motd /app/*; ls /dir'
    expect_eq "output after kill $i" "$out" $'hello from app\ntwo\nb'
    expect_ctr images rm --sync test:app test:base test:pause
    expect_eq "snapshots after kill $i" "$(snapshots)" ""
  done
  export CONTAINERD_NAMESPACE=${namespaces[0]}
}

# Last: with the images everything goes, here and on disk.
case_nothing_is_left_without_images() {
  collect
  expect_eq "snapshots with images" "$(snapshots | wc -l)" 3
  expect_ctr images rm --sync test:app test:base test:pause
  expect_eq "snapshots" "$(snapshots)" ""
  # A difference is held for its caller by a lease that ends after a while; here it is over at once.
  ctr leases ls -q | while read -r lease; do expect_ctr leases rm --sync "$lease"; done
  expect_eq "content" "$(ctr content ls -q)" ""
  stop_containerd
  stop_daemon
  expect_eq "mounts of the store" "$(awk -v prefix="$SNAP_ROOT" 'index($0, prefix) { print $5 }' /proc/self/mountinfo)" ""
  if [ -z "$reference" ]; then
    expect_ok system gc
    expect_clean
  fi
}

run_cases
