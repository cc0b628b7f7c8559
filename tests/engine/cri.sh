#!/bin/bash
# Kubernetes' interface to containerd (its CRI plugin, in Debian's package) on the daemon, driven by the client in cri/:
# pull from a registry, pod, container, exec, statistics, restart of the daemon, removal.
#   env: as containerd.sh
. "$(dirname "$(realpath "$0")")/isolate.sh"
. "$SNAP_SOURCE_DIR/tests/engine/engine.sh"
cri=$SNAP_BINARY_DIR/tests/engine/cri
mkdir -p "$(dirname "$cri")"
go_build "$cri" "$SNAP_SOURCE_DIR/tests/engine/cri" go build
export CRI_CGROUP_PARENT=/${namespaces[0]}
disabled_plugins=''
if [[ $(containerd --version) =~ \ v?1\. ]]; then
  more_configuration="
[plugins.'io.containerd.grpc.v1.cri']
  sandbox_image = '$registry/test/pause:1'
  stats_collect_period = 1
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins.'io.containerd.grpc.v1.cri'.cni]
    bin_dir = '$work/cni'
    conf_dir = '$work/cni'
  [plugins.'io.containerd.grpc.v1.cri'.containerd]
    snapshotter = 'snap'
    default_runtime_name = 'runc'
    disable_snapshot_annotations = false
    [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]
      runtime_type = 'io.containerd.runc.v2'
"
else
  more_configuration="
[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'snap'
  stats_collect_period = 1
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = '$registry/test/pause:1'
[plugins.'io.containerd.cri.v1.runtime']
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['$work/cni']
    conf_dir = '$work/cni'
"
fi
make_images
start_daemon
start_registry
start_containerd
expect_ctr images import "$work/images.tar"
for image in app pause; do
  expect_ctr images tag "test:$image" "$registry/test/$image:1"
  expect_ctr images push --plain-http "$registry/test/$image:1"
  expect_ctr images rm "$registry/test/$image:1"
done
expect_ctr images rm --sync test:app test:base test:pause
export CONTAINERD_NAMESPACE=k8s.io

# expect_cri ARG...: sets $out.
expect_cri() {
  status=0
  timeout -k 5 90 "$cri" "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
  out=$(<"$work/out")
  ((status == 0)) && return 0
  fail "cri $*: exit status $status"
  sed 's/^/  stderr: /' "$work/err" >&2
}

case_pull() {
  expect_cri pull "$registry/test/app:1"
  expect_match "the image's id" "$out" '^sha256:'
  expect_cri images
  expect_match "images" "$out" "$registry/test/app:1"
  expect_eq "snapshots" "$(snapshots | wc -l)" 3
}

pod='' container=''
case_pod_and_container() {
  expect_cri pod one
  pod=$out
  expect_cri create "$pod" "$registry/test/app:1" main sh -c 'echo ready > /state; exec sleep 1000'
  container=$out
  expect_cri start "$container"
  wait_for "the container's first file" "$cri" exec "$container" cat /state
  expect_cri exec "$container" sh -c 'cat /etc/motd /app/*; ls /dir'
  expect_eq "output" "$out" $'hello from app\ntwo\nb'
}

case_statistics_know_what_was_written() {
  expect_cri exec "$container" sh -c 'cat /bin/busybox /bin/busybox > /written'
  local size
  size=$(stat -c %s "$(command -v busybox)")
  written() {
    local bytes
    bytes=$("$cri" stats "$container" | cut -d' ' -f1)
    ((bytes >= 2 * size && bytes < 3 * size))
  }
  wait_for "the container's usage" written
  expect_cri fs
  expect_match "the images' file system" "$out" '^[0-9]+ [0-9]+ /'
}

case_daemon_dies_under_pods() {
  kill_daemon
  expect_cri exec "$container" cat /state /app/two
  expect_eq "output without a daemon" "$out" $'ready\ntwo'
  start_daemon
  expect_cri create "$pod" "$registry/test/app:1" second sh -c 'cat /app/two > /two; exec sleep 1000'
  local second=$out
  expect_cri start "$second"
  wait_for "the second container" "$cri" exec "$second" cat /two
  expect_cri exec "$container" cat /state
  expect_cri stop "$second"
  expect_cri rm "$second"
}

case_nothing_is_left() {
  expect_cri stop "$container"
  expect_cri rm "$container"
  expect_cri stopp "$pod"
  expect_cri rmp "$pod"
  expect_cri rmi "$registry/test/app:1"
  expect_cri rmi "$registry/test/pause:1"
  no_snapshots() { [ -z "$(snapshots)" ]; }
  wait_for "removal of all snapshots" no_snapshots
  stop_containerd
  stop_daemon
  stop_registry
  if [ -z "$reference" ]; then
    expect_ok system gc
    expect_clean
  fi
}

run_cases
