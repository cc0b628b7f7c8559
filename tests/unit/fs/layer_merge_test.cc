#include "fs/layer_merge.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/erofs_builder.h"

namespace snap {
namespace {

using test::ErofsBuilder;

constexpr auto kRoot = LayerTree::kRoot;

LayerTree Merge(const std::vector<const ErofsBuilder*>& bottom_first) {
  std::vector<const LayerTree*> trees;
  std::vector<uint16_t> devices;
  for (const ErofsBuilder* layer : bottom_first) {
    trees.push_back(&layer->tree);
    devices.push_back(static_cast<uint16_t>(10 * trees.size()));
  }
  auto merged = MergeLayers(trees, devices);
  EXPECT_TRUE(merged.ok()) << merged.error().message();
  return std::move(*merged);
}

/// "dir/ dir/file": sorted, directories with a slash.
std::string Names(const LayerTree& tree, LayerTree::InodeId directory = kRoot,
                  const std::string& prefix = "") {
  std::string out;
  for (const auto entry : tree.SortedChildren(directory)) {
    const auto inode = tree.entry(entry).inode;
    const bool is_directory = tree.inode(inode).type == FileType::kDirectory;
    const std::string path = prefix + std::string(tree.Name(entry)) + (is_directory ? "/" : "");
    out += (out.empty() ? "" : " ") + path;
    if (is_directory) {
      const std::string below = Names(tree, inode, path);
      if (!below.empty()) out += " " + below;
    }
  }
  return out;
}

const LayerTree::Inode& At(const LayerTree& tree, std::initializer_list<std::string_view> path) {
  auto inode = kRoot;
  for (const std::string_view name : path) inode = tree.entry(tree.Find(inode, name)).inode;
  return tree.inode(inode);
}

TEST(LayerMerge, NothingIsAnEmptyRoot) { EXPECT_EQ("", Names(*MergeLayers({}, {}))); }

TEST(LayerMerge, UpperNamesReplaceLowerOnes) {
  ErofsBuilder lower, upper;
  lower.File(kRoot, "both", "lower");
  lower.File(kRoot, "low", "x");
  upper.File(kRoot, "both", "upper, longer");
  upper.File(kRoot, "up", "x");
  const LayerTree merged = Merge({&lower, &upper});
  EXPECT_EQ("both low up", Names(merged));
  EXPECT_EQ(13U, At(merged, {"both"}).size);
  EXPECT_EQ(20U, At(merged, {"both"}).run_device);
  EXPECT_EQ(10U, At(merged, {"low"}).run_device);
}

TEST(LayerMerge, DirectoriesMergeWithTheTopmostAttributes) {
  ErofsBuilder lower, middle, upper;
  lower.File(lower.Directory(kRoot, "dir"), "low", "x");
  lower.Xattrs(lower.tree.entry(lower.tree.Find(kRoot, "dir")).inode, {{"user.low", ""}});
  const auto dir = middle.Directory(kRoot, "dir");
  middle.tree.inode(dir).permissions = 0700;
  middle.Xattrs(dir, {{"user.middle", ""}});
  middle.File(dir, "mid", "x");
  const auto implied = upper.Directory(kRoot, "dir");
  upper.tree.inode(implied).implied = true;
  upper.File(implied, "up", "x");
  const LayerTree merged = Merge({&lower, &middle, &upper});
  EXPECT_EQ("dir/ dir/low dir/mid dir/up", Names(merged));
  EXPECT_EQ(0700, At(merged, {"dir"}).permissions) << "an implied directory has no attributes of its own";
  EXPECT_EQ((std::vector<Xattr>{{"user.middle", ""}}), merged.Xattrs(At(merged, {"dir"}).xattrs));
  EXPECT_FALSE(At(merged, {"dir"}).implied);
}

TEST(LayerMerge, WhiteoutsRemoveAndVanish) {
  ErofsBuilder lower, middle, upper;
  lower.File(kRoot, "file", "x");
  lower.File(lower.Directory(kRoot, "dir"), "below", "x");
  middle.Whiteout(kRoot, "file");
  middle.Whiteout(kRoot, "dir");
  middle.Whiteout(kRoot, "never-was");
  upper.Directory(kRoot, "dir");
  const LayerTree merged = Merge({&lower, &middle, &upper});
  EXPECT_EQ("dir/", Names(merged)) << "a directory above a whiteout does not show what is below it";
}

TEST(LayerMerge, OpaqueDirectoryHidesLowerEntriesOnly) {
  ErofsBuilder lower, middle, upper;
  lower.File(lower.Directory(kRoot, "dir"), "low", "x");
  const auto dir = middle.Directory(kRoot, "dir");
  middle.tree.inode(dir).opaque = true;
  middle.File(dir, "mid", "x");
  upper.File(upper.Directory(kRoot, "dir"), "up", "x");
  const LayerTree merged = Merge({&lower, &middle, &upper});
  EXPECT_EQ("dir/ dir/mid dir/up", Names(merged));
  EXPECT_FALSE(At(merged, {"dir"}).opaque);
}

TEST(LayerMerge, OpaqueRootHidesAllLayersBelow) {
  ErofsBuilder lower, upper;
  lower.File(kRoot, "low", "x");
  upper.File(kRoot, "up", "x");
  upper.tree.inode(kRoot).opaque = true;
  EXPECT_EQ("up", Names(Merge({&lower, &upper})));
}

TEST(LayerMerge, OtherTypesEndTheMerging) {
  ErofsBuilder lower, middle, upper;
  lower.File(lower.Directory(kRoot, "a"), "low", "x");
  middle.File(kRoot, "a", "x");
  upper.File(upper.Directory(kRoot, "a"), "up", "x");
  lower.File(lower.Directory(kRoot, "b"), "low", "x");
  middle.Symlink(kRoot, "b", "a");
  EXPECT_EQ("a/ a/up b", Names(Merge({&lower, &middle, &upper})));
}

TEST(LayerMerge, LinkCountsAreThoseOfVisibleNames) {
  ErofsBuilder lower, upper;
  const auto file = lower.File(kRoot, "one", "x");
  lower.tree.AddEntry(kRoot, "two", file);
  lower.tree.AddEntry(lower.Directory(kRoot, "dir"), "three", file);
  upper.Whiteout(kRoot, "one");
  const LayerTree merged = Merge({&lower, &upper});
  EXPECT_EQ("dir/ dir/three two", Names(merged));
  EXPECT_EQ(2U, At(merged, {"two"}).links);
  EXPECT_EQ(&At(merged, {"two"}), &At(merged, {"dir", "three"}));
}

TEST(LayerMerge, RunsMoveToTheirLayersDevices) {
  ErofsBuilder lower, upper;
  lower.Sparse(kRoot, "sparse", 4096, {{512, std::string(512, 'x')}});
  const ObjectId object{.hash = {9}, .size = 5, .variant = 1};
  upper.Object(kRoot, "object", object);
  const LayerTree merged = Merge({&lower, &upper});
  const auto runs = merged.Runs(At(merged, {"sparse"}));
  ASSERT_EQ(1U, runs.size());
  EXPECT_EQ(10U, runs[0].device);
  EXPECT_EQ(object, merged.Object(At(merged, {"object"})));
}

TEST(LayerMerge, RefusesMoreDevicesThanThereAreNumbers) {
  ErofsBuilder layer;
  layer.File(kRoot, "file", "x");
  layer.tree.inode(1).run_device = 1;
  EXPECT_EQ(ErrorCode::kLimitExceeded, MergeLayers({&layer.tree}, {65535}).error().code());
}

}  // namespace
}  // namespace snap
