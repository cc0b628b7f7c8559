// Any bytes as a layer's tar, read in two chunk sizes and applied to a writer that keeps nothing but checks
// what it is promised. Once as they are and once with the checksums of its headers put right, which no
// mutation would hit.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/check.h"
#include "fs/layer_apply.h"
#include "fs/tar_header.h"
#include "fs/tar_reader.h"
#include "fs/whiteout.h"

namespace snap {
namespace {

// Small, so that the limits are within reach of small inputs.
constexpr TarLimits kLimits{.max_pax_bytes = 16384,
                            .max_name_bytes = 5000,
                            .max_xattrs = 8,
                            .max_xattr_value = 1024,
                            .max_sparse_extents = 64,
                            .max_entries = 256,
                            .max_file_size = uint64_t{1} << 40U};

// Chunks live in memory of their own, freed when the next one is asked for.
class Chunks final : public ChunkSource {
 public:
  Chunks(std::span<const std::byte> bytes, size_t chunk_bytes) : left_(bytes), chunk_bytes_(chunk_bytes) {}
  Result<std::span<const std::byte>> NextChunk() override {
    SNAP_CHECK(!ended_);  // a source is never read again after its end
    const size_t size = std::min(chunk_bytes_, left_.size());
    ended_ = size == 0;
    chunk_ = std::make_unique<std::byte[]>(size);
    if (size != 0) std::memcpy(chunk_.get(), left_.data(), size);
    left_ = left_.subspan(size);
    return std::span<const std::byte>(chunk_.get(), size);
  }

