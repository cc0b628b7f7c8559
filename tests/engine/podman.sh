#!/bin/bash
# Debian's podman on snap-runtime as its OCI runtime and snap-fuse as its mount_program: as root and as an ordinary user, run, exec, stop,
# limits, user namespaces, build, commit, diff, a server that is killed.
#   env: SNAP_RUNTIME, SNAP_FUSE, SNAP, SNAP_BINARY_DIR, SNAP_SOURCE_DIR
. "$(dirname "$(realpath "$0")")/isolate.sh"
. "$SNAP_SOURCE_DIR/tests/integration/lib.sh"
: "${SNAP_RUNTIME:?set SNAP_RUNTIME to snap-runtime}" "${SNAP_FUSE:?set SNAP_FUSE to snap-fuse}"
chmod 0711 "$work"
mkdir -p /run/containers
# Where any user may execute them.
mkdir "$work/bin"
cp "$SNAP_RUNTIME" "$SNAP_FUSE" "$work/bin/"
user=snaptest
cleanup_user() {
  if id "$user" >/dev/null 2>&1; then
    pkill -KILL -u "$user" || true
    userdel "$user" 2>/dev/null || true
  fi
}
trap 'podman_status=$?; cleanup_user; for pid in $(cd /proc && printf "%s\n" [0-9]*); do ((pid == 1 || pid == BASHPID || pid == $$)) || kill -KILL "$pid" 2>/dev/null || true; done; find /sys/fs/cgroup -depth -type d -path "*/snaptest*" -exec rmdir {} + 2>/dev/null; cleanup "$podman_status"' EXIT

root=$work/root
mkdir -p "$root"/{bin,etc,tmp,proc,sys,dev,run,data}
cp "$(command -v busybox)" "$root/bin/busybox"
for applet in sh cat ls echo sleep id true touch ps grep stat rm mkdir dd sync ln mv head tty; do ln -s busybox "$root/bin/$applet"; done
printf 'root:x:0:0::/root:/bin/sh\n' >"$root/etc/passwd"
echo "from the image" >"$root/data/file"
tar -C "$root" -cf "$work/image.tar" .
chmod 0644 "$work/image.tar"

# write_config DIR [kernel]: podman's own, below DIR; "kernel": with the kernel's overlayfs.
write_config() {
  mkdir -p "$1"
  cat >"$1/containers.conf" <<END
[engine]
runtime = "snap-runtime"
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime_supports_json = ["snap-runtime"]
[engine.runtimes]
snap-runtime = ["$work/bin/snap-runtime"]
[containers]
netns = "none"
default_ulimits = []
END
  cat >"$1/storage.conf" <<END
[storage]
driver = "overlay"
graphroot = "$1/graph"
runroot = "$1/run"
END
  [ "${2:-}" = kernel ] || printf '[storage.options.overlay]\nmount_program = "%s/bin/snap-fuse"\n' "$work" >>"$1/storage.conf"
}
write_config "$work/podman"
export CONTAINERS_CONF=$work/podman/containers.conf CONTAINERS_STORAGE_CONF=$work/podman/storage.conf
as=()
# pm ARG...: podman; sets $out, $err, $status.
pm() {
  status=0
  (cd / && timeout -k 5 120 "${as[@]}" podman "$@") >"$work/out" 2>"$work/err" </dev/null || status=$?
  out=$(<"$work/out") err=$(<"$work/err")
  ((status != 124)) || fail "podman $* hangs"
}
ok() {
  pm "$@"
  ((status == 0)) || fail "podman $*: exit status $status, says: $err"
}

case_import_and_run() {
  ok import "$work/image.tar" base
  ok run --rm base sh -c 'cat /data/file; echo new >/data/file; cat /data/file; id -u'
  expect_eq "output" "$out" $'from the image\nnew\n0'
  ok run --rm base cat /data/file
  expect_eq "the next sees nothing of it" "$out" "from the image"
  ok run --rm base grep -E '^[0-9]+ [0-9]+ [0-9:]+ / / ' /proc/self/mountinfo
  expect_match "by snap-fuse" "$out" 'fuse.snap-fuse'
}

case_statuses() {
  pm run --rm base sh -c 'exit 9'
  expect_eq "its own" "$status" 9
  pm run --rm base nosuch
  expect_eq "not found" "$status" 127
  pm run --rm base /etc
  expect_eq "not executable" "$status" 126
}

case_life() {
  ok run -d --name one base sleep 1000
  ok exec one sh -c 'echo inside >/data/made; ps | grep -c sleep'
  pm exec one nosuch
  expect_eq "exec of nothing" "$status" 127
  ok top one
  ok pause one
  ok unpause one
  ok restart -t 0 one
  ok exec one cat /data/made
  expect_eq "kept over a restart" "$out" inside
  ok diff one
  expect_match "difference" "$out" 'A /data/made'
  ok commit -q one changed
  ok stop -t 0 one
  ok rm one
  ok run --rm changed cat /data/made
  expect_eq "committed" "$out" inside
}

