// MergeLayers says what overlayfs shows: random stacks, mounted layer by layer under an overlay and as one
// merged image.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <map>
#include <random>
#include <string>
#include <vector>

#include "fs/base/sys_file.h"
#include "fs/layer_merge.h"
#include "fs/object_id.h"
#include "tests/support/erofs_builder.h"
#include "tests/support/erofs_mount.h"
#include "tests/support/temp_dir.h"

namespace snap {
namespace {

using test::Difference;
using test::ErofsBuilder;

/// objects/ of a store, each object once.
class Objects {
 public:
  ObjectId Add(std::string_view content) {
    ObjectId id{.hash = {}, .size = content.size(), .variant = 0};
    id.hash[0] = static_cast<uint8_t>(content[0]);
    const std::string path = id.Path();
    const auto made = sys::MkdirAt(dir_.fd(), path.substr(0, 2).c_str(), 0755);
    EXPECT_TRUE(made.ok() || made.error() == EEXIST);
    const auto file = sys::OpenAt(dir_.fd(), path.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0444);
    EXPECT_TRUE(!file.ok() || sys::WriteAll(*file, content).ok());
    return id;
  }
  FdRef fd() const { return dir_.fd(); }

 private:
  test::TempDir dir_;
};

struct Stack {
  std::vector<ErofsBuilder> layers;  // bottom first
  std::vector<UniqueFd> mounts;      // bottom first
};

Stack MakeStack(std::mt19937& random, size_t count, unsigned entries, Objects& objects) {
  Stack stack;
  for (size_t i = 0; i < count; ++i) {
    ErofsBuilder layer;
    test::FillRandomTree(layer, random, {.entries = entries, .whiteouts = true, .objects = true},
                         [&](std::string_view content) { return objects.Add(content); });
    EXPECT_TRUE(layer.Write().ok());
    stack.mounts.push_back(test::MountErofs(layer.file(), {}));
    stack.layers.push_back(std::move(layer));
  }
  return stack;
}

class LayerMergeKernel : public testing::TestWithParam<size_t> {};

TEST_P(LayerMergeKernel, IsWhatOverlayfsShows) {
  for (unsigned seed = 0; seed < 15; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    Objects objects;
    const Stack stack = MakeStack(random, GetParam(), 20U + 15U * seed, objects);
    std::vector<const LayerTree*> trees;
    std::vector<uint16_t> first_device;
    std::vector<FdRef> devices;
    std::vector<FdRef> lowers;
    ErofsBuilder merged(9, stack.layers.size());
    for (const ErofsBuilder& layer : stack.layers) {
      trees.push_back(&layer.tree);
      devices.push_back(layer.file());
      first_device.push_back(static_cast<uint16_t>(devices.size()));
      merged.options.devices.push_back({"", layer.options.first_free_block});
    }
    for (auto mount = stack.mounts.rbegin(); mount != stack.mounts.rend(); ++mount) lowers.push_back(*mount);

    auto tree = MergeLayers(trees, first_device);
    ASSERT_TRUE(tree.ok()) << tree.error().message();
    merged.tree = std::move(*tree);
    const auto written = merged.Write();
    ASSERT_TRUE(written.ok()) << written.error().message();
    const UniqueFd merged_mount = test::MountErofs(merged.file(), devices);

    // overlayfs counts a file's hidden names too.
    const test::ListingOptions seen{.links = false, .overlay_xattrs = false};
    const UniqueFd stacked = test::MountOverlay(lowers, {objects.fd()});
    const UniqueFd one = test::MountOverlay({merged_mount}, {objects.fd()});
    ASSERT_EQ("", Difference(test::ListMounted(stacked, seen), test::ListMounted(one, seen)));

    // And what it counts is true of the merged image alone.
    devices.insert(devices.begin(), merged.file());
    EXPECT_EQ("", Difference(test::ListLayerTree(merged.tree, 9, devices), test::ListMounted(merged_mount)));
    for (LayerTree::InodeId id = 0; id < merged.tree.inode_count(); ++id) {
      EXPECT_FALSE(merged.tree.inode(id).opaque || merged.tree.inode(id).IsWhiteout());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Layers, LayerMergeKernel, testing::Values(2, 3, 7, 20));

}  // namespace
}  // namespace snap
