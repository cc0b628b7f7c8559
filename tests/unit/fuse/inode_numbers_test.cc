#include "fuse/inode_numbers.h"

#include <gtest/gtest.h>

#include <unordered_set>

namespace snap::fuse {
namespace {

constexpr uint64_t kTop = uint64_t{1} << 63U;

TEST(InodeNumbers, ThoseOfThePrimaryFileSystemAreItsOwn) {
  const InodeNumbers numbers(42);
  for (const uint64_t inode : {uint64_t{1}, uint64_t{2}, uint64_t{1} << 40U, kTop - 1}) {
    EXPECT_EQ(inode, numbers.Shown(42, inode));
  }
}

TEST(InodeNumbers, ThoseOfOthersNeverMeetThem) {
  const InodeNumbers numbers(42);
  for (uint64_t file_system = 0; file_system < 100; ++file_system) {
    if (file_system == 42) continue;
    for (uint64_t inode = 0; inode < 100; ++inode) ASSERT_NE(0U, numbers.Shown(file_system, inode) & kTop);
  }
}

TEST(InodeNumbers, FilesOfManyFileSystemsAreToldApart) {
  const InodeNumbers numbers(1);
  std::unordered_set<uint64_t> seen;
  constexpr uint64_t kSystems = 500, kFiles = 1000;  // neighbouring devices, the same numbers in each
  for (uint64_t i = 0; i < kSystems; ++i) {
    for (uint64_t inode = 0; inode < kFiles; ++inode) seen.insert(numbers.Shown(0x800 + i, inode));
  }
  EXPECT_EQ(kSystems * kFiles, seen.size());
}

TEST(InodeNumbers, AreTheSameForEver) {
  // They are stored in uppers.
  EXPECT_EQ(InodeNumbers(1).Shown(0x801, 12345), InodeNumbers(2).Shown(0x801, 12345));
  EXPECT_EQ(0x95B24840DB797FA7U, InodeNumbers(1).Shown(0x801, 12345));
}

}  // namespace
}  // namespace snap::fuse
