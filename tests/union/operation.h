// Operation: one system call (or a few that belong together) with all its arguments, as a value: it is run on
// two mounts, printed, left out of a failing sequence, run again. A Side is one mount with what the
// operations have open there. Invariant: what an operation does depends on its fields and on the file system,
// on nothing else.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <string>
#include <vector>

#include "fs/base/unique_fd.h"

namespace snap::test {

#define SNAP_OPERATIONS(X)                                                                                 \
  X(Open)                                                                                                  \
  X(Close)                                                                                                 \
  X(Read)                                                                                                  \
  X(Write) X(Append) X(Truncate) X(Allocate) X(Seek) X(Sync) X(StatFd) X(ChmodFd) X(ChownFd) X(TimesFd)    \
      X(SetXattrFd) X(ListXattrFd) X(CopyRange) X(MapShared) X(MapPrivate) X(MapKeep) X(MapLook) X(LinkFd) \
          X(ListFd) X(Stat) X(Access) X(ReadLink) X(ReadFile) X(TruncatePath) X(Chmod) X(Chown) X(Times)   \
              X(MakeDirectory) X(RemoveDirectory) X(Unlink) X(Rename) X(Link) X(Symlink) X(MakeNode)       \
                  X(SetXattr) X(GetXattr) X(ListXattr) X(RemoveXattr) X(List) X(ListWhileChanging)         \
                      X(DropCaches)

enum class Kind : uint8_t {
#define SNAP_KIND(name) k##name,
  SNAP_OPERATIONS(SNAP_KIND)
#undef SNAP_KIND
};
const char* KindName(Kind kind);

inline constexpr int kSlots = 12;    ///< open files
inline constexpr int kMappings = 4;  ///< mappings that are kept

struct Operation {
  Kind kind = Kind::kStat;
  int base = -1;  ///< slot of the directory that paths start at; -1: the root of the mount
  std::string path, other;
  int slot = 0, other_slot = 0, mapping = 0;
  int flags = 0;
  mode_t mode = 0, umask = 0;
  int64_t offset = 0;
  uint64_t length = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  std::array<timespec, 2> times{};
  std::string name, value;  ///< of an xattr; `value` also the target of a link
  uint64_t pattern = 0;     ///< what is written
  uid_t as = 0;             ///< who does it: user and group
  gid_t as_group = 0;
};

/// A line for people, in which everything that matters to this kind stands.
std::string Describe(const Operation& operation);

struct Outcome {
  int64_t result = 0;  ///< as the system call's, or -errno
  std::string detail;  ///< what it read; equal on both sides
  /// Not empty: something that must hold on any side does not, whatever the other side shows.
  std::string broken;
};

/// Threads: one; it changes the working directory, the umask and the effective ids while it runs an
/// operation.
class Side {
 public:
  /// `started`: times not before it are "now".
  Side(const std::string& mountpoint, time_t started);
  Side(Side&&) = delete;
  ~Side();
  Outcome Run(const Operation& operation);
  FdRef root() const { return root_; }
  bool IsOpen(int slot) const { return slots_[static_cast<size_t>(slot)].valid(); }

 private:
  struct Mapping {
    void* address = nullptr;
    size_t length = 0;
    UniqueFd fd;
    bool coherent = false;  ///< of a file that was open for writing, so not of a lower file
  };
  Outcome Dispatch(const Operation& operation);
  Outcome OpenSlot(const Operation& operation);
  Outcome Copy(const Operation& operation);
  Outcome Map(const Operation& operation, bool shared);
  Outcome KeepMapping(const Operation& operation);
  Outcome LookAtMapping(const Operation& operation);
  Outcome ListWhileChanging(const Operation& operation);
  void Unmap(Mapping& mapping);
  int fd(int slot) const { return slots_[static_cast<size_t>(slot)].get(); }
  Outcome StatOutcome(int result, const struct stat& info) const;

  UniqueFd root_;
  time_t started_;
  std::array<UniqueFd, kSlots> slots_;
  std::array<Mapping, kMappings> mappings_;
};

}  // namespace snap::test
