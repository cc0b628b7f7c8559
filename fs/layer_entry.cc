// The one table of file types and their bits.
#include "fs/layer_entry.h"

#include <sys/stat.h>

#include <array>

namespace snap {
namespace {

struct TypeBitsEntry {
  FileType type;
  mode_t bits;
};
constexpr std::array<TypeBitsEntry, 7> kTypes{{{FileType::kRegular, S_IFREG},
                                               {FileType::kDirectory, S_IFDIR},
                                               {FileType::kSymlink, S_IFLNK},
                                               {FileType::kCharDevice, S_IFCHR},
                                               {FileType::kBlockDevice, S_IFBLK},
                                               {FileType::kFifo, S_IFIFO},
                                               {FileType::kSocket, S_IFSOCK}}};

}  // namespace

mode_t TypeBits(FileType type) {
  for (const TypeBitsEntry& entry : kTypes) {
    if (entry.type == type) return entry.bits;
  }
  return S_IFREG;  // not reached: the table has every type
}

std::optional<FileType> TypeOfMode(mode_t mode) {
  for (const TypeBitsEntry& entry : kTypes) {
    if (entry.bits == (mode & S_IFMT)) return entry.type;
  }
  return std::nullopt;
}

}  // namespace snap
