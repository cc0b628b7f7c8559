#!/bin/bash
# snap mount and umount: whole images, parts of them, containers; records, refusals and cleaning up.
. "$(dirname "$0")/lib.sh"
make_layout
"$SNAP" import -q "oci:$layout:app" app >/dev/null
mkdir "$work/mnt"

case_prints_a_directory_of_its_own() {
  expect_ok mount app
  local target=$out
  expect_match "under the run directory" "$target" "^$SNAP_ROOT/run/mnt/[0-9a-f]{12}\$"
  expect_eq "content" "$(<"$target/etc/motd")" "hello from app"
  expect_eq "whiteout" "$(ls "$target/dir")" b
  expect_eq "opaque directory" "$(ls "$target/app")" two
  expect_eq "read-only" "$(touch "$target/x" 2>&1 | grep -o 'Read-only file system')" "Read-only file system"
  expect_match "set-id and devices do not work" "$(findmnt -no OPTIONS "$target")" 'nosuid,nodev'
  expect_ok umount "$target"
  expect_eq "gone" "$(ls "$SNAP_ROOT/run/mnt")" ""
  expect_clean
}

case_mounts_at_a_directory() {
  expect_ok mount app "$work/mnt"
  expect_eq "prints it" "$out" "$work/mnt"
  expect_ok mount
  expect_match "is listed" "$out" "[0-9a-f]{12} +app +all +ro .* $work/mnt"
  expect_ok mount --format json
  expect_eq "as JSON" "$(json 0.target)" "$work/mnt"
  local id
  id=$(json 0.id)
  expect_ok umount "${id:0:6}"
  expect_eq "by a prefix of its id" "$out" "$work/mnt"
  expect_eq "the directory stays" "$(ls -d "$work/mnt")" "$work/mnt"
  expect_ok mount
  expect_eq "nothing is listed" "$(wc -l <<<"$out")" 1
}

case_relative_directories_and_symlinks() {
  ln -s mnt "$work/link"
  (cd "$work" && "$SNAP" mount app link >/dev/null)
  expect_ok mount --format json
  expect_eq "resolved" "$(json 0.target)" "$work/mnt"
  (cd "$work" && "$SNAP" umount ./link >/dev/null)
  expect_clean
}

case_parts_of_an_image() {
  local target
  expect_ok mount --upto 2 app && target=$out
  expect_eq "as it was after layer 2" "$(ls "$target/app") $(<"$target/etc/motd")" "one hello from app"
  expect_ok mount --only 2 app && target=$out
  expect_eq "layer 2 alone" "$(cd "$target" && find . -type f | sort | xargs)" "./app/one ./etc/motd"
  expect_eq "whiteouts applied" "$(ls "$target/dir")" ""
  if [[ ${SNAP_BACKEND:-} == fuse && ${SNAP_LAYER_FORMAT:-packed} != tree ]]; then
    expect_status 1 mount --layer 2 app
    expect_match "says who could" "$err" "can only be shown by EROFS"
    SNAP_BACKEND=overlay expect_ok mount --layer 2 app && target=$out
  else
    expect_ok mount --layer 2 app && target=$out
  fi
  expect_eq "layer 2 as stored" "$(stat -c '%F %t:%T' "$target/dir/a")" "character special file 0:0"
  expect_eq "read-only" "$(touch "$target/x" 2>&1 | grep -o 'Read-only file system')" "Read-only file system"
  expect_ok mount
  expect_match "listing says which" "$out" 'app +layer 2 +ro'
  expect_ok umount -a
  expect_eq "all" "$(wc -l <<<"$out")" 3
  expect_clean
}

case_wrong_parts() {
  expect_status 3 mount --upto 4 app
  expect_match "how many there are" "$err" "has no layer 4: it has 3"
  expect_status 2 mount --upto 0 app
  expect_status 2 mount --upto 1 --only 1 app
  expect_status 2 mount --layer 1 --rw app
  expect_status 3 mount nonexistent
  expect_status 3 mount app "$work/nonexistent"
  expect_status 2 mount app "$work/base.tar"
  expect_clean
}

# What a host without overlayfs, or one that does not allow it, answers.
case_fuse_where_overlayfs_is_refused() {
  [[ ${SNAP_BACKEND:-} != fuse ]] || return 0
  local target errno
  for errno in 19 1; do  # ENODEV, EPERM
    SNAP_FAULT=overlay.mount_stacked:error=$errno@0 expect_ok mount app && target=$out
    expect_match "says why" "$err" '^snap: using FUSE, which is slower: .*overlay.mount_stacked'
    expect_eq "once" "$(wc -l <<<"$err")" 1
    expect_eq "by FUSE" "$(findmnt -no FSTYPE "$target")" fuse.snap-fuse
    expect_eq "content" "$(<"$target/etc/motd")" "hello from app"
    expect_ok umount "$target"
  done
  SNAP_FAULT=overlay.mount_stacked:error=19@0 expect_status 1 mount --backend overlay app
  SNAP_FAULT=overlay.mount_stacked:error=28@0 expect_status 7 mount app
  expect_eq "another failure is none to go round" "$(grep -c FUSE <<<"$err")" 0
  SNAP_FAULT=overlay.mount_stacked:error=19@0 expect_ok run --rm app one
  expect_eq "containers too" "$out" "entry one"
  expect_clean
}

