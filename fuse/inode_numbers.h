// InodeNumbers: one st_ino for every file of a union whose layers lie in several file systems.
// Invariant: stable (nothing but what is on disk goes in), and the numbers of the primary file system are its own.
#pragma once

#include <cstdint>

namespace snap::fuse {

class InodeNumbers {
 public:
  InodeNumbers() = default;
  /// `primary`: the upper's file system, or the topmost layer's.
  explicit InodeNumbers(uint64_t primary) : primary_(primary) {}

  /// Files of other file systems get numbers with the top bit set, which no disk file system uses. Two of them may be equal with
  /// the probability of a 63-bit hash.
  uint64_t Shown(uint64_t file_system, uint64_t inode) const {
    if (file_system == primary_) return inode;
    uint64_t hash = file_system * 0x9e3779b97f4a7c15U + inode;
    hash = (hash ^ (hash >> 30U)) * 0xbf58476d1ce4e5b9U;
    hash = (hash ^ (hash >> 27U)) * 0x94d049bb133111ebU;
    return (hash ^ (hash >> 31U)) | uint64_t{1} << 63U;
  }

 private:
  uint64_t primary_ = 0;
};

}  // namespace snap::fuse
