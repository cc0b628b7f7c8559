// The codes of the EROFS format. One table each, read in both directions.
#include "fs/erofs_format.h"

#include <sys/sysmacros.h>

#include "fs/xxhash.h"

namespace snap::erofs {
namespace {

constexpr uint32_t kCrc32cReflected = 0x82F63B78;

constexpr std::array<uint32_t, 256> MakeCrcTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < table.size(); ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? kCrc32cReflected : 0);
    table[i] = crc;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kCrcTable = MakeCrcTable();

struct PrefixCode {
  uint8_t code;
  std::string_view prefix;
  bool whole;  // the prefix is the complete name
};
constexpr std::array<PrefixCode, 5> kPrefixes{{{1, "user.", false},
                                               {2, "system.posix_acl_access", true},
                                               {3, "system.posix_acl_default", true},
                                               {4, "trusted.", false},
                                               {6, "security.", false}}};

struct TypeCode {
  FileType type;
  uint8_t dirent;
};
constexpr std::array<TypeCode, 7> kTypes{{{FileType::kRegular, 1},
                                          {FileType::kDirectory, 2},
                                          {FileType::kCharDevice, 3},
                                          {FileType::kBlockDevice, 4},
                                          {FileType::kFifo, 5},
                                          {FileType::kSocket, 6},
                                          {FileType::kSymlink, 7}}};

constexpr const TypeCode& CodeOf(FileType type) {
  for (const TypeCode& code : kTypes) {
    if (code.type == type) return code;
  }
  return kTypes.front();  // not reached: the table has every type
}

}  // namespace

uint32_t Checksum(std::span<const std::byte> bytes) {
  uint32_t crc = 0xFFFFFFFF;
  for (size_t i = 0; i < bytes.size(); ++i) {
    constexpr size_t kField = offsetof(SuperBlock, checksum);
    const bool in_field = i >= kField && i < kField + sizeof(Le32);
    const uint32_t byte = in_field ? 0 : static_cast<uint32_t>(bytes[i]);
    crc = (crc >> 8U) ^ kCrcTable[(crc ^ byte) & 0xFFU];
  }
  return crc;
}

std::optional<XattrName> SplitXattrName(std::string_view name) {
  for (const PrefixCode& code : kPrefixes) {
    if (code.whole ? name == code.prefix : name.starts_with(code.prefix)) {
      return XattrName{code.code, name.substr(code.prefix.size())};
    }
  }
  return std::nullopt;
}

std::optional<std::string_view> XattrPrefix(uint8_t prefix) {
  for (const PrefixCode& code : kPrefixes) {
    if (code.code == prefix) return code.prefix;
  }
  return std::nullopt;
}

uint32_t XattrFilterBit(const XattrName& name) {
  return 1U << (Xxh32Of(name.rest, kXattrFilterSeed + name.prefix) % 32U);
}

uint8_t DirentType(FileType type) { return CodeOf(type).dirent; }

std::optional<FileType> TypeOfDirent(uint8_t type) {
  for (const TypeCode& code : kTypes) {
    if (code.dirent == type) return code.type;
  }
  return std::nullopt;
}

uint16_t Mode(FileType type, uint16_t permissions) {
  return static_cast<uint16_t>(TypeBits(type) | (permissions & 07777U));
}

std::optional<uint32_t> EncodeDevice(dev_t device) {
  const uint32_t major_number = major(device);
  const uint32_t minor_number = minor(device);
  if (major_number >= 1U << 12U || minor_number >= 1U << 20U) return std::nullopt;
  return (minor_number & 0xFFU) | (major_number << 8U) | ((minor_number & ~0xFFU) << 12U);
}

dev_t DecodeDevice(uint32_t encoded) {
  return makedev((encoded & 0xFFF00U) >> 8U, (encoded & 0xFFU) | ((encoded >> 12U) & 0xFFF00U));
}

}  // namespace snap::erofs
