// Root: the kernel's overlayfs copies files up, and what it writes is compared with what we would have written.
#include "fuse/overlay_origin.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <string>

#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"
#include "fuse/tree_layer.h"
#include "tests/support/temp_dir.h"

namespace snap::fuse {
namespace {

/// An overlay that nobody else sees, of lower, upper and work in `dir`.
UniqueFd MountOverlay(const test::TempDir& dir) {
  const UniqueFd context = *sys::FsOpen("overlay");
  for (const char* name : {"lower", "upper", "work"}) {
    EXPECT_TRUE(sys::FsConfigString(context, (std::string(name) + "dir").c_str(), (dir.path() + "/" + name).c_str()).ok());
  }
  EXPECT_TRUE(sys::FsConfigCreate(context).ok());
  return *sys::FsMount(context, 0);
}

TEST(OverlayOrigin, IsWhatTheKernelWritesWhenItCopiesUp) {
  const test::TempDir dir;
  const UniqueFd lower = dir.MakeDir("lower"), upper = dir.MakeDir("upper"), work = dir.MakeDir("work");
  ASSERT_TRUE(sys::OpenAt(lower, "file", O_CREAT | O_WRONLY, 0644).ok());
  ASSERT_TRUE(sys::SymlinkAt("file", lower, "link").ok());
  ASSERT_TRUE(sys::MknodAt(lower, "null", S_IFCHR | 0666, makedev(1, 3)).ok());
  ASSERT_TRUE(sys::MkdirAt(lower, "dir", 0755).ok());
  {
    const UniqueFd merged = MountOverlay(dir);
    for (const char* name : {"file", "link", "null", "dir"}) ASSERT_TRUE(sys::FChownAt(merged, name, 5, 5).ok()) << name;
  }
  DirFds fds(16);
  const Layer layer = *OpenTreeLayer(*sys::OpenAt(lower, ".", O_PATH | O_DIRECTORY), fds);
  for (const char* name : {"file", "link", "null", "dir"}) {
    const auto kernels = sys::GetXattrAt(upper, name, "trusted.overlay.origin");
    ASSERT_TRUE(kernels.ok()) << name;
    ASSERT_GT(kernels->size(), 21U) << name;
    EXPECT_EQ(*kernels, *layer.root->OriginOf({name, 0, FileType::kRegular})) << name;
  }
  const auto sub = *layer.root->OpenDir({"dir", 0, FileType::kDirectory});
  EXPECT_EQ(*sys::GetXattrAt(upper, "dir", "trusted.overlay.origin"), *sub->OriginSelf());
}

TEST(OverlayOrigin, IsNotToBeHadOfAFileSystemWithoutHandles) {
  DirFds fds(16);
  const Layer layer = *OpenTreeLayer(*sys::OpenAt(FdRef::Cwd(), "/proc", O_PATH | O_DIRECTORY), fds);
  EXPECT_EQ(Errno(EOPNOTSUPP), layer.root->OriginOf({"version", 0, FileType::kRegular}).error());
  EXPECT_EQ(Errno(EOPNOTSUPP), layer.root->OriginSelf().error());
}

}  // namespace
}  // namespace snap::fuse
