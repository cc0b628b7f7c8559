// The flags say the byte order, or that it does not matter when nothing in the handle has one; the kernel writes the former.
#include "fuse/overlay_origin.h"

#include <bit>

#include "fs/base/sys_file.h"

namespace snap::fuse {
namespace {

constexpr char kVersion = 0;
constexpr char kMagic = static_cast<char>(0xfb);
constexpr char kBigEndian = 1;
constexpr size_t kHeader = 5;  // version, magic, length, flags, type

}  // namespace

SysResult<std::string> EncodeOrigin(FdRef dir, const char* name, const std::array<char, 16>& uuid) {
  SNAP_TRY(const sys::FileHandle handle, sys::NameToHandle(dir, name));
  const size_t size = kHeader + uuid.size() + handle.bytes.size();
  if (size > 255 || handle.type < 0 || handle.type > 255) return Errno(EOPNOTSUPP);
  std::string origin;
  origin.push_back(kVersion);
  origin.push_back(kMagic);
  origin.push_back(static_cast<char>(size));
  origin.push_back(std::endian::native == std::endian::big ? kBigEndian : 0);
  origin.push_back(static_cast<char>(handle.type));
  origin.append(uuid.data(), uuid.size());
  origin.append(handle.bytes);
  return origin;
}

}  // namespace snap::fuse
