// Detached mounts of images, for tests that run as root. Nothing is attached anywhere: a mount ends with its
// descriptor.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"
#include "fs/base/unique_fd.h"

namespace snap::test {

inline UniqueFd FinishMount(FdRef context) {
  const auto created = sys::FsConfigCreate(context);
  EXPECT_TRUE(created.ok()) << created.error().Message() << ": " << sys::FsContextMessages(context);
  if (!created.ok()) return {};
  auto mount = sys::FsMount(context, 0);
  EXPECT_TRUE(mount.ok()) << mount.error().Message();
  return mount.ok() ? std::move(*mount) : UniqueFd();
}

/// The root of a file-backed EROFS mount.
inline UniqueFd MountErofs(FdRef image, const std::vector<FdRef>& devices) {
  const UniqueFd context = *sys::FsOpen("erofs");
  EXPECT_TRUE(sys::FsConfigString(context, "source", sys::ProcFdPath(image).c_str()).ok());
  for (const FdRef device : devices) {
    EXPECT_TRUE(sys::FsConfigString(context, "device", sys::ProcFdPath(device).c_str()).ok());
  }
  return FinishMount(context);
}

/// A read-only overlay of layers, and of directories that only have data.
inline UniqueFd MountOverlay(const std::vector<FdRef>& lowers_top_first, const std::vector<FdRef>& data) {
  const UniqueFd context = *sys::FsOpen("overlay");
  for (const FdRef lower : lowers_top_first) {
    EXPECT_TRUE(sys::FsConfigFd(context, "lowerdir+", lower).ok()) << sys::FsContextMessages(context);
  }
  for (const FdRef dir : data) {
    EXPECT_TRUE(sys::FsConfigFd(context, "datadir+", dir).ok()) << sys::FsContextMessages(context);
  }
  // Otherwise files of a layer that has others below it are refused (EPERM): overlayfs only follows
  // metacopies unasked when there is nothing but data below.
  EXPECT_TRUE(sys::FsConfigString(context, "metacopy", "on").ok());
  return FinishMount(context);
}

}  // namespace snap::test
