#include "fs/layer_store.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "fs/base/fault.h"
#include "fs/base/sys_process.h"
#include "tests/support/temp_store.h"

namespace snap {
namespace {

using test::CountEntries;
using test::IsOk;
using test::Listing;
using test::RunInChild;
using test::Succeeded;
using test::TempDir;
using test::WasKilled;

LayerManifest ManifestOf(std::string_view content) {
  LayerManifest manifest;
  manifest.diff_id = DiffId{Digest::Of(content)};
  manifest.id = LayerId{manifest.diff_id.digest};
  manifest.tar_bytes = content.size();
  manifest.usage = {.entries = 1, .data_bytes = content.size(), .disk_bytes = 4096};
  return manifest;
}

void WriteFile(FdRef dir, const char* name, std::string_view content) {
  const auto file = sys::OpenAt(dir, name, O_WRONLY | O_CREAT | O_EXCL, 0644);
  ASSERT_TRUE(IsOk(file));
  ASSERT_TRUE(IsOk(sys::PWriteAll(*file, std::as_bytes(std::span(content)), 0)));
}

std::string ReadTreeFile(const LayerStore& store, const LayerId& id, const std::string& name) {
  const auto text = sys::ReadFileAt(store.root(), ("layers/" + id.Hex() + "/tree/" + name).c_str(), 1 << 20);
  return text.ok() ? *text : "error: " + text.error().Message();
}

Result<LayerManifest> CommitContent(LayerStore& store, std::string_view content,
                                    Durability durability = Durability::kFull) {
  SNAP_TRY(LayerStage stage, store.Stage());
  WriteFile(stage.tree(), "file", content);
  return store.Commit(std::move(stage), ManifestOf(content), durability);
}

class LayerStoreTest : public ::testing::Test {
 protected:
  LayerStore OpenStore() {
    auto store = LayerStore::Open(root(), true);
    EXPECT_TRUE(IsOk(store));
    return std::move(store).value();
  }
  std::string root() const { return dir_.path() + "/store"; }

