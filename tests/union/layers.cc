// Items are applied in order; what is there already stays.
#include "tests/union/layers.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "fs/base/unique_fd.h"
#include "tests/union/tree.h"
#include "tests/union/union_mount.h"

namespace snap::test {
namespace {

namespace files = std::filesystem;

uint64_t Below(Random& random, uint64_t limit) { return random() % limit; }

const char* ItemName(LayerItem::Kind kind) {
  static constexpr std::array kNames = {"file",    "directory", "whiteout", "xattr whiteout", "opaque",
                                        "symlink", "hard link", "fifo",     "device"};
  return kNames[static_cast<size_t>(kind)];
}

void SetTime(const std::string& path, int64_t seconds) {
  const timespec times[2] = {{seconds, 1000}, {seconds, 123456789}};
  (void)utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW);  // what does not exist was left out
}

void MustSetXattr(const std::string& path, const std::string& name, const std::string& value) {
  if (lsetxattr(path.c_str(), name.c_str(), value.data(), value.size(), 0) != 0) {
    Die(fmt::format("set {} on '{}': {}", name, Printable(path), strerror(errno)));
  }
}

void WriteFile(const std::string& path, const LayerItem& item) {
  const UniqueFd file(open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
  if (!file) return;  // a name is taken
  std::string data(item.size, '\0');
  for (size_t i = 0; i < data.size(); ++i)
    data[i] = static_cast<char>((i * 31 + static_cast<size_t>(item.mtime)) >> 2U);
  const ssize_t got = pwrite(file.get(), data.data(), data.size(), static_cast<off_t>(item.hole));
  if (got != static_cast<ssize_t>(data.size()))
    Die(fmt::format("write '{}': {}", Printable(path), strerror(errno)));
  if (item.hole != 0 && item.size % 2 == 0) {
    // A hole at the end as well.
    if (ftruncate(file.get(), static_cast<off_t>(item.hole * 2 + item.size)) != 0)
      Die("truncate a layer's file");
  }
}

void Apply(const std::string& layer, const LayerItem& item) {
  const std::string path = layer + "/" + item.path;
  std::error_code ignored;  // a file where a directory must be: the item is left out below
  files::create_directories(files::path(path).parent_path(), ignored);
  struct stat info {};
  const bool exists = lstat(path.c_str(), &info) == 0;
  const auto make = [&](int result) {
    return result == 0 || errno == EEXIST || errno == ENOTDIR || errno == ENOENT || errno == ELOOP;
  };
  bool fine = true;
  switch (item.kind) {
    case LayerItem::Kind::kFile:
      WriteFile(path, item);
      break;
    case LayerItem::Kind::kDirectory:
      fine = make(mkdir(path.c_str(), 0700));
      break;
    case LayerItem::Kind::kWhiteout:
      fine = make(mknod(path.c_str(), S_IFCHR, makedev(0, 0)));
      return;
    case LayerItem::Kind::kXattrWhiteout: {
      if (exists || path.size() > 3000) return;
      const std::string parent = files::path(path).parent_path();
      char mark = 0;
      if (lgetxattr(parent.c_str(), "trusted.overlay.opaque", &mark, 1) == 1 && mark == 'y') return;
      WriteFile(path, {});
      if (lstat(path.c_str(), &info) != 0) return;
      MustSetXattr(path, "trusted.overlay.whiteout", "");
      MustSetXattr(parent, "trusted.overlay.opaque", "x");
      return;
    }
    case LayerItem::Kind::kOpaque:
      fine = make(mkdir(path.c_str(), 0755));
      if (lstat(path.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) return;
      {
        char mark = 0;
        if (lgetxattr(path.c_str(), "trusted.overlay.opaque", &mark, 1) == 1) return;
      }
      MustSetXattr(path, "trusted.overlay.opaque", "y");
      return;
    case LayerItem::Kind::kSymlink:
      fine = make(symlink(item.target.c_str(), path.c_str()));
      break;
    case LayerItem::Kind::kHardLink: {
      const std::string target = layer + "/" + item.target;
      if (lstat(target.c_str(), &info) != 0 || S_ISDIR(info.st_mode) ||
          (S_ISCHR(info.st_mode) && info.st_rdev == 0))
        return;
      char mark = 0;
      if (lgetxattr(target.c_str(), "trusted.overlay.whiteout", &mark, 1) >= 0) return;
      fine = make(link(target.c_str(), path.c_str()));
      return;
    }
    case LayerItem::Kind::kFifo:
      fine = make(mkfifo(path.c_str(), 0600));
      break;
    case LayerItem::Kind::kDevice:
      fine = make(mknod(path.c_str(), S_IFCHR | 0600, makedev(1, 3)));
      break;
  }
  if (!fine) Die(fmt::format("make {} '{}': {}", ItemName(item.kind), Printable(path), strerror(errno)));
  if (exists || lstat(path.c_str(), &info) != 0) return;
  if (lchown(path.c_str(), item.uid, item.gid) != 0) Die("chown of a layer's file");
  if (!S_ISLNK(info.st_mode) && chmod(path.c_str(), item.mode) != 0) Die("chmod of a layer's file");
  for (const auto& [name, value] : item.xattrs) {
    const bool user = name.starts_with("user.");
    if (user && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) continue;
    if (name.starts_with("system.") && S_ISLNK(info.st_mode)) continue;
    if (name == "system.posix_acl_default" && !S_ISDIR(info.st_mode)) continue;
    MustSetXattr(path, name, value);
  }
  SetTime(path, item.mtime);
}

}  // namespace

std::string Describe(const LayerItem& item) {
  std::string out = fmt::format("layer {}: {} '{}'", item.layer, ItemName(item.kind), Printable(item.path));
  if (!item.target.empty()) out += fmt::format(" -> '{}'", Printable(item.target));
  out += fmt::format(" mode={:o} owner={}:{} size={} hole={} mtime={}", item.mode, item.uid, item.gid,
                     item.size, item.hole, item.mtime);
  for (const auto& [name, value] : item.xattrs) out += fmt::format(" {}={}", name, Printable(value));
  return out;
}

std::string RandomName(Random& random) {
  static const std::array<std::string, 16> kNames = {
      "a", "b", "c",          "d",         "e",        "f",       "g",     "h",
      "k", "l", "with space", "new\nline", "\xff\xfe", "ünïcode", "-dash", std::string(255, 'n')};
  return kNames[Below(random, 8) == 0 ? Below(random, kNames.size()) : Below(random, 10)];
}

std::string RandomAcl(Random& random) {
  struct Entry {
    uint16_t tag, permissions;
    uint32_t id;
  };
  std::vector<Entry> entries;
  const auto add = [&](uint16_t tag, uint32_t id) {
    entries.push_back({tag, static_cast<uint16_t>(Below(random, 8)), id});
  };
  constexpr uint32_t kNobody = 0xffffffff;
  add(1, kNobody);  // the owner
  const bool named = Below(random, 4) != 0;
  if (named) add(2, 1000);
  add(4, kNobody);  // the group
  if (named && Below(random, 2) == 0) add(8, 2000);
  if (named) add(16, kNobody);  // the mask
  add(32, kNobody);             // others
  std::string out("\x02\x00\x00\x00", 4);
  for (const Entry& entry : entries) out.append(reinterpret_cast<const char*>(&entry), sizeof entry);
  return out;
}

std::vector<LayerItem> RandomLayers(Random& random, int layers, int items_per_layer, bool xattr_whiteouts) {
  using Kind = LayerItem::Kind;
  std::vector<LayerItem> items;
  std::vector<std::string> known, directories = {""};
  const auto fresh_path = [&] {
    std::string path = directories[Below(random, directories.size())];
    path += (path.empty() ? "" : "/") + RandomName(random);
    return path;
  };
  // The bottom first: layers above refer to what is below.
  for (int layer = layers - 1; layer >= 0; --layer) {
    std::vector<std::string> own_files;
    for (int i = 0; i < items_per_layer; ++i) {
      LayerItem item;
      item.layer = layer;
      static constexpr std::array kModes = {0644, 0600, 0755, 0700, 0444, 0, 04755, 02755, 0666, 0640};
      item.mode = static_cast<mode_t>(kModes[Below(random, kModes.size())]);
      if (Below(random, 3) == 0) {
        item.uid = Below(random, 2) == 0 ? 1000 : 1001;
        item.gid = Below(random, 2) == 0 ? 1000 : 2000;
      }
      item.mtime = static_cast<int64_t>(1'000'000'000 + Below(random, 100'000'000));
      if (Below(random, 5) == 0) item.xattrs["user.note"] = std::string(Below(random, 300), 'v');
      if (Below(random, 8) == 0) item.xattrs["trusted.thing"] = "t";
      if (Below(random, 10) == 0) item.xattrs["system.posix_acl_access"] = RandomAcl(random);
      if (Below(random, 10) == 0) item.xattrs["system.posix_acl_default"] = RandomAcl(random);
      if (Below(random, 20) == 0) item.xattrs["security.note"] = "s";
      item.path = fresh_path();
      switch (Below(random, 20)) {
        case 0:
        case 1:
        case 2:
        case 3:
        case 4:
          item.kind = Kind::kDirectory;
          item.mode |= 0500U | (Below(random, 4) == 0 ? 03777U : 0);
          if (std::count(item.path.begin(), item.path.end(), '/') < 3) directories.push_back(item.path);
          break;
        case 5:
        case 6:
          item.kind = Kind::kWhiteout;
          if (!known.empty() && Below(random, 8) != 0) item.path = known[Below(random, known.size())];
          break;
        case 7:
          item.kind = xattr_whiteouts ? Kind::kXattrWhiteout : Kind::kWhiteout;
          if (!known.empty()) item.path = known[Below(random, known.size())];
          break;
        case 8:
          item.kind = Kind::kOpaque;
          item.path = directories[Below(random, directories.size())];
          break;
        case 9:
          item.kind = Kind::kSymlink;
          item.target = Below(random, 3) == 0 ? fresh_path() : RandomName(random);
          break;
        case 10:
        case 11:
          item.kind = own_files.empty() ? Kind::kFifo : Kind::kHardLink;
          if (!own_files.empty()) item.target = own_files[Below(random, own_files.size())];
          break;
        case 12:
          item.kind = Below(random, 2) == 0 ? Kind::kFifo : Kind::kDevice;
          break;
        default:
          item.kind = Kind::kFile;
          item.size = Below(random, 4) == 0 ? Below(random, 60'000) : Below(random, 600);
          if (Below(random, 6) == 0) item.hole = 4096 * (1 + Below(random, 8));
          own_files.push_back(item.path);
      }
      if (item.kind == Kind::kOpaque && item.path.empty()) continue;
      known.push_back(item.path);
      items.push_back(std::move(item));
    }
  }
  return items;
}

std::vector<std::string> BuildLayers(const std::string& directory, int layers,
                                     const std::vector<LayerItem>& items) {
  std::vector<std::string> out;
  for (int layer = 0; layer < layers; ++layer) {
    out.push_back(fmt::format("{}/{}", directory, layer));
    files::create_directories(out.back());
    chmod(out.back().c_str(), 0777);
  }
  for (const LayerItem& item : items) {
    if (item.path.size() < 3500) Apply(out[static_cast<size_t>(item.layer)], item);
  }
  // Making files changed the times of their directories.
  for (const std::string& layer : out) {
    SetTime(layer, 1'200'000'000);
    for (const auto& entry : files::recursive_directory_iterator(layer)) {
      if (entry.symlink_status().type() == files::file_type::directory) {
        SetTime(entry.path(),
                static_cast<int64_t>(1'100'000'000 + entry.path().native().size() - layer.size()));
      }
    }
  }
  return out;
}

}  // namespace snap::test