case_writable_mounts_forget() {
  local target
  expect_ok mount --rw app && target=$out
  echo scratch >"$target/etc/motd"
  rm "$target/dir/b"
  expect_eq "written" "$(<"$target/etc/motd")" scratch
  expect_ok system check
  expect_ok system gc
  expect_eq "not taken for garbage" "$(<"$target/etc/motd")" scratch
  expect_ok system df
  expect_match "is counted" "$out" 'mounts +1 '
  expect_ok umount "$target"
  expect_ok mount app && target=$out
  expect_eq "the image has not changed" "$(<"$target/etc/motd") $(ls "$target/dir")" "hello from app b"
  expect_ok umount -a
  expect_clean
}

case_mounted_images_stay() {
  expect_ok tag app second-name
  expect_ok mount app "$work/mnt"
  expect_ok rmi second-name
  expect_status 4 rmi app
  expect_match "says where" "$err" "is mounted at '$work/mnt'"
  expect_match "says what to do" "$err" "hint: 'snap umount [0-9a-f]{12}' first"
  expect_status 4 rmi -f app
  expect_ok umount "$work/mnt"
}

case_busy_mounts_say_so() {
  expect_ok mount app "$work/mnt"
  exec 9<"$work/mnt/etc/motd"
  expect_status 4 umount "$work/mnt"
  expect_match "hint" "$err" "hint: 'fuser -vm $work/mnt'"
  exec 9<&-
  expect_ok umount "$work/mnt"
  expect_status 3 umount "$work/mnt"
  expect_status 2 umount
  expect_status 2 umount -a "$work/mnt"
}

case_foreign_unmounts_are_noticed() {
  local target
  expect_ok mount --rw app && target=$out
  umount "$target"
  expect_ok mount
  expect_eq "not listed any more" "$(wc -l <<<"$out")" 1
  expect_eq "its directory went" "$(ls "$SNAP_ROOT/run/mnt")" ""
  expect_clean
}

case_something_mounted_over_it() {
  expect_ok mount app "$work/mnt"
  mount -t tmpfs none "$work/mnt"
  expect_status 4 umount "$work/mnt"
  expect_match "why" "$err" "something else is mounted over"
  umount "$work/mnt"
  expect_ok umount "$work/mnt"
}

case_other_mount_namespaces() {
  # A process that keeps a private namespace with a mount of ours.
  mkfifo "$work/ready" "$work/go"
  unshare -m --propagation private bash -c '
    "$SNAP" mount app "$1/mnt" >/dev/null; echo ready >"$1/ready"; read -r _ <"$1/go"' _ "$work" &
  local holder=$!
  read -r _ <"$work/ready"
  expect_ok mount
  expect_match "is listed with its namespace" "$out" 'mnt:\[[0-9]+\]'
  expect_status 4 rmi app
  expect_status 8 umount "$work/mnt"
  echo go >"$work/go"
  wait "$holder"
  expect_ok mount
  expect_eq "gone with its namespace" "$(wc -l <<<"$out")" 1
}

case_records_of_another_boot_are_garbage() {
  expect_ok mount --rw app "$work/mnt"
  umount "$work/mnt"
  rm -r "$SNAP_ROOT/run"
  expect_match "an upper without a record" "$(ls "$SNAP_ROOT/snapshots")" '^mount-'
  expect_ok system gc --dry-run --format json
  expect_eq "is seen" "$(json uppers)" 1
  expect_ok system gc
  expect_clean
}

case_containers() {
  local target
  expect_ok run --name kept --entrypoint write -u 0 app /etc/changed yes
  expect_ok mount kept && target=$out
  expect_eq "with its changes" "$(<"$target/etc/changed")" yes
  expect_eq "read-only" "$(touch "$target/x" 2>&1 | grep -o 'Read-only file system')" "Read-only file system"
  expect_status 4 rm kept
  expect_match "why" "$err" "is mounted at"
  expect_ok umount "$target"
  expect_ok mount --rw kept && target=$out
  echo more >"$target/etc/more"
  expect_ok umount "$target"
  expect_ok mount kept && target=$out
  expect_eq "changes stay" "$(<"$target/etc/more")" more
  expect_status 2 mount --upto 1 kept
  expect_ok umount -a
  expect_ok rm kept
  expect_clean
}

run_cases
