// ImageChecksums: what tells that a packed layer's image has changed since it was made.
#pragma once

#include <cstdint>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fs/xxhash.h"

namespace snap {

/// XXH3-128 without a secret, of the data of files and of everything around it: the first was hashed while it was written.
struct ImageChecksums {
  uint64_t data_begin = 0, data_end = 0;  ///< bytes in the image
  Xxh128 data{};                          ///< of [data_begin, data_end)
  Xxh128 rest{};                          ///< of [0, data_begin) and [data_end, end) together
  friend bool operator==(const ImageChecksums&, const ImageChecksums&) = default;
};

/// The hash of everything outside [begin, end).
Result<Xxh128> HashAround(FdRef image, uint64_t begin, uint64_t end);
/// Reads the image and compares. kCorrupt says what has changed.
Result<void> VerifyImage(FdRef image, const ImageChecksums& checksums);

}  // namespace snap