  TempDir dir_;
};

TEST_F(LayerStoreTest, OpenMakesPrivateDirectoriesAndIdentifiesTheStore) {
  LayerStore store = OpenStore();
  for (const char* name : {".", "layers", "staging", "trash", "snapshots"}) {
    const auto stat = sys::StatAt(store.root(), name);
    ASSERT_TRUE(IsOk(stat)) << name;
    EXPECT_EQ(stat->st_mode & 07777U, 0700U) << name;
  }
  const auto id = sys::ReadFileAt(store.root(), "store.json", 4096);
  ASSERT_TRUE(IsOk(id));
  EXPECT_THAT(*id, ::testing::HasSubstr("objectSecret"));
  // Opening again changes nothing.
  const auto before = Listing(root());
  OpenStore();
  EXPECT_EQ(Listing(root()), before);
  EXPECT_EQ(*sys::ReadFileAt(store.root(), "store.json", 4096), *id);
}

TEST_F(LayerStoreTest, OpenRefusesWhatIsNotAStore) {
  const auto code = [](const Result<LayerStore>& store) {
    return store.ok() ? "opened" : std::string(ErrorCodeName(store.error().code()));
  };
  EXPECT_EQ(code(LayerStore::Open("relative/path", true)), ErrorCodeName(ErrorCode::kInvalidArgument));
  EXPECT_EQ(code(LayerStore::Open("/", true)), ErrorCodeName(ErrorCode::kInvalidArgument));
  EXPECT_EQ(code(LayerStore::Open(root(), false)), ErrorCodeName(ErrorCode::kNotFound));

  std::filesystem::create_directory(root());
  EXPECT_EQ(code(LayerStore::Open(root(), false)), ErrorCodeName(ErrorCode::kNotFound));
  std::ofstream(root() + "/thesis.tex") << "precious";
  EXPECT_EQ(code(LayerStore::Open(root(), true)), ErrorCodeName(ErrorCode::kInvalidArgument));
  EXPECT_EQ(CountEntries(root()), 1U);
  std::filesystem::remove(root() + "/thesis.tex");

  std::ofstream(root() + "/store.json") << R"({"version": 2})";
  EXPECT_EQ(code(LayerStore::Open(root(), true)), ErrorCodeName(ErrorCode::kUnsupported));
  std::ofstream(root() + "/store.json") << R"({"version": )";
  EXPECT_EQ(code(LayerStore::Open(root(), true)), ErrorCodeName(ErrorCode::kCorrupt));
}

TEST_F(LayerStoreTest, TheRootOfAFreshFileSystemIsTaken) {
  std::filesystem::create_directories(root() + "/lost+found");
  EXPECT_TRUE(IsOk(LayerStore::Open(root(), true)));
}

TEST_F(LayerStoreTest, TwoFirstUsersAgreeOnOneIdentity) {
  std::vector<std::thread> threads;
  std::atomic<int> opened{0};
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      if (LayerStore::Open(root(), true).ok()) ++opened;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(opened, 8);
}

TEST_F(LayerStoreTest, ACommittedLayerIsFoundWithItsContent) {
  LayerStore store = OpenStore();
  auto stage = store.Stage();
  ASSERT_TRUE(IsOk(stage));
  WriteFile(stage->tree(), "file", "hello");
  LayerManifest manifest = ManifestOf("hello");
  manifest.blob_id = BlobId{Digest::Of("blob")};
  manifest.blob_bytes = 4;
  manifest.implied_root = true;
  EXPECT_TRUE(store.List()->empty());
  ASSERT_TRUE(IsOk(store.Commit(std::move(*stage), manifest, Durability::kFull)));

  const auto found = store.Find(manifest.id);
  ASSERT_TRUE(IsOk(found));
  EXPECT_EQ(found->diff_id, manifest.diff_id);
  EXPECT_EQ(found->blob_id, manifest.blob_id);
  EXPECT_EQ(found->blob_bytes, 4U);
  EXPECT_EQ(found->usage.data_bytes, 5U);
  EXPECT_TRUE(found->durable);
  EXPECT_TRUE(found->implied_root);
  EXPECT_FALSE(found->settled);
  EXPECT_EQ(found->boot_id, *sys::BootId());
  EXPECT_EQ(ReadTreeFile(store, manifest.id, "file"), "hello");
  EXPECT_EQ(store.List()->size(), 1U);
  EXPECT_TRUE(IsOk(store.OpenTree(manifest.id)));
  EXPECT_EQ(CountEntries(root() + "/trash"), 0U);
}

TEST_F(LayerStoreTest, AStageThatIsDroppedLeavesNothing) {
  LayerStore store = OpenStore();
  const std::string boot = root() + "/staging/" + *sys::BootId();
  {
    auto stage = store.Stage();
    ASSERT_TRUE(IsOk(stage));
    WriteFile(stage->tree(), "file", "x");
    EXPECT_EQ(CountEntries(boot), 1U);
    auto second = store.Stage();
    ASSERT_TRUE(IsOk(second));
    *stage = std::move(*second);
  }
  EXPECT_EQ(CountEntries(boot), 0U);
  EXPECT_EQ(CountEntries(root() + "/trash"), 0U);
}

TEST_F(LayerStoreTest, CommittingAnExistingIdKeepsTheFirstAndDiscardsTheStage) {
  LayerStore store = OpenStore();
  ASSERT_TRUE(IsOk(CommitContent(store, "one")));
  auto stage = store.Stage();
  ASSERT_TRUE(IsOk(stage));
  WriteFile(stage->tree(), "file", "impostor");
  LayerManifest manifest = ManifestOf("one");
  manifest.tar_bytes = 999;
  const auto committed = store.Commit(std::move(*stage), manifest, Durability::kFull);
  ASSERT_TRUE(IsOk(committed));
  EXPECT_EQ(committed->tar_bytes, 3U);
  EXPECT_EQ(ReadTreeFile(store, manifest.id, "file"), "one");
  EXPECT_EQ(CountEntries(root() + "/staging/" + *sys::BootId()), 0U);
}

TEST_F(LayerStoreTest, CommitAllAddsAllOrNone) {
  LayerStore store = OpenStore();
  ASSERT_TRUE(IsOk(CommitContent(store, "shared")));
  const auto before = Listing(root());
  for (const char* point : {"layer.commit.before_flush", "layer.commit.after_flush",
                            "layer.commit.after_rename", "layer.commit.after_parent_flush"}) {
    std::vector<StagedLayer> layers;
    for (const char* content : {"shared", "a", "b", "a"}) {
      auto stage = store.Stage();
      ASSERT_TRUE(IsOk(stage));
      WriteFile(stage->tree(), "file", content);
      layers.push_back({std::move(*stage), ManifestOf(content)});
    }
    ASSERT_TRUE(IsOk(fault::Arm((std::string(point) + ":error=5").c_str())));
    const auto pins = store.CommitAll(std::move(layers), Durability::kFull);
    ASSERT_TRUE(IsOk(fault::Arm("")));
    ASSERT_FALSE(pins.ok()) << point;
    EXPECT_EQ(store.List()->size(), 1U) << point;
    ASSERT_TRUE(IsOk(store.EmptyTrash()));
    EXPECT_EQ(Listing(root()), before) << point;
  }
}

TEST_F(LayerStoreTest, AManifestThatDoesNotFitItsDirectoryIsCorrupt) {
  LayerStore store = OpenStore();
  const struct {
    const char* name;
    const char* json;
  } kCases[] = {
      {"empty", ""},   {"not json", "layer"},      {"no version", "{}"},
      {"array", "[]"}, {"another layer", nullptr}, {"bad digest", R"({"version":1,"id":"sha256:12"})"},
  };
  for (const auto& test : kCases) {
    const LayerManifest manifest = ManifestOf(test.name);
    const std::string dir = root() + "/layers/" + manifest.id.Hex();
    std::filesystem::create_directories(dir + "/tree");
    std::ofstream(dir + "/layer.json")
        << (test.json != nullptr ? test.json : LayerManifestJson(ManifestOf("other")));
    const auto found = store.Find(manifest.id);
    ASSERT_FALSE(found.ok()) << test.name;
    EXPECT_EQ(found.error().code(), ErrorCode::kCorrupt) << test.name << ": " << found.error().message();
    // Importing the layer again heals it.
    ASSERT_TRUE(IsOk(CommitContent(store, test.name))) << test.name;
    EXPECT_TRUE(IsOk(store.Find(manifest.id))) << test.name;
    EXPECT_EQ(ReadTreeFile(store, manifest.id, "file"), test.name);
  }
}

TEST_F(LayerStoreTest, ALayerOfANewerVersionIsNotTouched) {
  LayerStore store = OpenStore();
  const LayerManifest manifest = ManifestOf("x");
  const std::string dir = root() + "/layers/" + manifest.id.Hex();
  std::filesystem::create_directories(dir + "/tree");
  std::ofstream(dir + "/layer.json") << R"({"version":2})";
  const auto committed = CommitContent(store, "x");
  ASSERT_FALSE(committed.ok());
  EXPECT_EQ(committed.error().code(), ErrorCode::kUnsupported);
  EXPECT_EQ(*sys::ReadFileAt(FdRef::Cwd(), (dir + "/layer.json").c_str(), 100), R"({"version":2})");
}

TEST_F(LayerStoreTest, UnflushedLayersOfAnotherBootAreNotServedAndAreReplaced) {
  LayerStore store = OpenStore();
  LayerManifest manifest = *CommitContent(store, "x", Durability::kNone);
  EXPECT_FALSE(manifest.durable);
  ASSERT_TRUE(IsOk(store.Find(manifest.id)));

  manifest.boot_id = "another boot";
  std::ofstream(root() + "/layers/" + manifest.id.Hex() + "/layer.json") << LayerManifestJson(manifest);
  EXPECT_EQ(store.Find(manifest.id).error().code(), ErrorCode::kCorrupt);
  EXPECT_EQ(store.Pin(manifest.id).error().code(), ErrorCode::kCorrupt);
  std::ofstream(root() + "/layers/" + manifest.id.Hex() + "/tree/file") << "torn";
  ASSERT_TRUE(IsOk(CommitContent(store, "x")));
  EXPECT_EQ(ReadTreeFile(store, manifest.id, "file"), "x");
  EXPECT_EQ(CountEntries(root() + "/trash"), 1U);
}

TEST_F(LayerStoreTest, AFullCommitOfAnUnflushedLayerFlushesIt) {
  LayerStore store = OpenStore();
  ASSERT_TRUE(IsOk(CommitContent(store, "x", Durability::kNone)));
  const auto again = CommitContent(store, "x", Durability::kFull);
  ASSERT_TRUE(IsOk(again));
  EXPECT_TRUE(again->durable);
  EXPECT_TRUE(store.Find(again->id)->durable);
}

TEST_F(LayerStoreTest, APinnedLayerIsNotDiscarded) {
  LayerStore store = OpenStore();
  const LayerId id = CommitContent(store, "x")->id;
  {
    const auto pin = store.Pin(id);
    ASSERT_TRUE(IsOk(pin));
    EXPECT_EQ(store.Discard(id).error().code(), ErrorCode::kBusy);
    ASSERT_TRUE(IsOk(store.Find(id)));
  }
  ASSERT_TRUE(IsOk(store.Discard(id)));
  EXPECT_EQ(store.Discard(id).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(store.Pin(id).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(*store.EmptyTrash(), 1U);
  EXPECT_EQ(CountEntries(root() + "/trash"), 0U);
}

TEST_F(LayerStoreTest, PinsOfACommitProtectUntilTheyGo) {
  LayerStore store = OpenStore();
  auto stage = store.Stage();
  ASSERT_TRUE(IsOk(stage));
  std::vector<StagedLayer> layers;
  layers.push_back({std::move(*stage), ManifestOf("x")});
  auto pins = store.CommitAll(std::move(layers), Durability::kNone);
  ASSERT_TRUE(IsOk(pins));
  EXPECT_TRUE(pins->front().created);
  const LayerId id = pins->front().manifest.id;
  EXPECT_EQ(store.Discard(id).error().code(), ErrorCode::kBusy);
  pins->clear();
  EXPECT_TRUE(IsOk(store.Discard(id)));
}

TEST_F(LayerStoreTest, UppersAreWholeUniqueAndRemovable) {
  LayerStore store = OpenStore();
  {
    const auto upper = store.CreateUpper("c1");
    ASSERT_TRUE(IsOk(upper));
    WriteFile(upper->fs, "file", "x");
    EXPECT_EQ(sys::FStat(upper->fs)->st_mode & 07777U, 0755U);
  }
  EXPECT_EQ(store.CreateUpper("c1").error().code(), ErrorCode::kExists);
  EXPECT_EQ(CountEntries(root() + "/staging/" + *sys::BootId()), 0U);
  ASSERT_TRUE(IsOk(store.OpenUpper("c1")));
  EXPECT_EQ(store.OpenUpper("c2").error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(*store.ListUppers(), ::testing::ElementsAre("c1"));
  for (const char* name : {"", ".", "..", "a/b"}) {
    EXPECT_EQ(store.CreateUpper(name).error().code(), ErrorCode::kInvalidArgument) << name;
    EXPECT_EQ(store.OpenUpper(name).error().code(), ErrorCode::kInvalidArgument) << name;
    EXPECT_EQ(store.DiscardUpper(name).error().code(), ErrorCode::kInvalidArgument) << name;
  }
  ASSERT_TRUE(IsOk(store.DiscardUpper("c1")));
  EXPECT_TRUE(store.ListUppers()->empty());
  EXPECT_EQ(store.DiscardUpper("c1").error().code(), ErrorCode::kNotFound);
}

TEST_F(LayerStoreTest, GarbageIsWhatNobodyHolds) {
  LayerStore store = OpenStore();
  const std::string staging = root() + "/staging/";
  auto alive = store.Stage();
  ASSERT_TRUE(IsOk(alive));
  std::filesystem::create_directories(staging + "an-older-boot/abandoned/tree/dir");
  std::filesystem::create_directories(staging + *sys::BootId() + "/crashed/tree");
  std::ofstream(staging + *sys::BootId() + "/stray file") << "x";
  std::filesystem::create_directories(root() + "/trash/old/tree");

  auto counted = store.CollectGarbage(true);
  ASSERT_TRUE(IsOk(counted));
  EXPECT_EQ(counted->stages, 3U);
  EXPECT_EQ(counted->trash, 1U);
  EXPECT_TRUE(std::filesystem::exists(staging + "an-older-boot/abandoned"));

  const auto collected = store.CollectGarbage(false);
  ASSERT_TRUE(IsOk(collected));
  EXPECT_EQ(collected->stages, 3U);
  EXPECT_EQ(collected->trash, 1U);
  EXPECT_FALSE(std::filesystem::exists(staging + "an-older-boot"));
  EXPECT_EQ(CountEntries(staging + *sys::BootId()), 1U);
  EXPECT_EQ(CountEntries(root() + "/trash"), 0U);
  WriteFile(alive->tree(), "file", "still here");
  EXPECT_TRUE(IsOk(store.Commit(std::move(*alive), ManifestOf("still here"), Durability::kNone)));
}

// One process makes and commits stages as fast as it can while two others collect: nothing in use may go.
TEST_F(LayerStoreTest, CollectorsNeverTakeAFreshStage) {
  OpenStore();
  constexpr int kLayers = 300;
  const std::string stop_file = dir_.path() + "/stop";
  std::vector<pid_t> collectors;
  for (int i = 0; i < 2; ++i) {
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      auto store = LayerStore::Open(root(), false);
      while (store.ok() && !std::filesystem::exists(stop_file)) {
        const auto collected = store->CollectGarbage(false);
        if (!collected.ok() || collected->stages != 0) ::_exit(1);
      }
      ::_exit(store.ok() ? 0 : 2);
    }
    collectors.push_back(pid);
  }
  LayerStore store = OpenStore();
  for (int i = 0; i < kLayers; ++i) {
    const auto committed = CommitContent(store, std::to_string(i), Durability::kNone);
    EXPECT_TRUE(IsOk(committed)) << i;
    if (i % 3 == 0) {
      EXPECT_TRUE(IsOk(store.Discard(committed->id)));
    }
  }
  std::ofstream(stop_file) << "stop";
  for (const pid_t pid : collectors) {
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    EXPECT_TRUE(Succeeded(status)) << status;
  }
  EXPECT_EQ(store.List()->size(), kLayers - (kLayers + 2) / 3);
}

TEST_F(LayerStoreTest, TwoProcessesCommittingTheSameLayersBothSucceed) {
  OpenStore();
  const auto commit_many = [&] {
    LayerStore store = OpenStore();
    for (int i = 0; i < 100; ++i)
      EXPECT_TRUE(IsOk(CommitContent(store, std::to_string(i), Durability::kNone)));
  };
  const pid_t other = ::fork();
  ASSERT_GE(other, 0);
  if (other == 0) {
    commit_many();
    ::_exit(HasFailure() ? 1 : 0);
  }
  commit_many();
  int status = 0;
  ASSERT_EQ(::waitpid(other, &status, 0), other);
  EXPECT_TRUE(Succeeded(status));
  LayerStore store = OpenStore();
  EXPECT_EQ(store.List()->size(), 100U);
  EXPECT_EQ(CountEntries(root() + "/staging/" + *sys::BootId()), 0U);
}

// Kill at each edge of the protocol: afterwards the layer is there whole or not at all, and gc leaves nothing
// else.
TEST_F(LayerStoreTest, AKilledCommitIsWholeOrNothing) {
  for (const char* point : {"layer.stage.made", "layer.commit.before_flush", "layer.commit.after_flush",
                            "layer.commit.after_rename", "layer.commit.after_parent_flush"}) {
    const std::string content = std::string("content of ") + point;
    const int status = RunInChild([&] {
      LayerStore store = OpenStore();
      ASSERT_TRUE(IsOk(fault::Arm((std::string(point) + ":kill").c_str())));
      (void)CommitContent(store, content);
    });
    ASSERT_TRUE(WasKilled(status)) << point;
    LayerStore store = OpenStore();
    const LayerManifest manifest = ManifestOf(content);
    const bool there = store.Find(manifest.id).ok();
    EXPECT_EQ(there, std::string(point).find("rename") != std::string::npos ||
                         std::string(point).find("parent") != std::string::npos)
        << point;
    if (there) {
      EXPECT_EQ(ReadTreeFile(store, manifest.id, "file"), content);
    }
    const auto collected = store.CollectGarbage(false);
    ASSERT_TRUE(IsOk(collected)) << point;
    EXPECT_EQ(collected->stages, there ? 0U : 1U) << point;
    EXPECT_EQ(CountEntries(root() + "/staging/" + *sys::BootId()), 0U) << point;
    EXPECT_EQ(CountEntries(root() + "/trash"), 0U) << point;
  }
}

TEST_F(LayerStoreTest, AKilledDiscardIsFinishedByGarbageCollection) {
  LayerStore store = OpenStore();
  const LayerId id = CommitContent(store, "x")->id;
  const int status = RunInChild([&] {
    ASSERT_TRUE(IsOk(fault::Arm("layer.discard.after_rename:kill")));
    (void)store.Discard(id);
  });
  ASSERT_TRUE(WasKilled(status));
  EXPECT_EQ(store.Find(id).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(store.CollectGarbage(false)->trash, 1U);
}

TEST(LayerManifest, SurvivesItsJson) {
  LayerManifest manifest = ManifestOf("x");
  manifest.blob_id = BlobId{Digest::Of("y")};
  manifest.settled = true;
  manifest.durable = false;
  manifest.boot_id = "boot";
  manifest.created = "2025-01-01T00:00:00Z";
  const auto parsed = ParseLayerManifest(LayerManifestJson(manifest), "test");
  ASSERT_TRUE(IsOk(parsed));
  EXPECT_EQ(LayerManifestJson(*parsed), LayerManifestJson(manifest));
  manifest.blob_id.reset();
  EXPECT_FALSE(ParseLayerManifest(LayerManifestJson(manifest), "test")->blob_id.has_value());
}

TEST(Durability, HasTwoNames) {
  for (const Durability durability : {Durability::kFull, Durability::kNone}) {
    EXPECT_EQ(*ParseDurability(DurabilityName(durability)), durability);
  }
  EXPECT_EQ(ParseDurability("maybe").error().code(), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace snap
