// Walks by file descriptors, so paths of any depth and names of any bytes are fine.
#include "tests/union/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <set>

namespace snap::test {
namespace {

using Contradictions = std::vector<std::string>;

mode_t TypeOfDirent(unsigned char type) { return static_cast<mode_t>(type) << 12U; }

std::string ReadContent(int fd, Contradictions& wrong) {
  uint64_t hash = 0, total = 0;
  static thread_local std::vector<char> buffer(1U << 18U);
  for (;;) {
    const ssize_t got = read(fd, buffer.data(), buffer.size());
    if (got < 0) {
      wrong.push_back(fmt::format("read: {}", strerror(errno)));
      break;
    }
    if (got == 0) break;
    hash = HashBytes({buffer.data(), static_cast<size_t>(got)}, hash + total);
    total += static_cast<uint64_t>(got);
  }
  return fmt::format("{:016x}/{}", hash, total);
}

class Walker {
 public:
  explicit Walker(Tree& tree) : tree_(tree) {}

  void Directory(int fd, const std::string& path) {
    const std::unique_ptr<DIR, int (*)(DIR*)> dir(
        fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), closedir);
    FileRecord& self = tree_[path];
    if (!dir) {
      self.contradictions.push_back(fmt::format("opendir: {}", strerror(errno)));
      return;
    }
    std::set<std::string> seen;
    std::vector<std::pair<std::string, std::pair<ino_t, mode_t>>> entries;
    for (;;) {
      errno = 0;
      const dirent* entry = readdir(dir.get());
      if (entry == nullptr) {
        if (errno != 0) self.contradictions.push_back(fmt::format("readdir: {}", strerror(errno)));
        break;
      }
      const std::string name = entry->d_name;
      if (!seen.insert(name).second)
        self.contradictions.push_back(fmt::format("'{}' is listed twice", Printable(name)));
      if (name == "..") continue;
      if (name == ".") {
        if (entry->d_ino != self.inode) self.contradictions.push_back("d_ino of '.' is not st_ino");
        continue;
      }
      entries.push_back({name, {entry->d_ino, TypeOfDirent(entry->d_type)}});
    }
    if (!seen.contains(".")) self.contradictions.push_back("'.' is not listed");
    for (const auto& [name, expected] : entries) {
      File(fd, name, path.empty() ? name : path + "/" + name, expected.first, expected.second);
    }
  }

  // The root: opened already.
  void Root(int fd) {
    FileRecord& record = tree_[""];
    struct stat info {};
    if (fstat(fd, &info) != 0) {
      record.contradictions.push_back(fmt::format("stat: {}", strerror(errno)));
      return;
    }
    Fill(record, info);
    record.xattrs = ReadXattrs(fmt::format("/proc/self/fd/{}", fd), record.contradictions);
    Directory(fd, "");
  }

 private:
  static void Fill(FileRecord& record, const struct stat& info) {
    record.mode = info.st_mode;
    record.uid = info.st_uid;
    record.gid = info.st_gid;
    record.nlink = info.st_nlink;
    record.size = static_cast<uint64_t>(info.st_size);
    record.device = info.st_rdev;
    record.inode = info.st_ino;
    record.mtime = info.st_mtim;
    record.ctime = info.st_ctim;
  }

