# shellcheck shell=bash
# What the scripts with a real engine share: the daemon and containerd of the test's own, an image, ctr. Sourced after
# isolate.sh; builds on integration/lib.sh.
: "${SNAPSHOTTERD:?set SNAPSHOTTERD to the daemon}" "${SNAP_SOURCE_DIR:?set SNAP_SOURCE_DIR to the source folder}"
. "$SNAP_SOURCE_DIR/tests/integration/lib.sh"
. "$SNAP_SOURCE_DIR/tests/engine/go_build.sh"
. "$SNAP_SOURCE_DIR/tools/lib/oci-layout.sh"
export SNAP_ROOT=$work/store
export CONTAINERD_ADDRESS=/run/test/containerd.sock CONTAINERD_SNAPSHOTTER=snap
# The cgroups of containers stand below one named as their namespace.
namespaces=("snap-test-$RANDOM$RANDOM-one" "snap-test-$RANDOM$RANDOM-two")
export CONTAINERD_NAMESPACE=${namespaces[0]}
mkdir -p /run/test
mkdir -m 0700 "$SNAP_ROOT"
reference=
if [ "$SNAPSHOTTERD" = reference ]; then
  reference=1
  mkdir -p "$SNAP_BINARY_DIR/tests/engine"
  SNAPSHOTTERD=$SNAP_BINARY_DIR/tests/engine/reference
  go_build "$SNAPSHOTTERD" "$SNAP_SOURCE_DIR/tests/engine/reference" go build
fi

# SNAP_RUNTIME: the OCI runtime that containerd's shims find as runc.
if [ -n "${SNAP_RUNTIME:-}" ]; then
  mkdir "$work/bin"
  ln -s "$SNAP_RUNTIME" "$work/bin/runc"
  PATH=$work/bin:$PATH
fi

# The shims are nobody's children: end what still runs in this process namespace, which is ours alone, then its cgroups.
end_engine() {
  local status=$1 pid name
  for pid in $(cd /proc && printf '%s\n' [0-9]*); do
    ((pid == 1 || pid == BASHPID || pid == $$)) || kill -KILL "$pid" 2>/dev/null || true
  done
  wait 2>/dev/null || true
  for name in "${namespaces[@]}"; do
    find /sys/fs/cgroup -mindepth 1 -depth -type d -path "*/$name*" -exec rmdir {} + 2>/dev/null || true
  done
  ((status == 0)) || tail -n 30 "$work/snapshotterd.log" "$work/containerd.log" >&2 || true
}
trap 'engine_status=$?; end_engine "$engine_status" || true; cleanup "$engine_status"' EXIT

daemon_pid='' containerd_pid=''
daemon_options=()
if [ -z "$reference" ]; then
  cat >"$work/snapshotterd.toml" <<END
[daemon]
containerd_address = "$CONTAINERD_ADDRESS"
content_roots = ["$work/containerd/io.containerd.content.v1.content"]
END
  daemon_options=(--config "$work/snapshotterd.toml")
fi
start_daemon() {
  "$SNAPSHOTTERD" --root "$SNAP_ROOT" --address /run/test/snap.sock "${daemon_options[@]}" >>"$work/snapshotterd.log" 2>&1 &
  daemon_pid=$!
  [ -z "$containerd_pid" ] || wait_for "containerd reaching the daemon" daemon_answers
}
# A call that containerd must pass on.
daemon_answers() {
  local key=probe-$RANDOM
  ctr snapshots prepare "$key" && ctr snapshots rm "$key"
}
# end_process PID SIGNAL: and it is gone; its exit status.
end_process() {
  kill -"$2" "$1"
  local status=0
  wait "$1" 2>/dev/null || status=$?
  return "$status"
}
stop_daemon() { end_process "$daemon_pid" TERM || fail "the daemon stops with status $?"; }
kill_daemon() { end_process "$daemon_pid" KILL || true; }

# Of containerd's configuration: more than the snapshotter.
disabled_plugins='"io.containerd.grpc.v1.cri"' more_configuration=''
start_containerd() {
  local architecture version capabilities='' differ=walking order='"walking"'
  version=$(containerd --version | sed -E 's/.* v?([0-9]+\.[0-9]+).*/\1/')
  architecture=$(dpkg --print-architecture)
  case $version in
    1.*)
      cat <<END
version = 2
disabled_plugins = [$disabled_plugins]
[proxy_plugins.snap]
  type = "snapshot"
  address = "/run/test/snap.sock"
[plugins."io.containerd.gc.v1.scheduler"]
  startup_delay = "10ms"
END
      ;;
    *)
      if [ -z "$reference" ]; then
        capabilities='"remap-ids", "rebase"' differ=snap-diff order='"snap-diff", "walking"'
      fi
      cat <<END
version = 3
disabled_plugins = [$disabled_plugins]
[proxy_plugins.snap]
  type = "snapshot"
  address = "/run/test/snap.sock"
  platform = "linux/$architecture"
  capabilities = [$capabilities]
