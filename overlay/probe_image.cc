// Written by hand, so that probes need no writer and no temporary file's worth of code. Everything lies in
// the last block:
//   1024 superblock | 1152 inode 36: root directory, its entries inline | 1280 inode 40: file, xattrs, data
//   inline
// An inode's number is its offset divided by 32. Source of the format: Linux
// Documentation/filesystems/erofs.rst.
#include "overlay/probe_image.h"

#include <cstdint>
#include <string_view>

namespace snap::overlay {
namespace {

constexpr uint64_t kExtended = 1;  ///< bit 0 of an inode's format: 64 bytes
constexpr uint64_t kInline =
    2U << 1U;  ///< data layout: what does not fill a block is behind the inode and its xattrs
constexpr uint64_t kTrusted = 4;  ///< "trusted." in front of an xattr's name

constexpr ProbeImage Make() {
  ProbeImage image{};
  const auto put = [&image](size_t offset, size_t size, uint64_t value) {
    for (size_t i = 0; i < size; ++i) image[offset + i] = static_cast<std::byte>(value >> (8 * i));
  };
  const auto text = [&image](size_t offset, std::string_view value) {
    for (size_t i = 0; i < value.size(); ++i) image[offset + i] = static_cast<std::byte>(value[i]);
  };
  const auto inode = [&put](size_t offset, uint64_t mode, uint64_t size, uint64_t links,
                            uint64_t xattr_count) {
    put(offset, 2, kExtended | kInline);
    put(offset + 2, 2, xattr_count);
    put(offset + 4, 2, mode);
    put(offset + 8, 8, size);
    put(offset + 20, 4, offset / 32);  // number for 32-bit stat
    put(offset + 44, 4, links);
  };
  const auto entry = [&](size_t number, uint64_t node, size_t name_offset, uint64_t type,
                         std::string_view name) {
    constexpr size_t kEntries = 1152 + 64;
    put(kEntries + number * 12, 8, node);
    put(kEntries + number * 12 + 8, 2, name_offset);
    put(kEntries + number * 12 + 10, 1, type);
    text(kEntries + name_offset, name);
  };
  // An xattr starts with the sizes of its name and value.
  const auto xattr = [&](size_t offset, std::string_view name, std::string_view value) {
    put(offset, 1, name.size());
    put(offset + 1, 1, kTrusted);
    put(offset + 2, 2, value.size());
    text(offset + 4, name);
    text(offset + 4 + name.size(), value);
  };

  put(1024, 4, 0xE0F5E1E2);  // magic
  put(1024 + 12, 1, 9);      // blocks of 2^9 bytes
  put(1024 + 14, 2, 36);     // root directory
  put(1024 + 16, 8, 2);      // inodes
  put(1024 + 36, 4, 3);      // blocks

  inode(1152, 0040755, 43, 2, 0);
  entry(0, 36, 36, 2, ".");
  entry(1, 36, 37, 2, "..");
  entry(2, 40, 39, 1, "file");

  constexpr size_t kXattrs = 1280 + 64;
  inode(1280, 0100444, 4, 1, 1 + (20 + 28) / 4);
  xattr(kXattrs + 12, "overlay.metacopy", "");
  xattr(kXattrs + 12 + 20, "overlay.redirect", "/object");
  text(kXattrs + 12 + 20 + 28, "hole");
  return image;
}

}  // namespace

constinit const ProbeImage kProbeImage = Make();

}  // namespace snap::overlay
