// Any bytes as an image: opened, asked everything, loaded; what loads is written again and must load as the
// same. The superblock's checksum, which no mutation would hit, is put right first.
#include <cstdint>
#include <cstring>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "fs/base/check.h"
#include "fs/base/rel_path.h"
#include "fs/base/sys_file.h"
#include "fs/erofs_format.h"
#include "fs/erofs_reader.h"
#include "fs/erofs_writer.h"
#include "tests/fuzz/erofs_checksum.h"

namespace snap {
namespace {

constexpr size_t kMaxNodes = 300;
constexpr size_t kMaxRead = size_t{64} << 10U;

void AskFile(const ErofsReader& reader, const ErofsReader::Node& node) {
  const auto runs = reader.Runs(node.id);
  if (runs.ok()) {
    uint64_t end = 0;
    for (const LayerTree::Run& run : *runs) {
      SNAP_CHECK(run.size != 0 && run.offset >= end && run.offset < node.size &&
                 run.size <= node.size - run.offset);
      SNAP_CHECK(run.device <= reader.device_count());
      end = run.offset + run.size;
    }
  }
  std::vector<std::byte> buffer(kMaxRead);
  for (const uint64_t offset : {uint64_t{0}, node.size / 2, node.size}) {
    const auto got = reader.ReadFile(node.id, offset, buffer);
    if (got.ok()) SNAP_CHECK(*got == std::min<uint64_t>(buffer.size(), node.size - offset));
  }
}

/// Walks by single questions. Directories that come again are not entered again.
void Walk(const ErofsReader& reader) {
  std::vector<ErofsReader::NodeId> waiting{reader.root(), 0, 1, 2, 3};
  std::set<ErofsReader::NodeId> seen;
  while (!waiting.empty() && seen.size() < kMaxNodes) {
    const ErofsReader::NodeId id = waiting.back();
    waiting.pop_back();
    if (!seen.insert(id).second) continue;
    const auto node = reader.Stat(id);
    (void)reader.Xattrs(id);  // only whether it ends
    (void)reader.ReadLink(id);
    if (!node.ok()) continue;
    if (node->type == FileType::kRegular) AskFile(reader, *node);
    if (node->type != FileType::kDirectory) continue;
    (void)reader.Lookup(id, "a");
    const auto entries = reader.List(id);
    if (!entries.ok()) continue;
    for (const ErofsReader::DirEntry& entry : *entries) {
      SNAP_CHECK(IsValidName(entry.name));
      if (waiting.size() < kMaxNodes) waiting.push_back(entry.id);
    }
  }
}

/// What can be loaded is a tree that can be written: all data is where it was, so the image grows in place.
void WriteAgain(FdRef file, const ErofsReader& reader, const LayerTree& tree) {
  ErofsOptions options;
  options.block_bits = reader.block_bits();
  options.first_free_block = reader.blocks() + ErofsDataStart(options.block_bits);
  const auto written = WriteErofs(file, tree, options);
  if (!written.ok()) return;  // data in the header, on a device, unaligned
  const auto again = ErofsReader::Open(file, "again");
  SNAP_CHECK(again.ok());
  const auto loaded = again->Load();
  SNAP_CHECK(loaded.ok());
  SNAP_CHECK(loaded->inode_count() == tree.inode_count() && loaded->live_entries() == tree.live_entries());
}

}  // namespace
}  // namespace snap

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace snap;
  std::vector<std::byte> image(size);
  if (size != 0) std::memcpy(image.data(), data, size);
  test::RepairChecksum(image);
  const UniqueFd file = *sys::MemfdCreate("fuzz", 0);
  SNAP_CHECK(sys::WriteAll(file, image).ok());
  const auto reader = ErofsReader::Open(file, "fuzz");
  if (!reader.ok()) return 0;
  Walk(*reader);
  const auto tree = reader->Load();
  if (tree.ok()) WriteAgain(file, *reader, *tree);
  return 0;
}
