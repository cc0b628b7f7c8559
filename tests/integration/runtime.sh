#!/bin/bash
# snap-runtime as its callers use it: the life of a container, exec, limits, hooks, terminals, what is refused, kills of the launcher at
# every step, and that nothing is ever left.
. "$(dirname "$0")/lib.sh"
runtime=$SNAP_BINARY_DIR/tools/snap-runtime
state=$work/state
prefix=snap-test-$RANDOM$RANDOM
bundle=$work/bundle
chmod 0711 "$work"  # ids of a user namespace pass through
mkdir -p "$bundle/rootfs"/{bin,etc,proc,sys,dev,tmp}
cp "$(command -v busybox)" "$bundle/rootfs/bin/busybox"
for applet in sh cat ls echo sleep id true false ps touch kill env pwd tty grep mknod head hostname stat readlink mount umount trap; do
  ln -s busybox "$bundle/rootfs/bin/$applet"
done
echo secret >"$work/canary"

# rt ARG...: sets $out, $err, $status; a hang is a failure.
rt() {
  status=0
  timeout -k 5 60 "$runtime" --root "$state" "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
  out=$(<"$work/out") err=$(<"$work/err")
  [[ ${SNAP_FAULT:-} == *:kill ]] || ((status != 124 && status != 137)) || fail "snap-runtime $* hangs"
}
ok() {
  rt "$@"
  ((status == 0)) || fail "snap-runtime $*: exit status $status, says: $err"
}
refused() {
  local text=$1
  shift
  rt "$@"
  ((status != 0)) || fail "snap-runtime $* succeeds"
  [[ $err == *"$text"* ]] || fail "snap-runtime $* says '$err', not '$text'"
}
# config PYTHON: config.json of one that runs $args, changed by the statement on `c`.
config() {
  rm -f "$bundle/config.json"
  "$runtime" spec --bundle "$bundle"
  python3 - "$bundle/config.json" "/$prefix" "$1" "${args[@]}" <<'END'
import json, sys
path, cgroups, change, args = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
c = json.load(open(path))
c["process"].update(terminal=False, args=args)
del c["process"]["rlimits"]
c["root"]["readonly"] = False
c["linux"]["cgroupsPath"] = cgroups
exec(change)
json.dump(c, open(path, "w"))
END
}
args=(sleep 1000)
field() { python3 -c 'import json,sys; print(json.load(sys.stdin).get(sys.argv[1], ""))' "$1" <<<"$out"; }
cgroups() { find /sys/fs/cgroup -depth -type d -name "$prefix*"; }
nothing_left() {
  expect_eq "states" "$(ls "$state" 2>/dev/null)" ""
  expect_eq "cgroups" "$(cgroups)" ""
  expect_eq "mounts" "$(grep -c "$bundle" /proc/self/mountinfo)" 0
  expect_eq "canary" "$(<"$work/canary")" secret
}
trap 'rt_status=$?; cgroups | while read -r d; do while read -r p; do kill -KILL "$p" 2>/dev/null; done <"$d/cgroup.procs"; rmdir "$d" 2>/dev/null; done; cleanup "$rt_status"' EXIT

case_life_of_a_container() {
  config pass
  ok create --bundle "$bundle" --pid-file "$work/pid" one
  ok state one
  expect_eq "status" "$(field status)" created
  expect_eq "pid file" "$(<"$work/pid")" "$(field pid)"
  expect_eq "no line end" "$(wc -l <"$work/pid")" 0
  expect_eq "nothing of it runs" "$(readlink "/proc/$(field pid)/exe" | grep -c busybox)" 0
  refused "already exists" create --bundle "$bundle" one
  ok start one
  ok state one
  expect_eq "status" "$(field status)" running
  expect_eq "its program runs" "$(tr '\0' ' ' <"/proc/$(field pid)/cmdline")" "sleep 1000 "
  refused "already running" start one
  refused "not stopped: running" delete one
  ok list --format json
  expect_eq "list" "$(python3 -c 'import json,sys; print([c["id"] for c in json.load(sys.stdin)])' <<<"$out")" "['one']"
  ok ps --format json one
  expect_match "processes" "$out" '^\[[0-9]+\]$'
  ok kill one KILL
  wait_for "its end" stopped one
  refused "container not running" kill one
  refused "has stopped" start one
  refused "stopped container" exec one true
  ok delete one
  refused "does not exist" state one
  refused "does not exist" delete one
  ok delete --force one
  nothing_left
}
stopped() {
  rt state "$1"
  [ "$(field status)" = stopped ]
}

