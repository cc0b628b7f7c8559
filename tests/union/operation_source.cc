// Weights keep the tree at a few hundred files, and files at some ten kilobytes, so that comparing whole
// trees stays cheap.
#include "tests/union/operation_source.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace snap::test {

void OperationSource::Refresh(const Tree& tree) {
  known_.clear();
  directories_.clear();
  for (const auto& [path, record] : tree) {
    known_.push_back({path, record.mode});
    if (S_ISDIR(record.mode) && std::count(path.begin(), path.end(), '/') < 4) directories_.push_back(path);
  }
}

void OperationSource::Note(const Operation& o, const Outcome& outcome) {
  if (outcome.result < 0 || o.base >= 0) return;
  switch (o.kind) {
    case Kind::kMakeDirectory:
      known_.push_back({o.path, S_IFDIR});
      if (std::count(o.path.begin(), o.path.end(), '/') < 4) directories_.push_back(o.path);
      break;
    case Kind::kOpen:
      if ((o.flags & O_CREAT) != 0) known_.push_back({o.path, S_IFREG});
      break;
    case Kind::kSymlink:
    case Kind::kMakeNode:
      known_.push_back({o.path, S_IFLNK});
      break;
    case Kind::kLink:
    case Kind::kRename:
      known_.push_back({o.other, S_IFREG});
      break;
    default:
      break;
  }
}

const OperationSource::Known& OperationSource::Any() { return known_[Below(known_.size())]; }

std::string OperationSource::Existing() {
  if (OneIn(30)) return Fresh();
  // Two draws, so that something is worked on repeatedly: the later half are the fresh ones.
  const std::string path =
      OneIn(3) ? known_[known_.size() - 1 - Below(std::min<size_t>(known_.size(), 20))].path : Any().path;
  return path.empty() ? "." : path;
}

std::string OperationSource::ExistingDirectory() {
  if (OneIn(15)) return Existing();
  const std::string& path = directories_[Below(directories_.size())];
  return path.empty() ? "." : path;
}

std::string OperationSource::Fresh() {
  std::string path = directories_[Below(directories_.size())];
  if (OneIn(60)) return path + "/" + std::string(256, 'x');
  if (OneIn(60)) path = Any().path;  // below a file, perhaps
  return path + (path.empty() ? "" : "/") + RandomName(random_);
}

mode_t OperationSource::Mode() {
  static constexpr std::array kModes = {0644, 0600,  0755,  0700,  0777,  0666,  0444,
                                        0,    04755, 02755, 02644, 06777, 01777, 0640};
  return static_cast<mode_t>(kModes[Below(kModes.size())]);
}