case_options() {
  ok run --rm --read-only --tmpfs /tmp base sh -c 'touch /x 2>&1; touch /tmp/x && ls /tmp'
  expect_match "read-only" "$out" 'Read-only file system'
  ok run --rm --cap-drop ALL --cap-add NET_ADMIN base grep CapEff /proc/self/status
  expect_match "capabilities" "$out" '0000000000001000'
  ok run --rm --security-opt no-new-privileges base grep -E 'NoNewPrivs|Seccomp:' /proc/self/status
  expect_eq "privileges and filter" "$(tr -s '\t\n' '  ' <<<"$out")" "NoNewPrivs: 1 Seccomp: 2 "
  ok run --rm -t base tty
  expect_match "a terminal" "$out" '/dev/pts/0'
  ok run --rm --user 5:6 -v "$root/data:/mnt:ro" base sh -c 'id -u; cat /mnt/file; touch /mnt/x 2>&1 || true'
  expect_match "user and volume" "$out" $'^5\nfrom the image\n.*Read-only'
}

# podman 4.3 as root id-maps the layers itself and tells a mount_program to map them once more: so with the kernel's overlayfs.
case_user_namespaces_of_root() {
  write_config "$work/plain" kernel
  as=(env "CONTAINERS_CONF=$work/plain/containers.conf" "CONTAINERS_STORAGE_CONF=$work/plain/storage.conf")
  ok import "$work/image.tar" base
  ok run --rm --uidmap 0:100000:65536 --gidmap 0:100000:65536 base sh -c 'cat /proc/self/uid_map; touch /data/x && stat -c %u /data/x /data/file'
  expect_eq "a user namespace" "$(tr -s ' ' <<<"$out" | tr '\n' ' ')" " 0 100000 65536 0 0 "
  as=()
}

case_build() {
  mkdir -p "$work/context"
  echo content >"$work/context/file"
  printf 'FROM localhost/base\nCOPY file /copied\nRUN cat /copied >/ran && rm /data/file && mv /data /moved\nCMD ["cat", "/ran"]\n' >"$work/context/Containerfile"
  ok build -q --network none -t built "$work/context"
  ok run --rm built
  expect_eq "built" "$out" content
  ok run --rm built sh -c 'ls /moved; ls /data 2>/dev/null || echo gone'
  expect_eq "moved and removed" "$out" gone
}

case_killed_server_gives_errors() {
  ok run -d --name victim base sleep 1000
  pkill -KILL -f "snap-fuse.*merged" || fail "there is no server"
  pm exec victim cat /data/file
  ((status != 0)) || fail "a tree without a server is read"
  ok rm -f -t 0 victim
}

case_as_an_ordinary_user() {
  [ -c /dev/fuse ] || fail "there is no /dev/fuse"
  useradd --create-home --base-dir "$work" "$user"
  # useradd gives ranges as /etc/login.defs says.
  grep -q "^$user:" /etc/subuid || usermod --add-subuids 3000000-3065535 --add-subgids 3000000-3065535 "$user"
  local home=$work/$user mode
  mode=$(stat -c %a /dev/fuse)
  mount --bind /dev/fuse /dev/fuse
  chmod 0666 /dev/fuse
  mkdir -m 0700 "$home/xdg"
  write_config "$home/podman"
  chown -R "$user:$user" "$home"
  as=(setpriv --reuid "$user" --regid "$user" --init-groups env "HOME=$home" "XDG_RUNTIME_DIR=$home/xdg"
    "CONTAINERS_CONF=$home/podman/containers.conf" "CONTAINERS_STORAGE_CONF=$home/podman/storage.conf")
  ok import "$work/image.tar" base
  ok run --rm base sh -c 'id -u; touch /data/x; stat -c %u /data/x; cat /data/file'
  expect_eq "root inside" "$out" $'0\n0\nfrom the image'
  ok run --rm --user 7 base sh -c 'id -u; cat /data/file'
  expect_eq "another user inside" "$out" $'7\nfrom the image'
  ok run --rm --userns=keep-id base id -u
  expect_eq "the same user" "$out" "$(id -u "$user")"
  ok run -d --name mine base sleep 1000
  ok exec mine sh -c 'echo made >/data/made; cat /data/made'
  ok rm -f -t 0 mine
  ok unshare rm -rf "$home/podman/graph" "$home/podman/run"
  as=()
  chmod "$mode" /dev/fuse
}

run_cases