case_run_and_exec() {
  args=(sh -c 'echo out; echo err >&2; exit 7'); config pass
  rt run --bundle "$bundle" two
  expect_eq "status, output, errors" "$status $out $err" "7 out err"
  args=(sh -c 'kill -TERM $$'); config 'c["linux"]["namespaces"] = [n for n in c["linux"]["namespaces"] if n["type"] != "pid"]'
  rt run --bundle "$bundle" two
  expect_eq "128 + signal" "$status" 143
  args=(sleep 1000); config pass
  ok run --detach --bundle "$bundle" two
  ok exec two sh -c '[ "$(readlink /proc/self/ns/pid)" = "$(readlink /proc/1/ns/pid)" ] && echo 1; id -u; pwd'
  expect_eq "same namespaces" "$out" $'1\n0\n/'
  rt exec --user 12:34 --cwd /tmp --env A=b two sh -c 'id -u; id -g; pwd; echo $A; exit 9'
  expect_eq "as asked" "$status $(tr '\n' ' ' <<<"$out")" "9 12 34 /tmp b "
  rt exec two sh -c 'grep -E "Cap(Inh|Amb)" /proc/self/status'
  expect_eq "nothing inheritable" "$(grep -c 0000000000000000 <<<"$out")" 2
  ok exec --detach --pid-file "$work/pid" two sleep 5
  expect_match "pid file" "$(<"$work/pid")" '^[0-9]+$'
  rt exec two nosuch
  expect_eq "not found" "$status $err" '255 exec: "nosuch": executable file not found in $PATH'
  for user in -1 4294967295 0x0 1: +0 1:a; do refused "no id" exec --user "$user" two true; done
  ok delete --force two
  nothing_left
}

case_programs_that_are_not_there() {
  args=(nosuch); config pass
  refused 'executable file not found in $PATH' create --bundle "$bundle" three
  args=(/no/such); config pass
  refused 'no such file or directory' create --bundle "$bundle" three
  args=(/etc); config pass
  refused 'is a directory' create --bundle "$bundle" three
  echo text >"$bundle/rootfs/etc/file"
  args=(/etc/file); config pass
  refused 'permission denied' create --bundle "$bundle" three
  nothing_left
}

case_errors_are_logged_as_engines_read_them() {
  config 'c["process"]["user"]["uid"] = -1'
  rt --log "$work/log" --log-format json create --bundle "$bundle" four
  expect_eq "one object" "$(python3 -c 'import json,sys; o = json.load(open(sys.argv[1])); print(o["level"], o["msg"])' "$work/log")" "error $err"
  expect_match "names the member" "$err" '^process.user.uid: '
  nothing_left
}

case_limits() {
  args=(sh -c 'cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/memory.max; i=0; while [ $i -lt 30 ]; do sleep 100 & i=$((i+1)); done; echo unlimited')
  config 'c["linux"]["resources"].update(pids={"limit": 10}, memory={"limit": 33554432})'
  rt run --bundle "$bundle" five
  expect_eq "limits seen inside" "$(head -2 <<<"$out" | tr '\n' ' ')" "10 33554432 "
  expect_no_match "a fork bomb ends" "$out" unlimited
  nothing_left
  args=(sleep 1000); config pass
  ok run --detach --bundle "$bundle" five
  ok update --pids-limit 20 five
  ok exec five sh -c 'cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max'
  expect_eq "updated" "$out" 20
  ok events --stats five
  expect_eq "figures" "$(python3 -c 'import json,sys; o = json.load(sys.stdin); print(o["type"], o["data"]["pids"])' <<<"$out")" "stats {'current': 1, 'limit': 20}"
  ok pause five
  ok state five
  expect_eq "frozen" "$(field status)" paused
  refused "paused" exec five true
  refused "not running or created" pause five
  ok resume five
  refused "not paused" resume five
  ok delete --force five
  for path in ../x /.. a/../../b; do
    config "c['linux']['cgroupsPath'] = '$path'"
    refused "must not lead upwards" create --bundle "$bundle" five
  done
  nothing_left
}

case_devices() {
  mkdir -p "$bundle/rootfs/dev"
  args=(sh -c 'echo x >/dev/null && head -c 1 /dev/zero | wc -c; mknod /tmp/disk b 7 0 && (cat /tmp/disk >/dev/null) 2>&1; ls -l /dev/ptmx; [ -c /dev/fuse ] && stat -c %a /dev/fuse')
  config 'c["linux"]["devices"] = [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 384}]
for s in c["process"]["capabilities"].values(): s.append("CAP_MKNOD")'
  rt run --bundle "$bundle" six
  expect_match "no device that is not given" "$out" 'Operation not permitted'
  expect_match "the container's own terminals" "$out" '/dev/ptmx -> pts/ptmx'
  expect_eq "a given one" "$(tail -1 <<<"$out")" 600
  rm -f "$bundle/rootfs/tmp/disk"
  nothing_left
}

