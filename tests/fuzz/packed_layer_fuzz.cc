// Any bytes as the image of a packed layer with as many devices as it asks for, held in memory and not: everything that a union asks
// is asked, and must give the same in both. The answers keep what LayerDir and LayerFile promise.
#include <fcntl.h>
#include <sys/stat.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "fs/base/check.h"
#include "fs/base/rel_path.h"
#include "fs/base/sys_file.h"
#include "fs/erofs_reader.h"
#include "fuse/directory_view.h"
#include "fuse/packed_layer.h"
#include "tests/fuzz/erofs_checksum.h"

namespace snap::fuse {
namespace {

constexpr size_t kMaxFiles = 300;
constexpr size_t kMaxDevices = 16;
constexpr size_t kMaxRead = size_t{64} << 10U;

UniqueFd MemoryFile(std::span<const std::byte> content) {
  UniqueFd file = *sys::MemfdCreate("fuzz", 0);
  SNAP_CHECK(sys::WriteAll(file, content).ok());
  return file;
}

template <typename T>
void Same(const SysResult<T>& a, const SysResult<T>& b) {
  SNAP_CHECK(a.ok() == b.ok());
  if (a.ok()) SNAP_CHECK(*a == *b);
  if (!a.ok()) SNAP_CHECK(a.error() == b.error());
}

void AskFile(LayerDir& held, LayerDir& plain, const LayerName& name) {
  const auto file = held.OpenFile(name), other = plain.OpenFile(name);
  SNAP_CHECK(file.ok() == other.ok());
  if (!file.ok()) return;
  const SysResult<FileStat> stat = held.Stat(name);
  SNAP_CHECK(stat.ok() && S_ISREG(stat->st.st_mode) && stat->st.st_size >= 0);
  const auto size = static_cast<uint64_t>(stat->st.st_size);
  std::vector<std::byte> buffer(kMaxRead), again(kMaxRead);
  for (const uint64_t offset : {uint64_t{0}, uint64_t{511}, size / 2, size == 0 ? 0 : size - 1, size, UINT64_MAX}) {
    const auto got = (*file)->Read(offset, buffer);
    Same(got, (*other)->Read(offset, again));
    if (!got.ok()) continue;
    SNAP_CHECK(*got == (offset >= size ? 0 : std::min<uint64_t>(buffer.size(), size - offset)));
    SNAP_CHECK(std::memcmp(buffer.data(), again.data(), *got) == 0);
  }
  // Data and holes take turns until the end.
  uint64_t at = 0;
  for (int i = 0; i < 100; ++i) {
    const auto data = (*file)->Seek(at, SEEK_DATA);
    if (!data.ok()) {
      SNAP_CHECK(data.error() == ENXIO);
      break;
    }
    SNAP_CHECK(*data >= at && *data < size);
    const auto hole = (*file)->Seek(*data, SEEK_HOLE);
    SNAP_CHECK(hole.ok() && *hole > *data && *hole <= size);
    at = *hole;
  }
}

void AskName(LayerDir& held, LayerDir& plain, const LayerName& name) {
  const SysResult<FileStat> stat = held.Stat(name), other = plain.Stat(name);
  SNAP_CHECK(stat.ok() == other.ok());
  if (stat.ok()) {
    SNAP_CHECK(stat->st.st_ino == other->st.st_ino && stat->st.st_mode == other->st.st_mode);
    SNAP_CHECK(name.inode == 0 || stat->st.st_ino == name.inode);
  }
  Same(held.ReadLink(name), plain.ReadLink(name));
  const auto xattrs = held.ListXattr(name);
  Same(xattrs, plain.ListXattr(name));
  if (xattrs.ok()) {
    for (const std::string& xattr : *xattrs) {
      SNAP_CHECK(xattr != "trusted.overlay.redirect" && xattr != "trusted.overlay.metacopy");
      SNAP_CHECK(held.GetXattr(name, xattr).ok());
    }
  }
  AskFile(held, plain, name);
}

/// Walks both. Directories that come again are entered again, like a client does, but not for ever.
void Walk(const Layer& held, const Layer& plain) {
  using Dir = std::shared_ptr<LayerDir>;
  std::vector<std::pair<Dir, Dir>> waiting{{held.root, plain.root}};
  size_t asked = 0;
  while (!waiting.empty() && asked < kMaxFiles) {
    const auto [a, b] = waiting.back();
    waiting.pop_back();
    SNAP_CHECK(a->StatSelf().ok() == b->StatSelf().ok());
    (void)IsOpaque(*a);  // only whether it ends
    AskName(*a, *b, {"a", 0, FileType::kRegular});
    const auto names = a->List();
    const auto view = DirectoryView::Build(std::vector<Dir>{a, b});
    if (!names.ok()) {
      SNAP_CHECK(!b->List().ok() && !view.ok());
      continue;
    }
    std::set<std::string> listed;
    for (const LayerName& name : *names) {
      SNAP_CHECK(IsValidName(name.name) && name.inode != 0);
      listed.insert(name.name);
      if (++asked > kMaxFiles) break;
      AskName(*a, *b, name);
      const auto child = a->OpenDir(name), other = b->OpenDir(name);
      SNAP_CHECK(child.ok() == other.ok());
      if (child.ok() && waiting.size() < kMaxFiles) waiting.emplace_back(*child, *other);
    }
    if (!view.ok()) continue;
    SNAP_CHECK((*view)->size() <= names->size());
    if (asked > kMaxFiles) continue;
    (*view)->ForEach([&](std::string_view name) {
      SNAP_CHECK(listed.contains(std::string(name)));
      const auto found = (*view)->Find(name);
      SNAP_CHECK(found && found->layer == 0 && found->below.size() <= 1);
    });
  }
}

std::optional<Layer> Open(std::span<const std::byte> image, size_t devices, uint64_t max_held_bytes) {
  PackedLayerFiles files;
  files.image = MemoryFile(image);
  for (size_t i = 0; i < devices; ++i) files.devices.push_back(MemoryFile(image.first(image.size() / 2)));
  files.objects = std::make_shared<const UniqueFd>(*sys::OpenAt(FdRef::Cwd(), "/proc/self/fd", O_PATH | O_DIRECTORY));
  files.name = "fuzz";
  Result<Layer> layer = OpenPackedLayer(std::move(files), max_held_bytes);
  if (!layer.ok()) return std::nullopt;
  return *layer;
}

}  // namespace
}  // namespace snap::fuse

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace snap;
  std::vector<std::byte> image(size);
  if (size != 0) std::memcpy(image.data(), data, size);
  test::RepairChecksum(image);
  size_t devices = 0;
  {
    const UniqueFd file = fuse::MemoryFile(image);
    const auto reader = ErofsReader::Open(file, "fuzz");
    if (!reader.ok()) return 0;
    devices = reader->device_count();
  }
  if (devices > fuse::kMaxDevices) return 0;
  const auto held = fuse::Open(image, devices, fuse::kMaxHeldMetadata), plain = fuse::Open(image, devices, 0);
  SNAP_CHECK(held.has_value() == plain.has_value());
  if (!held) return 0;
  SNAP_CHECK(held->file_system == plain->file_system);
  fuse::Walk(*held, *plain);
  return 0;
}
