// A header, numbers of shared entries, own entries. The filter must be true, since the kernel believes it: a
// name that it denies is not found there.
#include "fs/erofs_xattr_reader.h"

#include <algorithm>

#include "fs/erofs_format.h"

namespace snap::erofs {
namespace {

class XattrParser {
 public:
  XattrParser(const ErofsImage& image, const ErofsInode& inode) : image_(image), inode_(inode) {}

  Result<std::vector<Xattr>> Parse() {
    std::vector<std::byte> scratch;
    SNAP_TRY(const auto body, image_.View(inode_.xattr_offset, inode_.xattr_bytes, scratch));
    const auto header = Read<XattrHeader>(body);
    filter_ = header.name_filter;
    const size_t entries = sizeof(XattrHeader) + header.shared * sizeof(Le32);
    if (entries > body.size()) return Bad("numbers of shared xattrs are beyond the inode");
    for (size_t i = 0; i < header.shared; ++i) {
      const uint32_t id = Read<Le32>(body.subspan(sizeof(XattrHeader) + i * sizeof(Le32)));
      SNAP_TRY_VOID(Shared(id));
    }
    for (auto rest = body.subspan(entries); !rest.empty();) {
      if (rest.size() < sizeof(XattrEntry)) return Bad("an xattr is cut off");
      const auto entry = Read<XattrEntry>(rest);
      const size_t size = RoundUp(sizeof(XattrEntry) + entry.name_size + entry.value_size, kXattrAlign);
      if (size > rest.size()) return Bad("an xattr is longer than its inode");
      SNAP_TRY_VOID(Add(entry, rest.subspan(sizeof(XattrEntry))));
      rest = rest.subspan(size);
    }
    if (xattrs_.empty())
      return Bad("there is a header for xattrs and none behind it");  // the kernel refuses it too
    std::sort(xattrs_.begin(), xattrs_.end(), [](const Xattr& a, const Xattr& b) { return a.name < b.name; });
    const auto same = [](const Xattr& a, const Xattr& b) { return a.name == b.name; };
    if (std::adjacent_find(xattrs_.begin(), xattrs_.end(), same) != xattrs_.end())
      return Bad("two xattrs have one name");
    return std::move(xattrs_);
  }

 private:
  Error Bad(const char* what) const { return image_.CorruptInode(inode_.nid, "{}", what); }

  Result<void> Shared(uint32_t id) {
    if (image_.xattr_offset() == 0) return Bad("the image has no shared xattrs");
    const uint64_t offset = image_.xattr_offset() + uint64_t{id} * kXattrAlign;
    std::vector<std::byte> scratch;
    SNAP_TRY(const auto head, image_.View(offset, sizeof(XattrEntry), scratch));
    const auto entry = Read<XattrEntry>(head);
    SNAP_TRY(const auto rest,
             image_.View(offset + sizeof(XattrEntry), size_t{entry.name_size} + entry.value_size, scratch));
    return Add(entry, rest);
  }

  /// `rest` holds name and value.
  Result<void> Add(const XattrEntry& entry, std::span<const std::byte> rest) {
    const auto prefix = XattrPrefix(entry.prefix);
    if (!prefix) return Bad("an xattr has an unknown prefix");
    const std::string_view text(reinterpret_cast<const char*>(rest.data()), rest.size());
    const std::string_view name = text.substr(0, entry.name_size);
    const bool whole = prefix->back() != '.';
    if (whole != name.empty() || name.find('\0') != std::string_view::npos)
      return Bad("an xattr has an impossible name");
    if (image_.has_xattr_filter() && (filter_ & XattrFilterBit({entry.prefix, name})) != 0) {
      return Bad("an xattr is denied by the inode's filter");
    }
    Xattr xattr;
    xattr.name.reserve(prefix->size() + name.size());
    xattr.name += *prefix;
    xattr.name += name;
    xattr.value = text.substr(entry.name_size, entry.value_size);
    xattrs_.push_back(std::move(xattr));
    return {};
  }

  const ErofsImage& image_;
  const ErofsInode& inode_;
  uint32_t filter_ = 0;
  std::vector<Xattr> xattrs_;
};

}  // namespace

Result<std::vector<Xattr>> ReadXattrs(const ErofsImage& image, const ErofsInode& inode) {
  if (inode.xattr_bytes == 0) return std::vector<Xattr>();
  return XattrParser(image, inode).Parse();
}

}  // namespace snap::erofs
