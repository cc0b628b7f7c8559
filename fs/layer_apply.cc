// One entry at a time: name, whiteout, then a call per type. Nothing is looked up on disk and nothing
// remembered but hashes of names, so that the cost per entry is the same for any order and size of archive.
#include "fs/layer_apply.h"

#include <sys/sysmacros.h>

#include <algorithm>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/quote.h"
#include "fs/layer_xattrs.h"
#include "fs/object_id.h"
#include "fs/posix_acl.h"
#include "fs/whiteout.h"

namespace snap {
namespace {

std::string ShortQuote(std::string_view bytes) {
  constexpr size_t kShown = 240;
  return bytes.size() <= kShown ? Quote(bytes) : Quote(bytes.substr(0, kShown)) + "...";
}

Error Invalid(const char* reason) { return {ErrorCode::kInvalidArgument, reason}; }

class Applier {
 public:
  Applier(TarReader& reader, LayerWriter& writer) : reader_(reader), writer_(writer) {}

  Result<void> Apply(const TarEntry& entry);
  ApplyReport Finish() &&;

 private:
  Result<void> Create(const RelPath& path, const TarEntry& entry);
  Result<void> File(const RelPath& path, const TarEntry& entry);
  Result<void> Symlink(const RelPath& path, const TarEntry& entry);
  Result<void> HardLink(const RelPath& path, const TarEntry& entry);
  Result<void> Node(const RelPath& path, const TarEntry& entry);
  const Attributes& Filtered(const TarEntry& entry);

