#include "fs/layer_tree.h"

#include <gmock/gmock.h>

#include <map>
#include <random>

#include "fs/object_id.h"

namespace snap {
namespace {

using testing::ElementsAre;

LayerTree::InodeId AddFile(LayerTree& tree, LayerTree::InodeId directory, std::string_view name) {
  LayerTree::Inode inode;
  const LayerTree::InodeId id = tree.AddInode(inode);
  tree.AddEntry(directory, name, id);
  return id;
}

LayerTree::InodeId AddDirectory(LayerTree& tree, LayerTree::InodeId directory, std::string_view name) {
  LayerTree::Inode inode;
  inode.type = FileType::kDirectory;
  const LayerTree::InodeId id = tree.AddInode(inode);
  tree.AddEntry(directory, name, id);
  return id;
}

std::vector<std::string> Names(const LayerTree& tree, LayerTree::InodeId directory) {
  std::vector<std::string> names;
  for (const LayerTree::EntryId id : tree.SortedChildren(directory)) names.emplace_back(tree.Name(id));
  return names;
}

TEST(LayerTree, StartsWithAnImpliedRoot) {
  const LayerTree tree;
  EXPECT_EQ(tree.inode(LayerTree::kRoot).type, FileType::kDirectory);
  EXPECT_TRUE(tree.inode(LayerTree::kRoot).implied);
  EXPECT_EQ(tree.inode(LayerTree::kRoot).permissions, 0755);
  EXPECT_EQ(tree.Find(LayerTree::kRoot, "a"), LayerTree::kNone);
}

TEST(LayerTree, RemovingADirectoryRemovesWhatIsBelow) {
  LayerTree tree;
  const auto a = AddDirectory(tree, LayerTree::kRoot, "a");
  const auto b = AddDirectory(tree, a, "b");
  const auto file = AddFile(tree, b, "file");
  tree.AddEntry(LayerTree::kRoot, "link", file);
  EXPECT_EQ(tree.inode(file).links, 2U);
  tree.RemoveEntry(tree.Find(LayerTree::kRoot, "a"));
  EXPECT_EQ(tree.inode(file).links, 1U);
  EXPECT_EQ(tree.live_entries(), 1U);
  EXPECT_THAT(Names(tree, LayerTree::kRoot), ElementsAre("link"));
}

TEST(LayerTree, MovingADirectoryKeepsWhatIsBelow) {
  LayerTree tree;
  const auto a = AddDirectory(tree, LayerTree::kRoot, "a");
  const auto b = AddDirectory(tree, LayerTree::kRoot, "b");
  AddFile(tree, a, "file");
  tree.MoveEntry(tree.Find(LayerTree::kRoot, "a"), b, "c");
  EXPECT_THAT(Names(tree, LayerTree::kRoot), ElementsAre("b"));
  EXPECT_THAT(Names(tree, b), ElementsAre("c"));
  EXPECT_THAT(Names(tree, a), ElementsAre("file"));
  EXPECT_EQ(tree.inode(a).links, 1U);
  EXPECT_EQ(tree.live_entries(), 3U);
}

TEST(LayerTree, FindsWhatAMapFindsAfterRandomChanges) {
  std::mt19937 random(7);
  LayerTree tree;
  std::vector<LayerTree::InodeId> directories{LayerTree::kRoot};
  for (int i = 0; i < 30; ++i) directories.push_back(AddDirectory(tree, LayerTree::kRoot, "d" + std::to_string(i)));
  std::map<std::pair<LayerTree::InodeId, std::string>, LayerTree::InodeId> expected;
  for (int i = 0; i < 30; ++i) expected[{LayerTree::kRoot, "d" + std::to_string(i)}] = directories[static_cast<size_t>(i) + 1];
  for (int step = 0; step < 20000; ++step) {
    const auto directory = directories[random() % directories.size()];
    const std::string name = "f" + std::to_string(random() % 400);
    const LayerTree::EntryId found = tree.Find(directory, name);
    const auto wanted = expected.find({directory, name});
    ASSERT_EQ(found != LayerTree::kNone, wanted != expected.end());
    if (found != LayerTree::kNone) {
      ASSERT_EQ(tree.entry(found).inode, wanted->second);
      tree.RemoveEntry(found);
      expected.erase(wanted);
    } else {
      expected[{directory, name}] = AddFile(tree, directory, name);
    }
  }
  EXPECT_EQ(tree.live_entries(), expected.size());
}

TEST(LayerTree, InternsEqualXattrSetsOnce) {
  LayerTree tree;
  const std::vector<Xattr> set{{"user.a", "1"}, {"user.b", "2"}};
  EXPECT_EQ(tree.InternXattrs({}), 0U);
  const uint32_t id = tree.InternXattrs(set);
  EXPECT_NE(id, 0U);
  EXPECT_EQ(tree.InternXattrs(set), id);
  EXPECT_EQ(tree.Xattrs(id), set);
}

TEST(ObjectId, PathIsReadBack) {
  for (const uint32_t variant : {0U, 1U, 77U}) {
    ObjectId id;
    for (size_t i = 0; i < id.hash.size(); ++i) id.hash[i] = static_cast<uint8_t>(i * 17 + variant);
    id.size = 0x1234ABCDEULL + variant;
    id.variant = variant;
    const Result<ObjectId> parsed = ObjectId::ParsePath(id.Path());
    ASSERT_TRUE(parsed.ok()) << id.Path();
    EXPECT_EQ(*parsed, id);
  }
}

TEST(ObjectId, RefusesEveryOtherSpelling) {
  const std::string good = ObjectId{}.Path();
  ASSERT_EQ(good, "00/000000000000000000000000000000-0");
  for (const std::string& bad :
       {std::string(), good + "0", good + ".0", good + ".01", good + ".", good + ".x", "/" + good, good.substr(1),
        std::string("0A/000000000000000000000000000000-0"), std::string("00/000000000000000000000000000000-A"),
        std::string("00/000000000000000000000000000000-"), std::string("00/000000000000000000000000000000-01"),
        std::string("../000000000000000000000000000000-0"), std::string("00/00000000000000000000000000000/-0"),
        std::string("00/000000000000000000000000000000-11111111111111111")}) {
    EXPECT_FALSE(ObjectId::ParsePath(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace snap