case_mounts() {
  mkdir -p "$work/source/sub" "$bundle/rootfs/up"
  echo covered >"$bundle/rootfs/up/file"
  echo content >"$work/source/file"
  args=(sh -c 'cat /data/file; touch /data/x 2>&1; touch /tmpfs/x && ls /tmpfs; cat /copy/file; ls /one')
  config "c['mounts'] += [{'destination': '/data', 'source': '$work/source', 'options': ['rbind', 'ro']},
    {'destination': '/tmpfs', 'type': 'tmpfs', 'source': 'tmpfs', 'options': ['size=1m']},
    {'destination': '/up', 'type': 'tmpfs', 'source': 'tmpfs', 'options': ['tmpcopyup']},
    {'destination': '/copy', 'source': '$bundle/rootfs/up', 'options': ['bind']},
    {'destination': '/one', 'source': '$work/source/file', 'options': ['bind']}]"
  rt run --bundle "$bundle" seven
  expect_eq "mounts" "$out" $'content\ntouch: /data/x: Read-only file system\nx\ncovered\n/one'
  for destination in /proc/sys /proc/self/attr /proc / ../x; do
    config "c['mounts'].append({'destination': '$destination', 'type': 'tmpfs', 'source': 'tmpfs'})"
    refused "mount '$destination'" create --bundle "$bundle" seven
  done
  config "c['mounts'].append({'destination': '/x', 'source': '/no/such', 'options': ['bind']})"
  refused "'/no/such'" create --bundle "$bundle" seven
  rm -rf "$bundle/rootfs"/{up,tmpfs,copy,one,data}
  nothing_left
}

# An image that is out for the host: links in every place that is mounted on or made in.
case_links_in_the_rootfs_lead_nowhere() {
  local place target
  mkdir -p "$work/outside"
  for place in proc sys dev; do
    for target in "$work/outside" ../../../../../../../../../.. /proc/self/root "$place"; do
      mv "$bundle/rootfs/$place" "$work/kept"
      ln -s "$target" "$bundle/rootfs/$place"
      config pass
      rt create --bundle "$bundle" eight
      ((status != 0)) || fail "a rootfs whose /$place leads to $target is started"
      rm "$bundle/rootfs/$place"
      mv "$work/kept" "$bundle/rootfs/$place"
      expect_eq "nothing made outside" "$(ls "$work/outside")" ""
    done
  done
  # Where links are followed, they are followed inside.
  ln -s "$work/outside/deep" "$bundle/rootfs/volume"
  args=(sh -c "ls -d $work/outside/deep"); config "c['mounts'].append({'destination': '/volume', 'type': 'tmpfs', 'source': 't'})"
  rt run --bundle "$bundle" eight
  expect_eq "inside" "$status $out" "0 $work/outside/deep"
  expect_eq "nothing made outside" "$(ls "$work/outside")" ""
  rm -rf "$bundle/rootfs/volume" "$bundle/rootfs/tmp/"* "$bundle/rootfs/${work#/}"
  nothing_left
}

# CVE-2024-21626: a working directory, or a program, through a descriptor that the launcher left open.
case_descriptors_of_the_launcher_are_closed() {
  local fd
  exec 9<"$work"
  for fd in 3 4 5 6 7 8 9 10 11 12 16 24; do
    args=(sh -c 'pwd; stat /proc/self/cwd/canary 2>/dev/null && echo ESCAPED'); config "c['process']['cwd'] = '/proc/self/fd/$fd'"
    rt run --bundle "$bundle" nine
    expect_no_match "descriptor $fd" "$out" ESCAPED
    args=("/proc/self/fd/$fd/canary"); config pass
    rt run --bundle "$bundle" nine
    ((status != 0)) || fail "a program of the host is run by descriptor $fd"
  done
  args=(sh -c 'ls /proc/self/fd'); config pass
  rt run --bundle "$bundle" nine
  exec 9<&-
  expect_eq "0, 1, 2 and the listing's own" "$(tr '\n' ' ' <<<"$out")" "0 1 2 3 "
  rm -rf "$bundle/rootfs/proc/self"
  nothing_left
}