int64_t OperationSource::Offset() {
  switch (Below(5)) {
    case 0:
      return 0;
    case 1:
      return static_cast<int64_t>(Below(20) * 4096);
    case 2:
      return static_cast<int64_t>(Below(100'000));
    default:
      return static_cast<int64_t>(Below(3000));
  }
}

uint64_t OperationSource::Length() { return OneIn(6) ? Below(40'000) : OneIn(20) ? 0 : Below(5000); }

timespec OperationSource::Time() {
  if (OneIn(4)) return {0, UTIME_NOW};
  if (OneIn(4)) return {0, UTIME_OMIT};
  return {static_cast<time_t>(1'300'000'000 + Below(1'000'000)), static_cast<long>(Below(1'000'000'000))};
}

void OperationSource::Xattr(Operation& o) {
  static constexpr std::array kNames = {"user.note",     "user.other",     "trusted.thing",
                                        "security.note", "user.overlay.x", "trusted.overlay.x",
                                        "user.",         "nonsense.x"};
  switch (Below(6)) {
    case 0:
      o.name = "system.posix_acl_access";
      o.value = RandomAcl(random_);
      break;
    case 1:
      o.name = "system.posix_acl_default";
      o.value = RandomAcl(random_);
      break;
    case 2:
      o.name = "security.capability";  // cap_net_raw+ep; writing drops it
      o.value =
          std::string("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 20);
      break;
    default:
      o.name = kNames[OneIn(3) ? Below(kNames.size()) : Below(4)];
      o.value = std::string(OneIn(10) ? Below(3000) : Below(40), static_cast<char>('a' + Below(26)));
  }
  o.flags = OneIn(5) ? XATTR_CREATE : OneIn(5) ? XATTR_REPLACE : 0;
}

void OperationSource::Opening(Operation& o) {
  static constexpr std::array kAccess = {O_RDONLY, O_WRONLY, O_RDWR, O_RDWR};
  o.kind = Kind::kOpen;
  o.slot = static_cast<int>(Below(kSlots));
  o.flags = kAccess[Below(kAccess.size())];
  o.mode = Mode();
  if (OneIn(12)) {
    o.path = ExistingDirectory();
    o.flags = O_TMPFILE | (OneIn(2) ? O_RDWR : O_WRONLY) | (OneIn(8) ? O_EXCL : 0);
    return;
  }
  if (OneIn(8)) {
    o.path = ExistingDirectory();
    o.flags = O_RDONLY | O_DIRECTORY;
    return;
  }
  o.path = Existing();
  if (OneIn(3)) {
    o.flags |= O_CREAT | (OneIn(3) ? O_EXCL : 0);
    if (!OneIn(3)) o.path = Fresh();
  }
  if (OneIn(6)) o.flags |= O_TRUNC;
  if (OneIn(8)) o.flags |= O_APPEND;
  if (OneIn(8)) o.flags |= O_NOFOLLOW;
  if (OneIn(30)) o.flags |= O_DIRECTORY;
  if (OneIn(30)) o.flags |= O_SYNC;
  if (OneIn(40)) o.flags = O_PATH | O_NOFOLLOW;
}

Operation OperationSource::OnFile() {
  Operation o;
  o.slot = static_cast<int>(Below(kSlots));
  o.offset = Offset();
  o.length = Length();
  o.pattern = random_();
  switch (Below(26)) {
    case 0:
    case 1:
    case 2:
      o.kind = Kind::kRead;
      break;
    case 3:
    case 4:
    case 5:
      o.kind = Kind::kWrite;
      break;
    case 6:
      o.kind = Kind::kAppend;
      break;
    case 7:
      o.kind = Kind::kTruncate;
      break;
    case 8: {
      static constexpr std::array kModes = {0,
                                            FALLOC_FL_KEEP_SIZE,
                                            FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                            FALLOC_FL_ZERO_RANGE,
                                            FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                                            FALLOC_FL_PUNCH_HOLE};
      o.kind = Kind::kAllocate;
      o.flags = kModes[Below(kModes.size())];
      break;
    }
    case 9:
      o.kind = Kind::kSeek;
      o.flags = OneIn(2) ? SEEK_DATA : SEEK_HOLE;
      break;
    case 10:
      o.kind = Kind::kSync;
      o.flags = static_cast<int>(Below(2));
      break;
    case 11:
    case 12:
      o.kind = Kind::kStatFd;
      break;
    case 13:
      o.kind = Kind::kChmodFd;
      o.mode = Mode();
      break;
    case 14:
      o.kind = Kind::kChownFd;
      o.uid = OneIn(3) ? static_cast<uid_t>(-1) : static_cast<uid_t>(1000 + Below(2));
      o.gid = OneIn(3) ? static_cast<gid_t>(-1) : static_cast<gid_t>(1000 * Below(3));
      break;
    case 15:
      o.kind = Kind::kTimesFd;
      o.times = {Time(), Time()};
      break;
    case 16:
      o.kind = Kind::kSetXattrFd;
      Xattr(o);
      break;
    case 17:
      o.kind = Kind::kListXattrFd;
      break;
    case 18:
    case 19:
      o.kind = Kind::kCopyRange;
      o.other_slot = static_cast<int>(Below(kSlots));
      break;
    case 20:
      o.kind = Kind::kMapShared;
      o.flags = static_cast<int>(Below(2));
      break;
    case 21:
      o.kind = Kind::kMapPrivate;
      break;
    case 22:
      o.kind = Kind::kMapKeep;
      o.mapping = static_cast<int>(Below(kMappings));
      break;
    case 23:
      o.kind = Kind::kMapLook;
      o.mapping = static_cast<int>(Below(kMappings));
      break;
    case 24:
      o.kind = OneIn(2) ? Kind::kLinkFd : Kind::kListFd;
      if (o.kind == Kind::kLinkFd) o.path = Fresh();
      break;
    default:
      o.kind = Kind::kClose;
  }
  return o;
}

Operation OperationSource::OnName() {
  Operation o;
  o.path = Existing();
  o.mode = Mode();
  o.pattern = random_();
  const bool crowded = known_.size() > 300;
  switch (Below(44)) {
    case 0:
    case 1:
    case 2:
      o.kind = Kind::kStat;
      o.flags = OneIn(3) ? 0 : AT_SYMLINK_NOFOLLOW;
      if (OneIn(3)) o.path = Fresh();
      break;
    case 3:
      o.kind = Kind::kAccess;
      o.flags = static_cast<int>(Below(8));
      break;
    case 4:
      o.kind = Kind::kReadLink;
      break;
    case 5:
    case 6:
    case 7:
      o.kind = Kind::kReadFile;
      break;
    case 8:
      o.kind = Kind::kTruncatePath;
      o.offset = Offset();
      break;
    case 9:
    case 10:
      o.kind = Kind::kChmod;
      break;
    case 11:
    case 12:
      o.kind = Kind::kChown;
      o.flags = static_cast<int>(Below(2));
      o.uid = OneIn(3) ? static_cast<uid_t>(-1) : static_cast<uid_t>(OneIn(2) ? 0 : 1000 + Below(2));
      o.gid = OneIn(3) ? static_cast<gid_t>(-1) : static_cast<gid_t>(1000 * Below(3));
      break;
    case 13:
    case 14:
      o.kind = Kind::kTimes;
      o.flags = OneIn(3) ? 0 : AT_SYMLINK_NOFOLLOW;
      o.times = {Time(), Time()};
      break;
    case 15:
    case 16:
      o.kind = Kind::kMakeDirectory;
      o.path = crowded ? Existing() : Fresh();
      break;
    case 17:
    case 18:
      o.kind = removes_directories_ ? Kind::kRemoveDirectory : Kind::kList;
      o.path = ExistingDirectory();
      break;
    case 19:
    case 20:
    case 21:
      o.kind = Kind::kUnlink;
      break;
    case 22:
    case 23:
    case 24:
    case 25: {
      static constexpr std::array kFlags = {
          0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_EXCHANGE, RENAME_NOREPLACE | RENAME_EXCHANGE};
      o.kind = Kind::kRename;
      o.other = Either();
      o.flags = static_cast<int>(kFlags[Below(kFlags.size())]);
      if (!removes_directories_ && o.flags == 0) o.flags = RENAME_NOREPLACE;
      break;
    }
    case 26:
    case 27:
      o.kind = Kind::kLink;
      o.other = OneIn(5) ? Existing() : Fresh();
      o.flags = OneIn(4) ? AT_SYMLINK_FOLLOW : 0;
      break;
    case 28:
      o.kind = Kind::kSymlink;
      o.path = Fresh();
      o.value = OneIn(2) ? RandomName(random_) : Existing();
      break;
    case 29: {
      static constexpr std::array kTypes = {S_IFIFO, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK, S_IFREG, S_IFREG};
      o.kind = Kind::kMakeNode;
      o.path = Fresh();
      o.mode |= static_cast<mode_t>(kTypes[Below(kTypes.size())]);
      o.offset = static_cast<int64_t>(OneIn(3) ? makedev(0, 0) : makedev(1, 3));
      break;
    }
    case 30:
    case 31:
    case 32:
      o.kind = Kind::kSetXattr;
      Xattr(o);
      break;
    case 33:
    case 34:
      o.kind = Kind::kGetXattr;
      Xattr(o);
      o.value.clear();
      o.flags = 0;
      o.length = OneIn(4) ? Below(20) : 65536;
      break;
    case 35:
      o.kind = Kind::kListXattr;
      break;
    case 36:
      o.kind = Kind::kRemoveXattr;
      Xattr(o);
      o.value.clear();
      o.flags = 0;
      break;
    case 37:
    case 38:
    case 39:
      o.kind = Kind::kList;
      o.path = ExistingDirectory();
      break;
    case 40:
      o.kind = Kind::kListWhileChanging;
      o.path = ExistingDirectory();
      o.value = RandomName(random_);
      break;
    default:
      Opening(o);
  }
  return o;
}

Operation OperationSource::Next() {
  if (OneIn(400)) {
    Operation o;
    o.kind = Kind::kDropCaches;
    return o;
  }
  Operation o;
  if (OneIn(5)) {
    Opening(o);
  } else if (OneIn(2)) {
    o = OnFile();
  } else {
    o = OnName();
  }
  static constexpr std::array kUmasks = {0, 022, 022, 077, 027};
  o.umask = static_cast<mode_t>(kUmasks[Below(kUmasks.size())]);
  if (OneIn(5)) {
    o.as = static_cast<uid_t>(1000 + Below(2));
    o.as_group = static_cast<gid_t>(1000 * (1 + Below(2)));
  }
  if (OneIn(25) && !o.path.empty()) {
    o.base = static_cast<int>(Below(kSlots));
    o.path = RandomName(random_);
    if (!o.other.empty()) o.other = RandomName(random_);
  }
  return o;
}

}  // namespace snap::test