  TarReader& reader_;
  LayerWriter& writer_;
  ApplyReport report_;
  Attributes filtered_;
  std::vector<size_t> name_hashes_;
};

// The entry's attributes without what a layer may not set; copied only when there is such a thing.
const Attributes& Applier::Filtered(const TarEntry& entry) {
  const std::vector<Xattr>& all = entry.attributes.xattrs;
  const auto keep = [&](const Xattr& x) { return JudgeXattr(x.name, entry.kind) == XattrVerdict::kKeep; };
  if (std::all_of(all.begin(), all.end(), keep)) return entry.attributes;
  filtered_ = entry.attributes;
  std::erase_if(filtered_.xattrs, [&](const Xattr& x) {
    switch (JudgeXattr(x.name, entry.kind)) {
      case XattrVerdict::kKeep:
        return false;
      case XattrVerdict::kOverlay:
        ++report_.stripped_overlay;
        return true;
      case XattrVerdict::kSecurity:
        ++report_.stripped_security;
        return true;
      case XattrVerdict::kOther:
        ++report_.stripped_other;
        return true;
    }
    return true;
  });
  return filtered_;
}

Result<void> Applier::File(const RelPath& path, const TarEntry& entry) {
  ++report_.files;
  SNAP_TRY_VOID(writer_.BeginFile(path, Filtered(entry), entry.size));
  for (;;) {
    SNAP_TRY(const TarReader::Data data, reader_.NextData());
    if (data.bytes.empty()) break;
    report_.data_bytes += data.bytes.size();
    SNAP_TRY_VOID(writer_.WriteData(data.offset, data.bytes));
  }
  return writer_.EndFile();
}

Result<void> Applier::Symlink(const RelPath& path, const TarEntry& entry) {
  // Where the target points is decided when somebody follows it, inside a container: any bytes are fine, ".."
  // too.
  if (entry.link_target.size() >= RelPath::kMaxPath) {
    return MakeError(ErrorCode::kLimitExceeded, "symlink target has {} bytes, at most {} are possible",
                     entry.link_target.size(), RelPath::kMaxPath - 1);
  }
  if (entry.link_target.find('\0') != std::string::npos) return Invalid("symlink target contains a NUL byte");
  ++report_.symlinks;
  return writer_.Symlink(path, entry.link_target, Filtered(entry));
}

Result<void> Applier::HardLink(const RelPath& path, const TarEntry& entry) {
  SNAP_TRY(const RelPath target, RelPath::Parse(entry.link_target));
  if (target == path) return Invalid("hard link to itself");
  if (target.IsRoot()) return Invalid("hard link to the root");
  SNAP_TRY(const whiteout::Parsed meaning, whiteout::FromTarName(target));
  if (meaning.kind == whiteout::Kind::kIgnored) {
    return MakeError(ErrorCode::kUnsupported, "hard link to {}, which AUFS kept for itself",
                     ShortQuote(target.str()));
  }
  if (meaning.kind != whiteout::Kind::kNone) return Invalid("hard link to a whiteout");
  ++report_.hard_links;
  return writer_.HardLink(path, target);  // the attributes are the target's
}

Result<void> Applier::Node(const RelPath& path, const TarEntry& entry) {
  if (entry.kind == TarEntry::Kind::kFifo) {
    ++report_.fifos;
    return writer_.Node(path, FileType::kFifo, 0, Filtered(entry));
  }
  // The kernel keeps 12 and 20 bits and cuts the rest off without a word: 4096:0 would become 0:0.
  constexpr uint32_t kMaxMajor = (1U << 12U) - 1;
  constexpr uint32_t kMaxMinor = (1U << 20U) - 1;
  if (entry.device_major > kMaxMajor || entry.device_minor > kMaxMinor) {
    return MakeError(ErrorCode::kInvalidArgument, "device number {}:{} is out of range", entry.device_major,
                     entry.device_minor);
  }
  const bool is_char = entry.kind == TarEntry::Kind::kCharDevice;
  const dev_t device = makedev(entry.device_major, entry.device_minor);
  if (is_char && device == 0) return Invalid("character device 0:0 would be a whiteout");
  ++report_.devices;
  return writer_.Node(path, is_char ? FileType::kCharDevice : FileType::kBlockDevice, device,
                      Filtered(entry));
}

Result<void> CheckAcls(const TarEntry& entry) {
  for (const Xattr& xattr : entry.attributes.xattrs) {
    if (!xattr.name.starts_with("system.posix_acl_") || JudgeXattr(xattr.name, entry.kind) != XattrVerdict::kKeep) continue;
    if (!IsValidPosixAcl(xattr.value)) {
      return MakeError(ErrorCode::kInvalidArgument, "xattr {} is not a valid ACL", Quote(xattr.name));
    }
  }
  return {};
}

Result<void> Applier::Create(const RelPath& path, const TarEntry& entry) {
  if (path.IsRoot() && entry.kind != TarEntry::Kind::kDirectory)
    return Invalid("the root is not a directory");
  // overlayfs looks for the data of another layer's large file in the layers between before it looks in objects/.
  if (ObjectId::ParsePath(path.str()).ok()) return Invalid("the name is that of an object");
  SNAP_TRY_VOID(CheckAcls(entry));
  name_hashes_.push_back(std::hash<std::string_view>()(path.str()));
  switch (entry.kind) {
    case TarEntry::Kind::kRegular:
      return File(path, entry);
    case TarEntry::Kind::kHardLink:
      return HardLink(path, entry);
    case TarEntry::Kind::kSymlink:
      return Symlink(path, entry);
    case TarEntry::Kind::kDirectory:
      ++report_.directories;
      return writer_.Directory(path, Filtered(entry));
    case TarEntry::Kind::kCharDevice:
    case TarEntry::Kind::kBlockDevice:
    case TarEntry::Kind::kFifo:
      return Node(path, entry);
  }
  return Error(ErrorCode::kInternal, "unknown kind of entry");
}

// What a whiteout entry is besides its name (a file as a rule, with data perhaps) does not matter: Docker and
// containerd look at the name alone, and a reader that did not would keep a file that they remove.
Result<void> Applier::Apply(const TarEntry& entry) {
  ++report_.entries;
  SNAP_TRY(const RelPath path, RelPath::Parse(entry.path));
  SNAP_TRY(const whiteout::Parsed meaning, whiteout::FromTarName(path));
  switch (meaning.kind) {
    case whiteout::Kind::kNone:
      return Create(path, entry);
    case whiteout::Kind::kWhiteout:
      ++report_.whiteouts;
      return writer_.Whiteout(meaning.path);
    case whiteout::Kind::kOpaque:
      ++report_.opaque;
      return writer_.OpaqueDirectory(meaning.path);
    case whiteout::Kind::kIgnored:
      ++report_.ignored;
      return {};
  }
  return Error(ErrorCode::kInternal, "unknown kind of whiteout");
}

ApplyReport Applier::Finish() && {
  std::sort(name_hashes_.begin(), name_hashes_.end());
  const auto end = std::unique(name_hashes_.begin(), name_hashes_.end());
  report_.duplicates = static_cast<uint64_t>(name_hashes_.end() - end);
  return report_;
}

}  // namespace

Result<ApplyReport> ApplyTar(TarReader& reader, LayerWriter& writer, const ApplyOptions& options) {
  Applier applier(reader, writer);
  for (uint64_t entries = 0;; ++entries) {
    SNAP_TRY(const TarEntry* entry, reader.Next());
    if (entry == nullptr) return std::move(applier).Finish();
    if (entries >= options.max_entries) {
      return MakeError(ErrorCode::kLimitExceeded, "apply entry {}: layer has more than {} entries",
                       ShortQuote(entry->path), options.max_entries);
    }
    auto applied = applier.Apply(*entry);
    if (!applied.ok()) {
      return std::move(applied).error().Wrap(fmt::format("apply entry {}", ShortQuote(entry->path)));
    }
  }
}

}  // namespace snap