case_hooks() {
  cat >"$work/hook" <<END
#!/bin/sh
echo "\$1 \$(cat | python3 -c 'import json,sys; s = json.load(sys.stdin); print(s["status"], s["id"], "pid" in s)')" >>"$work/hooks"
[ "\$1" != "$work/fail" ]
END
  chmod +x "$work/hook"
  : >"$work/hooks"
  local hooks="c['hooks'] = {k: [{'path': '$work/hook', 'args': ['hook', k], 'env': ['PATH=/usr/bin:/bin']}] for k in ('prestart', 'createRuntime', 'createContainer', 'poststart', 'poststop')}"
  args=(true); config "$hooks"
  ok run --bundle "$bundle" ten
  expect_eq "in order, with the state" "$(<"$work/hooks")" $'prestart creating ten True\ncreateRuntime creating ten True\ncreateContainer creating ten True\npoststart running ten True\npoststop stopped ten False'
  config "$hooks
c['hooks']['createRuntime'][0]['args'][1] = '$work/fail'"
  refused "createRuntime hook" create --bundle "$bundle" ten
  config "c['hooks'] = {'prestart': [{'path': '/bin/sleep', 'args': ['sleep', '100'], 'timeout': 1}]}"
  refused "took more than 1 seconds" create --bundle "$bundle" ten
  config "c['hooks'] = {'startContainer': [{'path': '/bin/false'}]}"
  ok create --bundle "$bundle" ten
  refused "startContainer hook" start ten
  ok delete --force ten
  nothing_left
}

case_seccomp() {
  local nnp
  for nnp in True False; do
    args=(sh -c 'mount -t tmpfs t /tmp 2>&1; grep Seccomp: /proc/self/status'); config 'c["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}
for s in c["process"]["capabilities"].values(): s.append("CAP_SYS_ADMIN")
c["process"]["noNewPrivileges"] = '$nnp
    rt run --bundle "$bundle" eleven
    expect_match "the call is refused" "$out" 'not supported'
    expect_match "a filter is there" "$out" 'Seccomp:.2'
  done
  nothing_left
}

case_user_namespaces() {
  args=(sh -c 'cat /proc/self/uid_map; id -u; touch /tmp/made; ls /dev/null; touch /tmp/made')
  config "c['linux']['namespaces'].append({'type': 'user'})
c['linux']['uidMappings'] = c['linux']['gidMappings'] = [{'containerID': 0, 'hostID': 100000, 'size': 65536}]"
  chmod 777 "$bundle/rootfs/tmp"
  rt run --bundle "$bundle" twelve
  expect_eq "mapped" "$status $(tr -s ' ' <<<"$out" | tr '\n' ' ')" "0  0 100000 65536 0 /dev/null "
  expect_eq "owner on the host" "$(stat -c %u "$bundle/rootfs/tmp/made")" 100000
  rm -f "$bundle/rootfs/tmp/made"
  config "c['linux']['namespaces'].append({'type': 'user'})"
  refused "linux.uidMappings" create --bundle "$bundle" twelve
  nothing_left
}

# The launcher is killed, or a step fails, at every step: what is left is found by delete, and nothing of the image has run.
case_every_step_fails_closed() {
  local step
  args=(sh -c 'touch /tmp/ran; sleep 1000')
  config pass
  for step in dumpable signals cgroup join unshare state session keyring hostname loopback propagation rootfs file_systems sysctls oom_score \
    root pivot old_root mounts devices masked_paths read_only_paths console label working_dir streams descriptors limits scheduling seccomp \
    bounding_set groups gid uid capabilities no_new_privileges personality program; do
    SNAP_FAULT=runtime.child.$step:error=5 rt create --bundle "$bundle" thirteen
    ((status != 0)) || fail "step $step fails and the container is created"
    expect_match "$step" "$err" '(Input/output error|thirteen)'
    SNAP_FAULT=runtime.child.$step:kill rt create --bundle "$bundle" thirteen
    ((status != 0)) || fail "the first process dies at step $step and the container is created"
    nothing_left
  done
  for step in runtime.cgroup.create runtime.cgroup.apply runtime.prepare.report runtime.prepare.clone runtime.create.before_record; do
    SNAP_FAULT=$step:error=5 rt create --bundle "$bundle" thirteen
    ((status != 0)) || fail "$step fails and the container is created"
    nothing_left
    SNAP_FAULT=$step:kill rt create --bundle "$bundle" thirteen || true
    status=0
    ok delete --force thirteen
    nothing_left
  done
  expect_eq "nothing of the image ran" "$(ls "$bundle/rootfs/tmp")" ""
}

case_bad_command_lines() {
  refused "flag provided but not defined" create --bundel x id
  refused "is invalid" create --bundle "$bundle" ../x
  refused "no command 'nosuch'" nosuch
  refused "usage:" state
  refused "not supported" checkpoint x
  refused "unknown signal" kill x NOSUCH
  rt features
  expect_eq "features" "$(python3 -c 'import json,sys; print(json.load(sys.stdin)["linux"]["seccomp"]["enabled"])' <<<"$out")" True
  rt --version
  expect_match "version" "$out" $'^snap-runtime version .*\ncommit: .*\nspec: 1'
}

run_cases