  void File(int dir, const std::string& name, const std::string& path, ino_t d_ino, mode_t d_type) {
    FileRecord& record = tree_[path];
    Contradictions& wrong = record.contradictions;
    struct stat info {};
    if (fstatat(dir, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
      wrong.push_back(fmt::format("listed, but stat: {}", strerror(errno)));
      return;
    }
    Fill(record, info);
    if (info.st_ino != d_ino) wrong.push_back(fmt::format("d_ino {} is not st_ino {}", d_ino, info.st_ino));
    if (d_type != 0 && d_type != (info.st_mode & S_IFMT)) wrong.push_back("d_type is not the type");
    if (S_ISLNK(info.st_mode)) {
      char target[4097];
      const ssize_t got = readlinkat(dir, name.c_str(), target, sizeof target);
      if (got < 0) {
        wrong.push_back(fmt::format("readlink: {}", strerror(errno)));
      } else {
        record.content.assign(target, static_cast<size_t>(got));
        if (static_cast<uint64_t>(got) != record.size)
          wrong.push_back("st_size is not the length of the target");
      }
    }
    const UniqueFd pin(openat(dir, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!pin) {
      wrong.push_back(fmt::format("open with O_PATH: {}", strerror(errno)));
      return;
    }
    // The xattrs of a link: through its directory, since /proc/self/fd/N would be followed.
    record.xattrs = ReadXattrs(fmt::format("/proc/self/fd/{}/{}", dir, name), wrong);
    if (S_ISREG(info.st_mode) || S_ISDIR(info.st_mode)) {
      const UniqueFd fd(openat(dir, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
      if (!fd) {
        wrong.push_back(fmt::format("open: {}", strerror(errno)));
      } else if (S_ISDIR(info.st_mode)) {
        Directory(fd.get(), path);
      } else {
        record.content = ReadContent(fd.get(), wrong);
        record.content += " " + DataExtents(fd.get(), record.size);
      }
    }
  }

  Tree& tree_;
};

bool IsNow(const timespec& time, time_t started) { return time.tv_sec >= started; }

}  // namespace

uint64_t HashBytes(std::string_view bytes, uint64_t seed) {
  // Four lanes of multiply and xor-shift over words: fast, and a changed byte changes it.
  uint64_t hash = seed * 0x9E3779B97F4A7C15U + bytes.size();
  while (bytes.size() >= 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data(), 8);
    hash = (hash ^ word) * 0xD6E8FEB86659FD93U;
    hash ^= hash >> 29U;
    bytes.remove_prefix(8);
  }
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3U;
  return hash ^ (hash >> 32U);
}

std::string DataExtents(int fd, uint64_t size) {
  std::string out;
  for (uint64_t at = 0; at < size;) {
    const off_t data = lseek(fd, static_cast<off_t>(at), SEEK_DATA);
    if (data < 0) {
      if (errno != ENXIO) return fmt::format("?{}", errno);
      if (at == 0) return "hole";
      break;
    }
    const off_t hole = lseek(fd, data, SEEK_HOLE);
    if (hole < 0) return fmt::format("?{}", errno);
    if (data == 0 && static_cast<uint64_t>(hole) >= size) return "";
    out += fmt::format("{}{}+{}", out.empty() ? "" : ",", data, hole - data);
    at = static_cast<uint64_t>(hole);
  }
  return out;
}

std::map<std::string, std::string> ReadXattrs(const std::string& path, Contradictions& contradictions) {
  // /proc/self/fd/N itself is to be followed, a file in it is not.
  const bool follow =
      path.find('/', strlen("/proc/self/fd/")) == std::string::npos && path.starts_with("/proc/self/fd/");
  static thread_local std::vector<char> names(1U << 16U), value(1U << 16U);
  std::map<std::string, std::string> out;
  const ssize_t length = follow ? listxattr(path.c_str(), names.data(), names.size())
                                : llistxattr(path.c_str(), names.data(), names.size());
  if (length < 0) {
    if (errno != EOPNOTSUPP) contradictions.push_back(fmt::format("listxattr: {}", strerror(errno)));
    return out;
  }
  for (const char* name = names.data(); name < names.data() + length; name += strlen(name) + 1) {
    const ssize_t got = follow ? getxattr(path.c_str(), name, value.data(), value.size())
                               : lgetxattr(path.c_str(), name, value.data(), value.size());
    if (got < 0) {
      contradictions.push_back(fmt::format("xattr {} is listed, but: {}", name, strerror(errno)));
      continue;
    }
    if (!out.emplace(name, std::string(value.data(), static_cast<size_t>(got))).second) {
      contradictions.push_back(fmt::format("xattr {} is listed twice", name));
    }
  }
  return out;
}

Tree ReadTree(FdRef root) {
  Tree tree;
  Walker(tree).Root(root.get());
  return tree;
}

Tree ReadTree(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd) return ReadTree(fd.ref());
  Tree tree;
  tree[""].contradictions.push_back(fmt::format("open: {}", strerror(errno)));
  return tree;
}

std::string Printable(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7f || c == '\\') {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  if (out.size() > 100) {
    out = fmt::format("{}...({} bytes, {:016x})...{}", out.substr(0, 40), text.size(), HashBytes(text),
                      out.substr(out.size() - 20));
  }
  return out;
}

std::string Describe(const FileRecord& r) {
  std::string out = fmt::format("{:o} {}:{} nlink={} size={} ino={} mtime={}.{:09}", r.mode, r.uid, r.gid,
                                r.nlink, r.size, r.inode, r.mtime.tv_sec, r.mtime.tv_nsec);
  if (r.device != 0) out += fmt::format(" device={}:{}", major(r.device), minor(r.device));
  if (!r.content.empty()) out += " content=" + Printable(r.content);
  for (const auto& [name, value] : r.xattrs) out += fmt::format(" {}={}", name, Printable(value));
  for (const std::string& wrong : r.contradictions) out += " !" + wrong;
  return out;
}

std::vector<std::string> DifferentFields(const FileRecord& a, const FileRecord& b, time_t started) {
  std::vector<std::string> out;
  const bool directory = S_ISDIR(a.mode) && S_ISDIR(b.mode);
  if ((a.mode & S_IFMT) != (b.mode & S_IFMT)) return {"type"};
  if (a.mode != b.mode) out.emplace_back("mode");
  if (a.uid != b.uid || a.gid != b.gid) out.emplace_back("owner");
  if (!directory && a.nlink != b.nlink) out.emplace_back("nlink");
  if (!directory && a.size != b.size) out.emplace_back("size");
  if (a.device != b.device) out.emplace_back("device");
  if (IsNow(a.mtime, started) != IsNow(b.mtime, started) ||
      (!IsNow(a.mtime, started) &&
       (a.mtime.tv_sec != b.mtime.tv_sec || a.mtime.tv_nsec != b.mtime.tv_nsec))) {
    out.emplace_back("mtime");
  }
  if (a.content != b.content) {
    const bool same_bytes =
        a.content.substr(0, a.content.find(' ')) == b.content.substr(0, b.content.find(' '));
    out.emplace_back(S_ISREG(a.mode) && same_bytes ? "extents" : "content");
  }
  for (const auto& [name, value] : a.xattrs) {
    const auto other = b.xattrs.find(name);
    if (other == b.xattrs.end() || other->second != value) out.push_back("xattr " + name);
  }
  for (const auto& [name, value] : b.xattrs) {
    if (!a.xattrs.contains(name)) out.push_back("xattr " + name);
  }
  return out;
}

std::vector<std::string> Fingerprint(const Tree& tree) {
  std::vector<std::string> out;
  for (const auto& [path, found] : tree) {
    FileRecord record = found;
    // The bytes, not where they are holes: reading may change that (tmpfs).
    if (S_ISREG(record.mode))
      record.content.resize(std::min(record.content.size(), record.content.find(' ')));
    out.push_back(fmt::format("'{}' {} ctime={}.{:09}", Printable(path), Describe(record),
                              record.ctime.tv_sec, record.ctime.tv_nsec));
  }
  return out;
}

}  // namespace snap::test
