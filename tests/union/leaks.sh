#!/bin/bash
# What the server holds is bounded by what is in use, not by what was ever looked at: descriptors and memory after many files and
# directories were opened, changed and forgotten; mapped files pin no descriptors of the server where data passes it by.
#   usage: leaks.sh        (UNION: a FUSE program, see union.sh; FILES: how many)
. "$(dirname "$0")/union.sh"
[ "$UNION" != kernel ] || { echo "the kernel is no process whose descriptors could be counted"; exit 77; }
files=${FILES:-20000}
cd "$work"
mkdir -p low u w m
(cd low && seq 1 $((files / 100)) | xargs mkdir && for d in *; do (cd "$d" && seq -f 'f%.0f' 1 100 | xargs touch); done)
head -c 100000 /dev/zero | tee low/1/f{1..100} >/dev/null
union_mount "$PWD/low" "$PWD/u" "$PWD/w" "$PWD/m"

descriptors() { find "/proc/$server/fd" -mindepth 1 -printf x 2>/dev/null | wc -c; }
resident_kib() { awk '/^VmRSS/ {print $2}' "/proc/$server/status"; }
# The kernel forgets the names and inodes of this mount alone; the server hears of it by and by: until the number of descriptors stays.
forget() {
  local last=-1 now waited
  mount -i -o remount,noatime,nodev "$PWD/m"
  for ((waited = 0; waited < 50; waited++)); do
    now=$(descriptors)
    [ "$now" != "$last" ] || return 0
    last=$now
    sleep 0.1  # as long as it changes
  done
}
round() { # NAME COMMAND...: three times; the third must not need more than the second
  local name=$1 after=() i limit
  shift
  for i in 1 2 3; do
    "$@"
    forget
    after[i]="$(descriptors) $(resident_kib)"
  done
  echo "$name: descriptors and KiB after each round: ${after[1]}, ${after[2]}, ${after[3]}"
  limit=$((${after[2]% *} + 20))
  [ "${after[3]% *}" -le "$limit" ] || fail "$name: descriptors grow: ${after[2]% *}, then ${after[3]% *}"
  limit=$((${after[2]#* } * 11 / 10 + 4096))
  [ "${after[3]#* }" -le "$limit" ] || fail "$name: memory grows: ${after[2]#* } KiB, then ${after[3]#* } KiB"
}
walk() { find m -type f -size -1 -exec cat {} + >/dev/null; }
list() { find m -ls >/dev/null; }
missing() { local i; for ((i = 0; i < files / 4; i++)); do [ ! -e "m/1/never-$i" ] || fail "never-$i is there"; done; }
change() { find m -type f -size -1 -exec chmod 600 {} +; }
churn() { # make and remove
  local i
  mkdir m/churn
  (cd m/churn && seq 1 $((files / 4)) | xargs touch && seq 1 $((files / 40)) | sed 's/^/d/' | xargs mkdir)
  rm -r m/churn
}
start="$(descriptors) $(resident_kib)"
echo "at the start: descriptors and KiB: $start"
round list list
round walk walk
round missing missing
round change change
round churn churn
[ "$(descriptors)" -le $((${start% *} + 20000)) ] || fail "$(descriptors) descriptors at the end"

# Held open and mapped, all at once, by a process that waits for its end of input.
mkdir m/maps
head -c 65536 /dev/urandom >m/maps/one
for ((i = 0; i < 2000; i++)); do echo "m/maps/f$i"; done | xargs -n 200 sh -c 'tee "$@" <m/maps/one >/dev/null' sh
before=$(descriptors)
mkfifo gate
python3 - "$work/m/maps" gate <<'END' &
import mmap, os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (8192, max(8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
maps = []
for i in range(2000):
    fd = os.open(f"{sys.argv[1]}/f{i}", os.O_RDWR)
    maps.append(mmap.mmap(fd, 65536))
    maps[-1][0]
    os.close(fd)
with open(sys.argv[2], "w") as gate: gate.write("ready\n")
with open(sys.argv[2]) as gate: gate.read()
END
holder=$!
read -r _ <gate
during=$(descriptors)
echo "2000 mapped files: $before descriptors before, $during while they are mapped"
if [ -n "${PASSTHROUGH:-}" ]; then
  [ "$during" -le $((before + 50)) ] || fail "mapped files pin $((during - before)) descriptors of the server"
fi
echo done >gate
wait "$holder" || fail "mapping 2000 files"
forget
[ "$(descriptors)" -le $((before + 50)) ] || fail "$(descriptors) descriptors after the mappings have gone, $before before"
cd /
union_unmount "$work/m"
finish
