// The two engines' constructors and what they agree on; only io_engine*.cc include this.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "fs/base/quote.h"
#include "fs/base/result.h"
#include "fs/base/sys_file.h"
#include "fs/io_engine.h"

namespace snap::io_engine_impl {

std::unique_ptr<IoEngine> MakePlain();
/// Errors: kUnsupported when the kernel has no io_uring or forbids it.
Result<std::unique_ptr<IoEngine>> MakeUring();

/// Write-back of a large file starts after this many bytes, so that the flush at the end of a commit finds
/// little left.
inline constexpr uint64_t kWritebackStep = 8U << 20U;

/// A write must lie inside the declared size and not before what was already written.
inline Result<void> CheckWrite(FdRef file, uint64_t offset, size_t bytes, uint64_t written_end,
                               uint64_t size) {
  if (offset < written_end || offset > size || bytes > size - offset) {
    return MakeError(ErrorCode::kInvalidArgument, "write {} bytes at {} of {}: {} of {} are written", bytes,
                     offset, Quote(sys::DescribeFd(file)), written_end, size);
  }
  return {};
}

}  // namespace snap::io_engine_impl