[plugins."io.containerd.service.v1.diff-service"]
  default = [$order]
[plugins."io.containerd.transfer.v1.local"]
  max_concurrent_unpacks = 4
  [[plugins."io.containerd.transfer.v1.local".unpack_config]]
    platform = "linux/$architecture"
    snapshotter = "snap"
    differ = "$differ"
[plugins."io.containerd.gc.v1.scheduler"]
  startup_delay = "10ms"
END
      [ -n "$reference" ] || cat <<END
[proxy_plugins.snap-diff]
  type = "diff"
  address = "/run/test/snap.sock"
  platform = "linux/$architecture"
END
      ;;
  esac >"$work/containerd.toml"
  cat >>"$work/containerd.toml" <<END
$more_configuration
END
  # What is not in a table comes first.
  sed -i "1a root = \"$work/containerd\"\nstate = \"/run/test/containerd\"" "$work/containerd.toml"
  cat >>"$work/containerd.toml" <<END
[grpc]
  address = "$CONTAINERD_ADDRESS"
END
  containerd --config "$work/containerd.toml" --log-level info >>"$work/containerd.log" 2>&1 &
  containerd_pid=$!
  wait_for "containerd reaching the daemon" daemon_answers
}
stop_containerd() {
  end_process "$containerd_pid" TERM || fail "containerd stops with status $?"
  containerd_pid=
}

# run_ctr ARG...: sets $out, $err and $status; a hang is a failure.
run_ctr() {
  status=0
  timeout -k 5 60 ctr "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
  out=$(<"$work/out")
  err=$(<"$work/err")
  ((status != 124 && status != 137)) || fail "ctr $* hangs"
}
expect_ctr() {
  run_ctr "$@"
  ((status == 0)) && return 0
  fail "ctr $*: exit status $status"
  sed 's/^/  stderr: /' "$work/err" >&2
}
expect_ctr_fails() {
  run_ctr "$@"
  ((status != 0)) || fail "ctr $* succeeds"
}
# The names of all snapshots that ctr lists, in their order.
snapshots() { ctr snapshots ls | awk 'NR > 1 { print $1 }' | sort; }
registry_pid='' registry=127.0.0.1:5000
registry_serves() { : </dev/tcp/127.0.0.1/5000; }
start_registry() {
  cat >"$work/registry.yml" <<END
version: 0.1
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: '$registry'}
END
  docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
  registry_pid=$!
  wait_for "the registry" registry_serves
}
stop_registry() { end_process "$registry_pid" TERM || true; }

# collect: garbage is collected when this returns.
collect() {
  # Deleting an image with --sync waits for a collection.
  expect_ctr images tag --force test:base gc:now
  expect_ctr images rm --sync gc:now
}

# make_images: an archive $work/images.tar with test:base (busybox, some files) and test:app (base and two layers that change,
# hide and replace), and test:pause, whose program does nothing.
make_images() {
  local root=$work/root applet
  umask 022
  mkdir -p "$root"/{bin,etc,dir,tmp,proc,run,sys,dev}
  cp "$(command -v busybox)" "$root/bin/busybox"
  for applet in sh cat ls echo sleep true false touch rm mv mkdir chown ln stat find id; do ln -s busybox "$root/bin/$applet"; done
  printf 'root:x:0:0::/root:/bin/sh\n' >"$root/etc/passwd"
  echo "hello from base" >"$root/etc/motd"
  echo a >"$root/dir/a"
  echo b >"$root/dir/b"
  make_tar "$work/base.tar" "$root"
  mkdir -p "$work/second"/{etc,dir,app}
  echo "hello from app" >"$work/second/etc/motd"
  : >"$work/second/dir/.wh.a"
  echo one >"$work/second/app/one"
  make_tar "$work/second.tar" "$work/second"
  mkdir -p "$work/third/app"
  : >"$work/third/app/.wh..wh..opq"
  echo two >"$work/third/app/two"
  make_tar "$work/third.tar" "$work/third"
  oci_layout_begin "$work/layout"
  oci_add_image "$work/layout" test:base gzip '"Cmd":["/bin/sh"],"Env":["PATH=/bin"]' "$work/base.tar"
  oci_add_image "$work/layout" test:app gzip '"Cmd":["/bin/sh"],"Env":["PATH=/bin"]' "$work"/{base,second,third}.tar
  oci_add_image "$work/layout" test:pause gzip '"Entrypoint":["/bin/sleep","1000000"],"Env":["PATH=/bin"]' "$work/base.tar"
  oci_layout_end "$work/layout"
  # The whole reference: ctr takes it as the name.
  sed -i 's/"org.opencontainers.image.ref.name":/"io.containerd.image.name":/g' "$work/layout/index.json"
  tar -C "$work/layout" -cf "$work/images.tar" .
}
