// libfuse's low-level operations on a UnionFs: requests in, replies out. Here exceptions end (memory that is not to be had is ENOMEM),
// and every request is counted.
#pragma once

#include <fuse_lowlevel.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

#include "fuse/union_fs.h"

namespace snap::fuse {

enum class Operation : uint8_t {
  kLookup, kForget, kGetAttr, kSetAttr, kReadLink, kMknod, kMkdir, kUnlink, kRmdir, kSymlink, kRename, kLink, kOpen, kRead, kWrite,
  kFlush, kRelease, kFsync, kOpenDir, kReadDir, kReadDirPlus, kFsyncDir, kStatFs, kSetXattr, kGetXattr, kListXattr, kRemoveXattr,
  kCreate, kTmpFile, kFallocate, kLseek, kCopyFileRange, kIoctl, kStatx,
  kCount
};
std::string_view OperationName(Operation operation);

/// What the operations work on: libfuse's user data.
struct Serving {
  UnionFs* fs = nullptr;
  double timeout_seconds = 0;
  bool no_open = false;  ///< answered by ENOSYS, once: the kernel does not ask again. Set while the session begins.
  std::array<std::atomic<uint64_t>, static_cast<size_t>(Operation::kCount)> requests{};
  void (*init)(void* session, fuse_conn_info* connection) = nullptr;
  void* session = nullptr;
};

const fuse_lowlevel_ops& Operations();

}  // namespace snap::fuse