 private:
  std::span<const std::byte> left_;
  size_t chunk_bytes_;
  std::unique_ptr<std::byte[]> chunk_;
  bool ended_ = false;
};

void CheckAttributes(const Attributes& a) {
  SNAP_CHECK((a.permissions & ~07777U) == 0);
  SNAP_CHECK(a.uid != 0xffffffffU && a.gid != 0xffffffffU);
  SNAP_CHECK(a.mtime.tv_nsec >= 0 && a.mtime.tv_nsec < 1'000'000'000);
  SNAP_CHECK(a.xattrs.size() <= kLimits.max_xattrs);
  for (const Xattr& x : a.xattrs) {
    SNAP_CHECK(!x.name.empty() && x.name.size() <= 255 && x.name.find('\0') == std::string::npos);
    SNAP_CHECK(x.value.size() <= kLimits.max_xattr_value);
  }
}

void CheckEntry(const TarEntry& entry) {
  CheckAttributes(entry.attributes);
  SNAP_CHECK(!entry.path.empty() && entry.path.size() <= kLimits.max_name_bytes);
  SNAP_CHECK(entry.path.find('\0') == std::string::npos && entry.link_target.find('\0') == std::string::npos);
  const bool is_link = entry.kind == TarEntry::Kind::kHardLink || entry.kind == TarEntry::Kind::kSymlink;
  SNAP_CHECK(is_link == !entry.link_target.empty());
  SNAP_CHECK(entry.link_target.size() <= kLimits.max_name_bytes);
  SNAP_CHECK(entry.size <= kLimits.max_file_size);
  if (entry.kind != TarEntry::Kind::kRegular) SNAP_CHECK(entry.size == 0 && !entry.sparse);
  SNAP_CHECK(entry.extents.size() <= kLimits.max_sparse_extents);
  uint64_t end = 0;
  for (const DataExtent& e : entry.extents) {
    SNAP_CHECK(e.size != 0 && e.offset >= end && e.size <= entry.size && e.offset <= entry.size - e.size);
    end = e.offset + e.size;
  }
}

struct Seen {
  uint64_t entries = 0;
  uint64_t bytes = 0;
  uint64_t hash = 0;
  bool ok = false;
  std::string error;
  friend bool operator==(const Seen&, const Seen&) = default;
  void Mix(std::string_view text) { hash = hash * 1099511628211U + std::hash<std::string_view>()(text); }
};

Seen Read(std::span<const std::byte> input, size_t chunk_bytes) {
  Chunks source(input, chunk_bytes);
  TarReader reader(source, kLimits);
  Seen seen;
  for (;;) {
    const auto entry = reader.Next();
    SNAP_CHECK(reader.position() <= input.size());
    if (!entry.ok()) {
      seen.error = entry.error().message();
      SNAP_CHECK(!reader.Next().ok() && !reader.NextData().ok());
      return seen;
    }
    if (entry.value() == nullptr) {
      seen.ok = true;
      SNAP_CHECK(reader.Next().value() == nullptr);
      return seen;
    }
    const TarEntry& e = *entry.value();
    CheckEntry(e);
    ++seen.entries;
    seen.Mix(e.path);
    seen.Mix(e.link_target);
    uint64_t end = 0;
    uint64_t total = 0;
    std::string data;
    for (;;) {
      const auto piece = reader.NextData();
      if (!piece.ok()) {
        seen.error = piece.error().message();
        return seen;
      }
      if (piece.value().bytes.empty()) break;
      SNAP_CHECK(e.kind == TarEntry::Kind::kRegular && piece.value().offset >= end);
      end = piece.value().offset + piece.value().bytes.size();
      SNAP_CHECK(end <= e.size);
      total += piece.value().bytes.size();
      data.append(reinterpret_cast<const char*>(piece.value().bytes.data()), piece.value().bytes.size());
    }
    if (!e.sparse) SNAP_CHECK(total == e.size);
    seen.Mix(data);
    seen.bytes += total;
  }
}

class CheckingWriter final : public LayerWriter {
 public:
  uint64_t calls = 0;

  Result<void> Directory(const RelPath& path, const Attributes& a) override { return Check(path, a, true); }
  Result<void> Symlink(const RelPath& path, std::string_view target, const Attributes& a) override {
    SNAP_CHECK(!target.empty() && target.size() < RelPath::kMaxPath &&
               target.find('\0') == std::string_view::npos);
    return Check(path, a, false);
  }
  Result<void> Node(const RelPath& path, FileType type, dev_t device, const Attributes& a) override {
    SNAP_CHECK(type == FileType::kFifo || type == FileType::kBlockDevice || type == FileType::kCharDevice);
    SNAP_CHECK(type != FileType::kCharDevice || static_cast<uint32_t>(device) != 0);
    return Check(path, a, false);
  }
  Result<void> HardLink(const RelPath& path, const RelPath& target) override {
    CheckPath(target);
    SNAP_CHECK(!target.IsRoot() && target != path);
    return Check(path, {}, false);
  }
  Result<void> BeginFile(const RelPath& path, const Attributes& a, uint64_t size) override {
    SNAP_CHECK(!open_);
    open_ = true;
    size_ = size;
    end_ = 0;
    return Check(path, a, false);
  }
  Result<void> WriteData(uint64_t offset, std::span<const std::byte> data) override {
    SNAP_CHECK(open_ && !data.empty() && offset >= end_);
    end_ = offset + data.size();
    SNAP_CHECK(end_ <= size_);
    return {};
  }
  Result<void> EndFile() override {
    SNAP_CHECK(open_);
    open_ = false;
    return {};
  }
  Result<void> Whiteout(const RelPath& path) override {
    SNAP_CHECK(!open_ && !path.IsRoot());
    ++calls;
    return {};
  }
  Result<void> OpaqueDirectory(const RelPath&) override {
    SNAP_CHECK(!open_);
    ++calls;
    return {};
  }
  Result<LayerSummary> Finish() override { return LayerSummary{}; }

 private:
  static void CheckPath(const RelPath& path) {
    const auto again = RelPath::Parse(path.str());
    SNAP_CHECK(again.ok() && again.value() == path);
    SNAP_CHECK(path.str().find(whiteout::kPrefix) != 0 && path.str().find("/.wh.") == std::string::npos);
  }
  Result<void> Check(const RelPath& path, const Attributes& a, bool root_allowed) {
    ++calls;
    CheckPath(path);
    SNAP_CHECK(root_allowed || !path.IsRoot());
    CheckAttributes(a);
    for (const Xattr& x : a.xattrs) {
      SNAP_CHECK(!whiteout::IsOverlayXattr(x.name) && !x.name.starts_with("trusted."));
      SNAP_CHECK(!x.name.starts_with("security.") || x.name == "security.capability");
    }
    return {};
  }

  bool open_ = false;
  uint64_t size_ = 0;
  uint64_t end_ = 0;
};

void ReadAndApply(std::span<const std::byte> input) {
  // Depends on the input, so that views that cross chunks at any place are exercised too.
  const size_t small = 1 + static_cast<size_t>(input.back()) + input.size() % 7;
  const size_t large = 509 * (1 + input.size() % 97);
  const Seen seen = Read(input, large);
  SNAP_CHECK(seen == Read(input, small));

  Chunks source(input, large);
  TarReader reader(source, kLimits);
  CheckingWriter writer;
  const auto report = ApplyTar(reader, writer);
  if (!report.ok()) return;
  const ApplyReport& r = report.value();
  SNAP_CHECK(seen.ok && r.entries == seen.entries && r.data_bytes <= seen.bytes);
  SNAP_CHECK(r.entries == r.files + r.directories + r.symlinks + r.hard_links + r.devices + r.fifos +
                              r.whiteouts + r.opaque + r.ignored);
  SNAP_CHECK(writer.calls == r.entries - r.ignored && r.duplicates <= r.entries);
}

// Walks from header to header by their size fields.
void RepairChecksums(std::span<std::byte> bytes) {
  while (bytes.size() >= tar::kBlockBytes) {
    const std::span<std::byte> block = bytes.first(tar::kBlockBytes);
    const std::string_view text(reinterpret_cast<const char*>(block.data()), block.size());
    const tar::Header header(text);
    if (header.IsZero()) return;
    const std::span<std::byte> field = block.subspan(tar::kChecksum.offset, tar::kChecksum.size);
    std::fill(field.begin(), field.end(), std::byte{' '});
    unsigned sum = 0;
    for (const std::byte b : block) sum += static_cast<unsigned>(b);
    for (size_t i = 6; i-- > 0; sum /= 8) field[i] = static_cast<std::byte>('0' + sum % 8);
    field[6] = std::byte{0};
    const bool has_data = std::string_view("07xgLKS\0", 8).find(header.type()) != std::string_view::npos;
    const int64_t size = has_data ? tar::ParseNumber(header.Raw(tar::kSize)).value_or(0) : 0;
    bytes = bytes.subspan(tar::kBlockBytes);
    if (size < 0 || static_cast<uint64_t>(size) > bytes.size()) return;
    const size_t padded =
        (static_cast<size_t>(size) + tar::kBlockBytes - 1) / tar::kBlockBytes * tar::kBlockBytes;
    bytes = bytes.subspan(std::min(padded, bytes.size()));
  }
}

}  // namespace
}  // namespace snap

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const auto input = std::as_bytes(std::span(data, size));
  snap::ReadAndApply(input);
  std::vector<std::byte> repaired(input.begin(), input.end());
  snap::RepairChecksums(repaired);
  if (!std::equal(repaired.begin(), repaired.end(), input.begin())) snap::ReadAndApply(repaired);
  return 0;
}
