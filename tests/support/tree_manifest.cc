// Prints one line per file of a tree: everything that two equal trees have in common, nothing that they need not.
//   usage: tree_manifest DIR [--no-dir-mtime] [--st-nlink]
// Fields: path, type, mode, owner, mtime with nanoseconds, size, device, link target, SHA-256 of the content, data
// extents of sparse files, hard link group (number of names in the tree and the first of them), xattrs. Sorted by path.
// --st-nlink adds the link count that the file system tells: overlayfs tells a lower file's own, hidden names included.
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "fs/base/digest.h"
#include "fs/base/quote.h"
#include "fs/base/sys_file.h"

namespace snap {
namespace {

struct Options {
  bool dir_mtime = true;
  bool st_nlink = false;
};

class Printer {
 public:
  explicit Printer(Options options) : options_(options) {}

  /// First pass: who shares an inode with whom.
  Result<void> Group(FdRef dir, const std::string& prefix) {
    return Visit(dir, prefix, [this](FdRef parent, const std::string& name, const std::string& path) -> Result<void> {
      SNAP_TRY_SYS(const struct stat info, sys::StatAt(parent, name.c_str()), "stat {}", Quote(path));
      LinkGroup& group = groups_[{info.st_dev, info.st_ino}];
      if (group.names++ == 0) group.first = path;
      return {};
    });
  }

  /// Second pass: a line for everything below.
  Result<void> Walk(FdRef dir, const std::string& prefix) {
    return Visit(dir, prefix, [this](FdRef parent, const std::string& name, const std::string& path) {
      return Line(parent, name.c_str(), path);
    });
  }

 private:
  template <typename Function>
  Result<void> Visit(FdRef dir, const std::string& prefix, const Function& function) {
    SNAP_TRY_SYS(std::vector<sys::DirEntry> entries, sys::ListDir(dir), "list {}", Quote(prefix));
    std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    for (const sys::DirEntry& entry : entries) {
      const std::string path = prefix.empty() ? entry.name : prefix + "/" + entry.name;
      SNAP_TRY_VOID(function(dir, entry.name, path));
      SNAP_TRY_SYS(const struct stat info, sys::StatAt(dir, entry.name.c_str()), "stat {}", Quote(path));
      if (S_ISDIR(info.st_mode)) {
        SNAP_TRY_SYS(const UniqueFd child,
                     sys::OpenAt(dir, entry.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW), "open {}",
                     Quote(path));
        SNAP_TRY_VOID(Visit(child, path, function));
      }
    }
    return {};
  }

 public:
  Result<void> Line(FdRef dir, const char* name, const std::string& path) {
    SNAP_TRY_SYS(const struct stat info, sys::StatAt(dir, name), "stat {}", Quote(path));
    std::string line = Quote(path.empty() ? "/" : path);
    line += fmt::format(" {:o} {}:{}", static_cast<unsigned>(info.st_mode), info.st_uid, info.st_gid);
    if (!S_ISDIR(info.st_mode) || options_.dir_mtime) {
      line += fmt::format(" {}.{:09}", info.st_mtim.tv_sec, info.st_mtim.tv_nsec);
    }
    if (S_ISREG(info.st_mode)) {
      SNAP_TRY_SYS(const UniqueFd fd, sys::OpenAt(dir, name, O_RDONLY | O_NOFOLLOW), "open {}", Quote(path));
      SNAP_TRY(const std::string content, Content(fd, path));
      line += fmt::format(" size={} {}{}", info.st_size, content, Holes(fd, static_cast<uint64_t>(info.st_size)));
    } else if (S_ISLNK(info.st_mode)) {
      SNAP_TRY_SYS(const std::string target, sys::ReadLinkAt(dir, name), "read link {}", Quote(path));
      line += " -> " + Quote(target);
    } else if (S_ISCHR(info.st_mode) || S_ISBLK(info.st_mode)) {
      line += fmt::format(" device={}:{}", major(info.st_rdev), minor(info.st_rdev));
    }
    const auto group = groups_.find({info.st_dev, info.st_ino});
    if (!S_ISDIR(info.st_mode) && group != groups_.end() && group->second.names > 1) {
      line += fmt::format(" links={} of={}", group->second.names, Quote(group->second.first));
    }
    if (!S_ISDIR(info.st_mode) && options_.st_nlink) line += fmt::format(" nlink={}", info.st_nlink);
    SNAP_TRY_SYS(std::vector<std::string> names, sys::ListXattrAt(dir, name), "list xattrs of {}", Quote(path));
    std::sort(names.begin(), names.end());
    for (const std::string& xattr : names) {
      if (xattr.starts_with("trusted.overlay.")) continue;  // bookkeeping of the union, invisible in a mount
      SNAP_TRY_SYS(const std::string value, sys::GetXattrAt(dir, name, xattr.c_str()), "read xattr of {}",
                   Quote(path));
      line += fmt::format(" {}={}", xattr, Digest::Of(value).Short());
    }
    std::puts(line.c_str());
    return {};
  }

 private:
  static Result<std::string> Content(FdRef fd, const std::string& path) {
    Sha256 hasher;
    std::vector<std::byte> buffer(1U << 20U);
    for (;;) {
      SNAP_TRY_SYS(const size_t got, sys::Read(fd, buffer), "read {}", Quote(path));
      if (got == 0) break;
      hasher.Update(std::span(buffer).first(got));
    }
    return std::move(hasher).Finish().Short();
  }

  // " data=0+4096,8192+100" for files with holes; "" for others.
  static std::string Holes(FdRef fd, uint64_t size) {
    std::string out;
    for (uint64_t at = 0; at < size;) {
      const auto data = sys::Seek(fd, static_cast<int64_t>(at), SEEK_DATA);
      if (!data.ok()) break;  // ENXIO: only a hole is left
      const auto hole = sys::Seek(fd, static_cast<int64_t>(*data), SEEK_HOLE);
      if (!hole.ok()) break;
      if (*data == 0 && *hole >= size) return "";
      out += fmt::format("{}{}+{}", out.empty() ? "" : ",", *data, *hole - *data);
      at = *hole;
    }
    return size == 0 ? "" : " data=" + out;
  }

  Options options_;
  struct LinkGroup {
    std::string first;
    uint64_t names = 0;
  };
  std::map<std::pair<dev_t, ino_t>, LinkGroup> groups_;
};

int Main(int argc, char** argv) {
  Options options;
  const char* dir = nullptr;
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    if (arg == "--no-dir-mtime") {
      options.dir_mtime = false;
    } else if (arg == "--st-nlink") {
      options.st_nlink = true;
    } else {
      dir = argv[i];
    }
  }
  if (dir == nullptr) {
    std::fprintf(stderr, "usage: tree_manifest DIR [--no-dir-mtime] [--st-nlink]\n");
    return 2;
  }
  const auto fd = sys::OpenAt(FdRef::Cwd(), dir, O_RDONLY | O_DIRECTORY);
  if (!fd.ok()) {
    std::fprintf(stderr, "tree_manifest: open %s: %s\n", dir, fd.error().Message().c_str());
    return 1;
  }
  Printer printer(options);
  Result<void> result = printer.Group(*fd, "");
  if (result.ok()) result = printer.Line(*fd, ".", "");
  if (result.ok()) result = printer.Walk(*fd, "");
  if (!result.ok()) std::fprintf(stderr, "tree_manifest: %s\n", result.error().message().c_str());
  return result.ok() ? 0 : 1;
}

}  // namespace
}  // namespace snap

int main(int argc, char** argv) { return snap::Main(argc, argv); }
