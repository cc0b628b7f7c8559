// IoEngine: creates regular files and writes their data, at once or in the background.
// Two implementations give byte-identical trees: plain system calls (the oracle and fallback) and io_uring.
// Invariant: a file's attributes are applied after its last write, so set-id bits and mtime survive.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fs/layer_entry.h"

namespace snap {

/// Threads: one at a time; engines of different threads are independent. Errors of background work surface at a later
/// call, at the latest at Drain; after an error only destruction is allowed.
class IoEngine {
 public:
  using FileId = uint32_t;
  virtual ~IoEngine() = default;
  virtual std::string_view name() const = 0;

  /// Creates `name` in `dir` (O_EXCL: kExists when it is there); the name exists on return. `dir` is only used during
  /// the call. What the first file got from the kernel (owner, umask) is taken for all: the directories given to one
  /// engine must not differ in what they hand down (set-group-id bit) and must have no default ACL.
  virtual Result<FileId> Create(FdRef dir, std::string_view name, const Attributes& attributes, uint64_t size) = 0;
  /// Ascending and inside `size` (kInvalidArgument); what is left out is a hole. The bytes may be reused when the call
  /// returns.
  virtual Result<void> Write(FileId file, uint64_t offset, std::span<const std::byte> data) = 0;
  /// No more writes; sets size and attributes and closes, possibly later. The id is free for reuse.
  virtual Result<void> Close(FileId file) = 0;
  /// Waits until every closed file is complete. No file may be open.
  virtual Result<void> Drain() = 0;
  /// fsync of each, batched; all are attempted, the first error is returned.
  virtual Result<void> SyncFiles(std::span<const FdRef> files) = 0;
};

enum class IoEngineKind { kAuto, kPlain, kUring };
/// kAuto is what measurements chose (docs/decisions). kUring: kUnsupported where io_uring is disabled.
Result<std::unique_ptr<IoEngine>> MakeIoEngine(IoEngineKind kind);
/// "auto", "plain", "uring". Errors: kInvalidArgument.
Result<IoEngineKind> ParseIoEngineKind(std::string_view text);

}  // namespace snap
