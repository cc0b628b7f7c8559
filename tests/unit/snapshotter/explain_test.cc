// What `snap why` and `snap system gc --dry-run` say, held against what garbage collection does.
#include "snapshotter/explain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "overlay/overlay_backend.h"
#include "snapshotter/snapshots.h"
#include "tests/support/memory_image.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_store.h"

namespace snap {
namespace {

using test::IsOk;
using test::MemoryImage;
using test::TarBuilder;
using test::TempDir;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ExplainTest : public ::testing::Test {
 protected:
  void SetUp() override {
    StoreOptions options;
    options.root = dir_.path() + "/store";
    auto store = Store::Open(options, MakeOverlayBackend());
    ASSERT_TRUE(IsOk(store));
    store_.emplace(*std::move(store));
  }
  ImageRecord Import(std::vector<std::string> tars, const std::string& name) {
    MemoryImage source(std::move(tars), "");
    ImportOptions options;
    options.name = name;
    options.durability = Durability::kNone;
    auto result = store_->Import(source, "test", options);
    EXPECT_TRUE(IsOk(result));
    return result.ok() ? result->image : ImageRecord();
  }
  /// The one thing that an id names.
  Explanation Only(const std::string& id) {
    auto found = Explain(*store_, id);
    EXPECT_TRUE(IsOk(found));
    if (!found.ok() || found->empty()) return {};
    EXPECT_EQ(found->size(), 1U) << id;
    return found->front();
  }
  std::string root() const { return dir_.path() + "/store"; }

  TempDir dir_;
  std::optional<Store> store_;
};

std::string TarOf(std::string name, std::string data) {
  return TarBuilder().File(std::move(name), std::move(data)).Finish();
}

TEST_F(ExplainTest, AnImageIsKeptByItsNamesAndContainers) {
  const ImageRecord image = Import({TarOf("a", "1")}, "app:1");
  ASSERT_TRUE(IsOk(store_->Tag("app:1", "app:2")));
  ContainerRecord container;
  container.image = image.id;
  container.name = "box";
  ASSERT_TRUE(IsOk(store_->CreateContainer(container)));
  const Explanation why = Only("app:1");
  EXPECT_EQ(why.type, "image");
  EXPECT_THAT(why.kept_by, ElementsAre("its name 'app:1'", "its name 'app:2'", "container 'box'"));
  EXPECT_EQ(why.removal, "'snap rmi app:1'");
  EXPECT_FALSE(why.orphan);
  const Explanation box = Only("box");
  EXPECT_EQ(box.type, "container");
  EXPECT_THAT(box.removal, HasSubstr("'snap rm box'"));
  ASSERT_TRUE(IsOk(store_->RemoveContainer("box")));
}

TEST_F(ExplainTest, ALayerIsKeptByItsImages) {
  const ImageRecord first = Import({TarOf("a", "1"), TarOf("b", "2")}, "first");
  const ImageRecord second = Import({TarOf("a", "1")}, "second");
  const std::string hex = first.layers[0].Hex();
  for (const std::string& id : {hex, "sha256:" + hex, hex.substr(0, 12)}) {
    const auto found = Explain(*store_, id);
    ASSERT_TRUE(IsOk(found)) << id;
    EXPECT_EQ(found->front().type, "layer");
    EXPECT_THAT(found->front().kept_by,
                ::testing::UnorderedElementsAre("image 'first:latest'", "image 'second:latest'"));
    EXPECT_FALSE(found->front().orphan);
  }
}

TEST_F(ExplainTest, AnObjectIsKeptByItsLayers) {
  if (!store_->backend().CanMountPacked().ok()) GTEST_SKIP() << "packed layers cannot be mounted here";
  const ImageRecord image = Import({TarOf("big", std::string(200'000, 'x'))}, "app");
  std::vector<std::string> paths;
  ASSERT_TRUE(
      IsOk(store_->layers().objects().ForEach([&](const auto& id, const std::string&) -> Result<void> {
        if (id) paths.push_back(id->Path());
        return {};
      })));
  ASSERT_EQ(paths.size(), 1U);
  const Explanation why = Only(paths[0]);
  EXPECT_EQ(why.type, "object");
  EXPECT_EQ(why.bytes, 200'000U);
  EXPECT_THAT(why.kept_by, ElementsAre("layer " + image.layers[0].ToString()));
}

TEST_F(ExplainTest, ASnapshotSaysItsLabelsAndChildren) {
  Snapshots::Options options;
  options.mounts_directory = dir_.path() + "/l";
  auto snapshots = Snapshots::Open(*store_, options);
  ASSERT_TRUE(IsOk(snapshots));
  ASSERT_TRUE(IsOk((*snapshots)->Prepare("default/1/work", "", {{"containerd.io/gc.root", "now"}})));
  ASSERT_TRUE(IsOk((*snapshots)->Commit("default/2/base", "default/1/work", {}, "")));
  ASSERT_TRUE(IsOk((*snapshots)->Prepare("default/3/child", "default/2/base", {})));
  const Explanation why = Only("base");  // the name as the engine's users know it
  EXPECT_EQ(why.type, "snapshot");
  EXPECT_EQ(why.id, "default/2/base");
  EXPECT_THAT(why.facts, Contains(std::pair<std::string, std::string>("kind", "committed")));
  EXPECT_THAT(why.kept_by, Contains(HasSubstr("its child, snapshot 'default/3/child'")));
  EXPECT_THAT(why.removal, HasSubstr("after all its children"));
  const Explanation child = Only("default/3/child");
  EXPECT_THAT(child.kept_by, ElementsAre("the engine that made it, until it removes it"));
  const Explanation upper = Only(SnapshotUpperName(2));
  EXPECT_EQ(upper.type, "upper");
  EXPECT_FALSE(upper.orphan);
  ASSERT_TRUE(IsOk((*snapshots)->Remove("default/3/child")));
  ASSERT_TRUE(IsOk((*snapshots)->Remove("default/2/base")));
}

TEST_F(ExplainTest, OrphansAreExactlyWhatGarbageCollectionTakes) {
  const ImageRecord image = Import({TarOf("a", "1")}, "app");
  // A layer that the database has forgotten, and an upper that nobody has.
  const std::string stray(64, 'a');
  std::filesystem::copy(root() + "/layers/" + image.layers[0].Hex(), root() + "/layers/" + stray,
                        std::filesystem::copy_options::recursive);
  ASSERT_TRUE(store_->layers().CreateUpper("nobodys").ok());
  EXPECT_TRUE(Only(stray).orphan);
  EXPECT_TRUE(Only("nobodys").orphan);
  EXPECT_EQ(Only("nobodys").removal, "'snap system gc'");

  auto report = store_->CollectGarbage(true, 10);
  ASSERT_TRUE(IsOk(report));
  std::vector<std::string> found;
  for (const GcFinding& finding : report->findings)
    found.push_back(finding.type + " " + finding.id + ": " + finding.reason);
  EXPECT_THAT(found, ElementsAre("layer sha256:" + stray + ": its layer.json cannot be used",
                                 "upper nobodys: no container and no snapshot has it"));
  EXPECT_EQ(store_->CollectGarbage(true, 1)->findings.size(), 1U);
  EXPECT_EQ(store_->CollectGarbage(true, 1)->uppers, 1U);
  ASSERT_TRUE(IsOk(store_->CollectGarbage(false)));
  EXPECT_THAT(store_->CollectGarbage(true, 10)->findings, IsEmpty());
  EXPECT_EQ(Explain(*store_, stray).error().code(), ErrorCode::kNotFound);
  EXPECT_FALSE(Only("app").orphan);
}

TEST_F(ExplainTest, ShortAndUnknownIdsAreNotFound) {
  (void)Import({TarOf("a", "1")}, "app");
  for (const char* id : {"", "a", "sha256:", "zzzzzzzz", "\n"}) {
    const auto found = Explain(*store_, id);
    ASSERT_FALSE(found.ok()) << id;
    EXPECT_EQ(found.error().code(), ErrorCode::kNotFound) << id;
  }
}

}  // namespace
}  // namespace snap
