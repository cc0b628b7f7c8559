// What a layer says about one file, whatever the format it came from or goes to.
#pragma once

#include <sys/types.h>
#include <time.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace snap {

enum class FileType : uint8_t { kRegular, kDirectory, kSymlink, kCharDevice, kBlockDevice, kFifo, kSocket };
/// S_IF*, and the inverse (other bits of the mode do not matter; nullopt for no type).
mode_t TypeBits(FileType type);
std::optional<FileType> TypeOfMode(mode_t mode);

/// An extended attribute with its full name ("security.capability"); the value is any bytes.
struct Xattr {
  std::string name;
  std::string value;
  friend bool operator==(const Xattr&, const Xattr&) = default;
  friend auto operator<=>(const Xattr&, const Xattr&) = default;
};

/// Owner, permissions, time and xattrs; the same for every type of file.
struct Attributes {
  uint32_t permissions = 0;  ///< the 07777 bits
  uint32_t uid = 0;
  uint32_t gid = 0;
  timespec mtime{};          ///< may be before 1970; nanoseconds within [0, 1e9)
  std::vector<Xattr> xattrs;
};

/// A run of data in a sparse file; between runs are holes that read as zeros.
struct DataExtent {
  uint64_t offset = 0;  ///< bytes, in the expanded file
  uint64_t size = 0;
  friend bool operator==(const DataExtent&, const DataExtent&) = default;
};

}  // namespace snap
