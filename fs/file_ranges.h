// Reading the data of regular files, holes left out.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"

namespace snap {

/// Exactly buffer.size() bytes. Errors: kCorrupt when the file ends before.
Result<void> ReadExactly(FdRef file, uint64_t offset, std::span<std::byte> buffer);

/// Calls for the bytes of the first `size` bytes of `file` in order, in pieces; what the file system knows to be a hole is left
/// out. Errors: kCorrupt when the file is shorter; what the visitor returns.
using DataVisitor = std::function<Result<void>(uint64_t offset, std::span<const std::byte> bytes)>;
Result<void> ForEachData(FdRef file, uint64_t size, const DataVisitor& visit);

/// Whether the bytes from `begin` to `end` are zeros. Errors: kCorrupt when the file is shorter.
Result<bool> IsZero(FdRef file, uint64_t begin, uint64_t end);

/// Whether the first `size` bytes are the same, holes being zeros.
Result<bool> SameData(FdRef a, FdRef b, uint64_t size);

}  // namespace snap
