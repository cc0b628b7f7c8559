#include "runtime/mount_flags.h"

#include <gtest/gtest.h>
#include <linux/mount.h>
#include <sys/mount.h>

namespace snap::runtime {
namespace {

Result<MountFlags> Parse(std::string type, std::vector<std::string> options) {
  return ParseMountFlags({.destination = "/m", .type = std::move(type), .source = "s", .options = std::move(options), .uid_mappings = {},
                          .gid_mappings = {}});
}

TEST(MountFlags, AttributesDataAndPropagationAreToldApart) {
  const auto flags = Parse("tmpfs", {"nosuid", "noexec", "nodev", "mode=1777", "size=64k", "rprivate", "huge"});
  ASSERT_TRUE(flags.ok());
  EXPECT_EQ(flags->set, static_cast<uint64_t>(MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODEV));
  ASSERT_EQ(flags->data.size(), 3U);
  EXPECT_EQ(flags->data[0].first, "mode");
  EXPECT_EQ(flags->data[0].second, "1777");
  EXPECT_EQ(flags->data[2].second, std::nullopt);
  EXPECT_EQ(flags->propagation, static_cast<uint64_t>(MS_PRIVATE));
  EXPECT_TRUE(flags->propagate_recursively);
}

TEST(MountFlags, OfContradictionsTheLaterOneCounts) {
  const auto flags = Parse("tmpfs", {"ro", "rw", "noexec", "exec", "noatime", "strictatime"});
  ASSERT_TRUE(flags.ok());
  EXPECT_EQ(flags->set, static_cast<uint64_t>(MOUNT_ATTR_STRICTATIME));
  EXPECT_EQ(flags->clear & (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC), static_cast<uint64_t>(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC));
  EXPECT_EQ(flags->clear & MOUNT_ATTR__ATIME, static_cast<uint64_t>(MOUNT_ATTR__ATIME)) << "the kernel wants the whole field cleared";
}

TEST(MountFlags, RecursiveAttributesAreForWhatLiesBelowToo) {
  const auto flags = Parse("", {"rbind", "rro", "rnosuid"});
  ASSERT_TRUE(flags.ok());
  EXPECT_TRUE(flags->bind && flags->recursive);
  EXPECT_EQ(flags->set_recursive, static_cast<uint64_t>(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID));
  EXPECT_EQ(Parse("", {"bind", "ro"})->set_recursive, 0U);
}

TEST(MountFlags, WhatDoesNotFitIsRefused) {
  EXPECT_FALSE(Parse("proc", {"tmpcopyup"}).ok());
  EXPECT_TRUE(Parse("tmpfs", {"tmpcopyup"}).ok());
  EXPECT_FALSE(Parse("bind", {"bind", "size=1m"}).ok());
  EXPECT_FALSE(Parse("tmpfs", {"idmap"}).ok());
  MountSpec half{.destination = "/m", .type = "bind", .source = "/s", .options = {"bind"}, .uid_mappings = {{0, 1, 1}}, .gid_mappings = {}};
  EXPECT_FALSE(ParseMountFlags(half).ok());
}

}  // namespace
}  // namespace snap::runtime
