#include "snapshotter/merged_image.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <set>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/erofs_reader.h"
#include "fs/erofs_writer.h"
#include "fs/file_ranges.h"
#include "fs/layer_merge.h"

namespace snap {
namespace {

constexpr unsigned kBlockBits = 9;  // as the layers': runs keep their block numbers
constexpr uint64_t kMaxEntries = 10'000'000;  // about 2 GiB of metadata

/// Each layer once, bottom first: the order of the further devices.
std::vector<size_t> BottomFirst(const std::vector<StackedLayer>& layers_top_first) {
  std::vector<size_t> order;
  std::set<LayerId> seen;
  for (size_t i = 0; i < layers_top_first.size(); ++i) {
    if (seen.insert(layers_top_first[i].id).second) order.push_back(i);
  }
  std::reverse(order.begin(), order.end());
  return order;
}

Result<void> WriteMerged(FdRef file, const std::vector<StackedLayer>& layers_top_first,
                         const std::vector<const LayerTree*>& trees_top_first) {
  const std::vector<size_t> order = BottomFirst(layers_top_first);
  std::vector<std::unique_ptr<LayerTree>> loaded;
  std::vector<const LayerTree*> trees;
  std::vector<uint16_t> first_device;
  ErofsOptions options;
  options.block_bits = kBlockBits;
  for (const size_t i : order) {
    const StackedLayer& layer = layers_top_first[i];
    if (i < trees_top_first.size() && trees_top_first[i] != nullptr) {
      trees.push_back(trees_top_first[i]);
    } else {
      SNAP_TRY(const ErofsReader reader, ErofsReader::Open(layer.content, "image of layer " + layer.id.ToString()));
      SNAP_TRY(LayerTree tree, reader.Load());
      loaded.push_back(std::make_unique<LayerTree>(std::move(tree)));
      trees.push_back(loaded.back().get());
    }
    SNAP_TRY_SYS(const struct stat stat, sys::FStat(layer.content), "look at the image of layer {}", layer.id.ToString());
    options.devices.push_back({layer.id.digest.Short(), static_cast<uint64_t>(stat.st_size) >> kBlockBits});
    first_device.push_back(static_cast<uint16_t>(options.devices.size()));
  }
  SNAP_TRY(const LayerTree merged, MergeLayers(trees, first_device));
  options.first_free_block = ErofsDataStart(kBlockBits, options.devices.size());
  SNAP_TRY(const uint64_t bytes, WriteErofs(file, merged, options));
  (void)bytes;
  return {};
}

}  // namespace

std::string MergedImageKey(const std::vector<StackedLayer>& layers_top_first) {
  const std::vector<size_t> order = BottomFirst(layers_top_first);
  std::string names;
  uint64_t entries = 0;
  for (const size_t i : order) {
    const StackedLayer& layer = layers_top_first[i];
    if (layer.format != LayerFormat::kPacked) return {};
    names += fmt::format("{} {} {}\n", layer.id.ToString(), HexOf(layer.checksums.data), HexOf(layer.checksums.rest));
    entries += layer.entries;
  }
  if (entries > kMaxEntries) return {};
  return order.size() < 2 ? std::string() : Digest::Of(names).Hex();
}

Result<void> MakeMergedImage(LayerStore& layers, const std::vector<StackedLayer>& layers_top_first,
                             const std::vector<const LayerTree*>& trees_top_first) {
  const std::string key = MergedImageKey(layers_top_first);
  if (key.empty() || layers.OpenMerged(key).ok()) return {};
  SNAP_TRY(LayerStage stage, layers.Stage(LayerFormat::kPacked));
  SNAP_TRY_SYS(const UniqueFd file,
               sys::OpenAt(stage.directory(), LayerStage::kImageName, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600),
               "create a merged image");
  SNAP_TRY_VOID(WriteMerged(file, layers_top_first, trees_top_first));
  return layers.AddMerged(std::move(stage), key);
}

Result<bool> IsMergedImageRight(LayerStore& layers, const std::vector<StackedLayer>& layers_top_first) {
  SNAP_TRY(const UniqueFd cached, layers.OpenMerged(MergedImageKey(layers_top_first)));
  SNAP_TRY_SYS(const UniqueFd made, sys::MemfdCreate("merged image", 0), "make a merged image");
  SNAP_TRY_VOID(WriteMerged(made, layers_top_first, {}));
  SNAP_TRY_SYS(const struct stat wanted, sys::FStat(made), "look at a merged image");
  SNAP_TRY_SYS(const struct stat found, sys::FStat(cached), "look at a merged image");
  if (wanted.st_size != found.st_size) return false;
  return SameData(made, cached, static_cast<uint64_t>(wanted.st_size));
}

Result<std::optional<MergedStack>> StackMerged(const LayerStore& layers, const std::vector<StackedLayer>& layers_top_first) {
  const std::string key = MergedImageKey(layers_top_first);
  if (key.empty()) return std::optional<MergedStack>();
  Result<UniqueFd> image = layers.OpenMerged(key);
  if (!image.ok()) {
    if (image.error().code() == ErrorCode::kNotFound) return std::optional<MergedStack>();
    return std::move(image).error();
  }
  MergedStack merged;
  merged.image = std::move(image).value();
  std::vector<FdRef> devices;
  for (const size_t i : BottomFirst(layers_top_first)) devices.push_back(layers_top_first[i].content);
  merged.stack.lowers_top_first.emplace_back(merged.image, std::move(devices), key);
  merged.stack.objects = layers.objects().directory();
  return std::optional(std::move(merged));
}

}  // namespace snap
