// openat2 does every resolution; this file only walks the text, one prefix at a time, to learn which component is
// missing. A dangling symlink is the hard case: openat2 says ENOENT, mkdir would say EEXIST. Its text is spliced into
// the path and the walk starts again from the root, as Docker's resolver does, so an image's /etc/resolv.conf ->
// ../run/systemd/resolve/stub-resolv.conf gets its file.
#include "runtime/target.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <span>

#include "fs/base/sys_child.h"
#include "fs/base/sys_file.h"

namespace snap::runtime {
namespace {

constexpr size_t kMaxPath = 4096;
constexpr int kMaxLinks = 40;   // the kernel's own limit
constexpr int kMaxRaces = 128;  // tries, when somebody with a bind mount of the same directory removes the names again

struct Path {
  char text[kMaxPath];
  size_t size = 0;
  bool Append(const char* data, size_t count) {
    if (size + count >= kMaxPath) return false;
    std::memcpy(text + size, data, count);
    size += count;
    text[size] = '\0';
    return true;
  }
};

// Puts the link's target in place of the component [start, end) of `path`.
bool Splice(Path& path, size_t start, size_t end, const char* link, size_t link_size) {
  Path out;
  const bool absolute = link_size > 0 && link[0] == '/';
  if (!absolute && !out.Append(path.text, start)) return false;
  if (!out.Append(link, link_size) || !out.Append(path.text + end, path.size - end)) return false;
  std::memcpy(path.text, out.text, out.size + 1);
  path.size = out.size;
  return true;
}

enum class Walk { kMade, kSpliced };

// Makes every missing component of `path`, or splices the first dangling symlink and stops.
SysResult<Walk> MakeMissing(FdRef root, Path& path, TargetKind kind, uint64_t resolve) {
  UniqueFd parent_owner;
  FdRef parent = root;
  int tries = 0;
  for (size_t start = 0;;) {
    while (path.text[start] == '/') ++start;
    if (path.text[start] == '\0') return Walk::kMade;
    size_t end = start;
    while (path.text[end] != '/' && path.text[end] != '\0') ++end;
    size_t after = end;
    while (path.text[after] == '/') ++after;
    const bool last = path.text[after] == '\0';

    const char separator = path.text[end];
    path.text[end] = '\0';
    SysResult<UniqueFd> next = sys::OpenAt2(root, path.text, O_PATH, resolve);
    if (next.ok()) {
      path.text[end] = separator;
      parent_owner = *std::move(next);
      parent = parent_owner;
      start = end;
      tries = 0;
      continue;
    }
    if (!(next.error() == ENOENT)) return next.error();

    const char* const name = path.text + start;
    char link[kMaxPath];
    const SysResult<size_t> link_size = sys::ReadLinkInto(parent, name, link);
    if (link_size.ok()) {
      path.text[end] = separator;
      if ((resolve & RESOLVE_NO_SYMLINKS) != 0) return Errno(ELOOP);
      if (!Splice(path, start, end, link, *link_size)) return Errno(ENAMETOOLONG);
      return Walk::kSpliced;
    }
    const SysResult<void> made = last && kind == TargetKind::kFile ? sys::MknodAt(parent, name, S_IFREG | 0644, 0)
                                                                   : sys::MkdirAt(parent, name, 0755);
    path.text[end] = separator;
    if (!made.ok() && !(made.error() == EEXIST)) return made.error();
    if (++tries > kMaxRaces) return Errno(EAGAIN);
  }
}

}  // namespace

SysResult<UniqueFd> OpenOrMakeTarget(FdRef root, const char* path, TargetKind kind, Symlinks symlinks) {
  const uint64_t resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS |
                           (symlinks == Symlinks::kRefuse ? uint64_t{RESOLVE_NO_SYMLINKS} : 0);
  Path walked;
  if (!walked.Append(path, std::strlen(path))) return Errno(ENAMETOOLONG);
  int links = 0;
  for (int tries = 0; tries < kMaxRaces;) {
    SysResult<UniqueFd> target = sys::OpenAt2(root, walked.text, O_PATH, resolve);
    if (target.ok()) {
      SNAP_TRY(const struct stat status, sys::FStat(*target));
      const bool is_directory = S_ISDIR(status.st_mode);
      if (is_directory == (kind == TargetKind::kDirectory)) return target;
      return Errno(is_directory ? EISDIR : ENOTDIR);
    }
    if (!(target.error() == ENOENT)) return target;
    SNAP_TRY(const Walk walk, MakeMissing(root, walked, kind, resolve));
    if (walk == Walk::kSpliced && ++links > kMaxLinks) return Errno(ELOOP);
    if (walk == Walk::kMade) ++tries;
  }
  return Errno(EAGAIN);
}

}  // namespace snap::runtime
