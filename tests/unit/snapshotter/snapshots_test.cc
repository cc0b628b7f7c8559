// Snapshots as an engine uses them: mounted with mount(2) from the strings that it gets.
#include "snapshotter/snapshots.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <filesystem>
#include <fstream>

#include "fs/base/sys_file.h"
#include "overlay/overlay_backend.h"
#include "tests/support/memory_image.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_store.h"
#include "tests/support/tree_listing.h"

namespace snap {
namespace {

using test::IsOk;
using test::TarBuilder;
using test::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// Mounted as containerd does it, until it goes.
class EngineMounted {
 public:
  EngineMounted(const std::vector<EngineMount>& mounts, std::string target) : target_(std::move(target)) {
    std::filesystem::create_directories(target_);
    for (const EngineMount& mount : mounts) {
      unsigned long flags = 0;
      std::string data;
      for (const std::string& option : mount.options) {
        if (option == "ro") {
          flags |= MS_RDONLY;
        } else if (option == "rbind") {
          flags |= MS_BIND | MS_REC;
        } else if (option != "rw") {
          data += (data.empty() ? "" : ",") + option;
        }
      }
      // As containerd does: paths relative to a directory that all lowers share.
      constexpr size_t kPage = 4096;
      const std::filesystem::path before = std::filesystem::current_path();
      if (data.size() > kPage - 512) {
        const size_t lowers = data.find("lowerdir=") + 9;
        const std::string common =
            data.substr(lowers, data.find_last_of('/', data.find(':', lowers)) + 1 - lowers);
        for (size_t at = lowers; at != std::string::npos; at = data.find(common, at))
          data.erase(at, common.size());
        std::filesystem::current_path(common);
      }
      EXPECT_LT(data.size(), kPage);
      EXPECT_EQ(::mount(mount.source.c_str(), target_.c_str(), mount.type.c_str(), flags, data.c_str()), 0)
          << std::strerror(errno) << " " << mount.type << " " << data;
      std::filesystem::current_path(before);
      if ((flags & (MS_BIND | MS_RDONLY)) == (MS_BIND | MS_RDONLY)) {
        EXPECT_EQ(::mount("", target_.c_str(), "", flags | MS_REMOUNT, ""), 0);
      }
    }
  }
  EngineMounted(const EngineMounted&) = delete;
  EngineMounted& operator=(const EngineMounted&) = delete;
  ~EngineMounted() {
    EXPECT_EQ(::umount2(target_.c_str(), 0), 0) << std::strerror(errno);
    std::filesystem::remove(target_);
  }
  std::string operator/(const std::string& path) const { return target_ + "/" + path; }
  std::string Read(const std::string& path) const {
    std::ifstream in(*this / path);
    return in ? std::string(std::istreambuf_iterator<char>(in), {}) : "none";
  }
  void Write(const std::string& path, std::string_view text) const { std::ofstream(*this / path) << text; }
  std::map<std::string, std::string> Tree() const {
    return test::ListTree(*sys::OpenAt(FdRef::Cwd(), target_.c_str(), O_RDONLY | O_DIRECTORY));
  }

 private:
  const std::string target_;
};

class SnapshotsTest : public ::testing::TestWithParam<LayerFormatChoice> {
 protected:
  SnapshotsTest() { Open(); }
  ~SnapshotsTest() override {
    Close();
    for (const auto& entry : std::filesystem::directory_iterator(dir_.path() + "/run/engine")) {
      (void)::umount2(entry.path().c_str(), MNT_DETACH);
    }
  }
  void Open() {
    StoreOptions options;
    options.root = dir_.path() + "/store";
    auto store = Store::Open(options, MakeOverlayBackend());
    ASSERT_TRUE(IsOk(store));
    store_.emplace(std::move(store).value());
    Snapshots::Options settings;
    std::filesystem::create_directories(dir_.path() + "/run");
    settings.mounts_directory = dir_.path() + "/run/engine";
    settings.format = GetParam();
    auto snapshots = Snapshots::Open(*store_, settings);
    ASSERT_TRUE(IsOk(snapshots));
    snapshots_ = std::move(snapshots).value();
  }
  void Close() {
    snapshots_.reset();
    store_.reset();
  }
  Snapshots& snapshots() { return *snapshots_; }
  EngineMounted Mounted(const Result<std::vector<EngineMount>>& mounts) {
    EXPECT_TRUE(IsOk(mounts));
    return EngineMounted(mounts.ok() ? *mounts : std::vector<EngineMount>(),
                         dir_.path() + "/mnt" + std::to_string(++mounted_));
  }
  static Snapshots::Blob BlobOf(const std::string& tar) {
    Snapshots::Blob blob;
    blob.digest = Digest::Of(tar);
    blob.bytes = tar.size();
    blob.open = [&tar]() -> Result<std::unique_ptr<ByteSource>> {
      return MakeMemorySource(std::as_bytes(std::span(tar)));
    };
    return blob;
  }
  static SnapshotInfo Named(std::string name) {
    SnapshotInfo info;
    info.name = std::move(name);
    return info;
  }
  static std::string DiffIdOf(const std::string& tar) { return Digest::Of(tar).ToString(); }
  static std::vector<std::string> ChainOf(const std::vector<std::string>& tars) {
    std::vector<std::string> chain;
    for (const std::string& tar : tars) {
      chain.push_back(chain.empty() ? DiffIdOf(tar)
                                    : Digest::Of(chain.back() + " " + DiffIdOf(tar)).ToString());
    }
    return chain;
  }
  /// Unpacks as containerd does one after another; names are `prefix` + chain ids.
  void Unpack(const std::vector<std::string>& tars, const std::string& prefix) {
    const std::vector<std::string> chain = ChainOf(tars);
    for (size_t i = 0; i < tars.size(); ++i) {
      const std::string key = prefix + "extract-" + std::to_string(i);
      const std::string parent = i == 0 ? "" : prefix + chain[i - 1];
      ASSERT_TRUE(IsOk(snapshots().Prepare(key, parent, {})));
      const auto applied = snapshots().Apply(key, BlobOf(tars[i]));
      ASSERT_TRUE(IsOk(applied));
      EXPECT_EQ(applied->diff_id.ToString(), DiffIdOf(tars[i]));
      EXPECT_EQ(applied->tar_bytes, tars[i].size());
      ASSERT_TRUE(IsOk(snapshots().Commit(prefix + chain[i], key, {}, "")));
    }
  }
  /// The same with all layers applied before the first is committed ("rebase").
  void UnpackParallel(const std::vector<std::string>& tars, const std::string& prefix) {
    const std::vector<std::string> chain = ChainOf(tars);
    for (size_t i = tars.size(); i > 0; --i) {
      const std::string key = prefix + "extract-" + std::to_string(i - 1);
      ASSERT_TRUE(IsOk(snapshots().Prepare(
          key, "",
          {{"containerd.io/snapshot.ref", chain[i - 1]}, {"containerd.io/snapshot/parent-chain-id", "x"}})));
      const auto applied = snapshots().Apply(key, BlobOf(tars[i - 1]));
      ASSERT_TRUE(IsOk(applied));
      EXPECT_EQ(applied->diff_id.ToString(), DiffIdOf(tars[i - 1]));
    }
    for (size_t i = 0; i < tars.size(); ++i) {
      ASSERT_TRUE(IsOk(snapshots().Commit(prefix + chain[i], prefix + "extract-" + std::to_string(i), {},
                                          i == 0 ? "" : prefix + chain[i - 1])));
    }
  }
  std::vector<std::string> Names() {
    std::vector<std::string> names;
    EXPECT_TRUE(IsOk(snapshots().Walk([&](const SnapshotInfo& info) -> Result<bool> {
      names.push_back(info.name);
      return true;
    })));
    return names;
  }
  void ExpectNothingLeft() {
    EXPECT_THAT(Names(), IsEmpty());
    EXPECT_TRUE(IsOk(store_->CollectGarbage(false)));
    for (const char* directory : {"layers", "snapshots", "trash"}) {
      EXPECT_EQ(test::CountEntries(dir_.path() + "/store/" + directory), 0U) << directory;
    }
    EXPECT_EQ(test::CountEntries(dir_.path() + "/run/engine"), 1U);  // the empty directory
    for (const auto& shard : std::filesystem::directory_iterator(dir_.path() + "/store/objects")) {
      EXPECT_EQ(test::CountEntries(shard.path()), 0U);
    }
  }

  TempDir dir_;
  std::optional<Store> store_;
  std::unique_ptr<Snapshots> snapshots_;
  int mounted_ = 0;
};

std::vector<std::string> Image() {
  return {
      TarBuilder()
          .Directory("./")
          .Directory("etc/")
          .File("etc/a", "one")
          .File("etc/b", "two")
          .Add({.name = "tmp/", .type = '5', .mode = 01777})
          .File("big", std::string(200'000, 'x'))
          .Finish(),
      TarBuilder()
          .Directory("etc/")
          .File("etc/.wh.a", "")
          .File("etc/c", "three")
          .File("tmp/implied", "i")
          .Finish(),
      TarBuilder().HardLink("etc/d", "etc/b").File("big", std::string(200'000, 'y')).Finish(),
      TarBuilder().Directory("etc/").File("etc/.wh..wh..opq", "").File("etc/e", "five").Finish(),
  };
}

TEST_P(SnapshotsTest, ChangesAreCommittedAndSeenAbove) {
  {
    const EngineMounted mounted = Mounted(snapshots().Prepare("a", "", {}));
    mounted.Write("one", "1");
    mounted.Write("two", "2");
  }
  ASSERT_TRUE(IsOk(snapshots().Commit("layer-a", "a", {{"l", "v"}}, "")));
  EXPECT_EQ(snapshots().Stat("a").error().code(), ErrorCode::kNotFound);
  {
    const EngineMounted mounted = Mounted(snapshots().Prepare("b", "layer-a", {}));
    EXPECT_EQ(mounted.Read("one"), "1");
    std::filesystem::remove(mounted / "one");
    mounted.Write("two", "changed");
  }
  ASSERT_TRUE(IsOk(snapshots().Commit("layer-b", "b", {}, "")));
  {
    const EngineMounted view = Mounted(snapshots().View("v", "layer-b", {}));
    EXPECT_EQ(view.Read("one"), "none");
    EXPECT_EQ(view.Read("two"), "changed");
    std::ofstream refused(view / "three");
    EXPECT_FALSE(refused.is_open());
  }
  const SnapshotInfo info = *snapshots().Stat("layer-b");
  EXPECT_EQ(info.parent, "layer-a");
  EXPECT_EQ(info.kind, SnapshotKind::kCommitted);
  const Result<void> refused = snapshots().Remove("layer-a");
  EXPECT_EQ(refused.error().code(), ErrorCode::kBusy);
  EXPECT_THAT(refused.error().message(), HasSubstr("remove"));
  for (const char* name : {"v", "layer-b", "layer-a"}) EXPECT_TRUE(IsOk(snapshots().Remove(name)));
  ExpectNothingLeft();
}

TEST_P(SnapshotsTest, WhatAStateDoesNotAllowIsRefused) {
  ASSERT_TRUE(IsOk(snapshots().Prepare("base-key", "", {})));
  ASSERT_TRUE(IsOk(snapshots().Commit("base", "base-key", {}, "")));
  ASSERT_TRUE(IsOk(snapshots().Prepare("active", "base", {})));
  ASSERT_TRUE(IsOk(snapshots().View("view", "base", {})));
  const auto code = [](const auto& result) {
    return result.ok() ? std::string("ok") : std::string(ErrorCodeName(result.error().code()));
  };
  EXPECT_EQ(code(snapshots().Prepare("active", "base", {})), "E_EXISTS");
  EXPECT_EQ(code(snapshots().View("active", "base", {})), "E_EXISTS");
  EXPECT_EQ(code(snapshots().Prepare("base", "", {})), "E_EXISTS");
  EXPECT_EQ(code(snapshots().Prepare("x", "none", {})), "E_NOT_FOUND");
  EXPECT_EQ(code(snapshots().Prepare("x", "active", {})), "E_INVALID_ARGUMENT");
  EXPECT_EQ(code(snapshots().View("x", "view", {})), "E_INVALID_ARGUMENT");
  EXPECT_EQ(code(snapshots().Mounts("base")), "E_BUSY");
  EXPECT_EQ(code(snapshots().Mounts("none")), "E_NOT_FOUND");
  EXPECT_EQ(code(snapshots().Commit("base", "active", {}, "")), "E_EXISTS");
  EXPECT_EQ(code(snapshots().Commit("new", "none", {}, "")), "E_NOT_FOUND");
  EXPECT_EQ(code(snapshots().Commit("new", "view", {}, "")), "E_BUSY");
  EXPECT_EQ(code(snapshots().Commit("new", "base", {}, "")), "E_BUSY");
  EXPECT_EQ(code(snapshots().Commit("new", "active", {}, "other")), "E_INVALID_ARGUMENT");
  EXPECT_EQ(code(snapshots().Remove("none")), "E_NOT_FOUND");
  EXPECT_EQ(code(snapshots().Remove("base")), "E_BUSY");
  EXPECT_EQ(code(snapshots().Stat("none")), "E_NOT_FOUND");
  EXPECT_EQ(code(snapshots().Usage("none")), "E_NOT_FOUND");
  EXPECT_EQ(code(snapshots().Update(Named("none"), {})), "E_NOT_FOUND");
  EXPECT_EQ(code(snapshots().Update(Named("base"), {"parent"})), "E_INVALID_ARGUMENT");
  EXPECT_EQ(code(snapshots().Prepare("", "", {})), "E_INVALID_ARGUMENT");
  ASSERT_TRUE(IsOk(snapshots().Prepare("loose", "", {})));
  EXPECT_EQ(code(snapshots().Commit("new", "loose", {}, "none")), "E_NOT_FOUND");
  EXPECT_EQ(code(snapshots().Commit("new", "loose", {}, "active")), "E_BUSY");
  EXPECT_EQ(code(snapshots().Commit("new", "loose", {}, "base")), "ok");
  EXPECT_EQ(snapshots().Stat("new")->parent, "base");
}

TEST_P(SnapshotsTest, LabelsChangeAsTheMaskSays) {
  ASSERT_TRUE(IsOk(snapshots().Prepare("s", "", {{"a", "1"}, {"b.c", "2"}, {"empty", ""}})));
  EXPECT_EQ(snapshots().Stat("s")->labels, (Labels{{"a", "1"}, {"b.c", "2"}}));
  SnapshotInfo info = Named("s");
  info.parent = "ignored";
  info.labels = {{"a", "3"}, {"d", "4"}};
  EXPECT_EQ(snapshots().Update(info, {"labels.a", "labels.b.c"})->labels, (Labels{{"a", "3"}}));
  EXPECT_EQ(snapshots().Update(info, {"labels"})->labels, (Labels{{"a", "3"}, {"d", "4"}}));
  info.labels = {{"z", "5"}};
  const SnapshotInfo updated = *snapshots().Update(info, {});
  EXPECT_EQ(updated.labels, (Labels{{"z", "5"}}));
  EXPECT_EQ(updated.parent, "");
  EXPECT_GT(updated.updated_ns, updated.created_ns);
  EXPECT_EQ(*snapshots().Stat("s"), updated);
}

TEST_P(SnapshotsTest, AppliedLayersAreStackedAndGoWithTheirSnapshots) {
  Unpack(Image(), "");
  const std::vector<std::string> chain = ChainOf(Image());
  {
    const EngineMounted mounted = Mounted(snapshots().Prepare("c", chain.back(), {}));
    EXPECT_EQ(mounted.Read("etc/e"), "five");
    EXPECT_EQ(mounted.Read("etc/b"), "none");
    EXPECT_EQ(mounted.Read("tmp/implied"), "i");
    EXPECT_EQ(mounted.Read("big"), std::string(200'000, 'y'));
    EXPECT_EQ(std::filesystem::status(mounted / "tmp").permissions(), std::filesystem::perms{01777});
    mounted.Write("new", "n");
    std::filesystem::permissions(mounted / "big", std::filesystem::perms{0600});
    EXPECT_EQ(mounted.Read("big"), std::string(200'000, 'y'));
  }
  // A layer whose snapshot nobody wrote to needs no directory of its own.
  EXPECT_EQ(test::CountEntries(dir_.path() + "/store/snapshots"), 1U);
  ASSERT_TRUE(IsOk(snapshots().Commit("image-2", "c", {}, "")));
  {
    const EngineMounted mounted = Mounted(snapshots().View("v", "image-2", {}));
    EXPECT_EQ(mounted.Read("new"), "n");
    EXPECT_EQ(mounted.Read("big"), std::string(200'000, 'y'));
  }
  EXPECT_GT(snapshots().Usage(chain.front())->bytes, 200'000U);
  EXPECT_GT(snapshots().Usage(chain.front())->inodes, 4U);
  EXPECT_TRUE(IsOk(store_->CollectGarbage(false)));  // takes nothing that is used
  {
    const EngineMounted mounted = Mounted(snapshots().Mounts("v"));
    EXPECT_EQ(mounted.Read("etc/e"), "five");
  }
  const auto report = store_->Check({});
  ASSERT_TRUE(IsOk(report));
  for (const CheckFinding& finding : report->findings)
    ADD_FAILURE() << finding.object << ": " << finding.problem;
  ASSERT_TRUE(IsOk(snapshots().Remove("v")));
  ASSERT_TRUE(IsOk(snapshots().Remove("image-2")));
  for (auto name = chain.rbegin(); name != chain.rend(); ++name) ASSERT_TRUE(IsOk(snapshots().Remove(*name)));
  ExpectNothingLeft();
}

TEST_P(SnapshotsTest, LayersAppliedBesideTheirParentsGiveTheSameTree) {
  Unpack(Image(), "first/");
  const std::vector<std::string> chain = ChainOf(Image());
  std::map<std::string, std::string> wanted;
  {
    const EngineMounted mounted = Mounted(snapshots().View("v", "first/" + chain.back(), {}));
    wanted = mounted.Tree();
  }
  ASSERT_TRUE(IsOk(snapshots().Remove("v")));
  for (auto name = chain.rbegin(); name != chain.rend(); ++name)
    ASSERT_TRUE(IsOk(snapshots().Remove("first/" + *name)));
  ExpectNothingLeft();  // so that nothing is found again
  UnpackParallel(Image(), "second/");
  const EngineMounted mounted = Mounted(snapshots().View("v", "second/" + chain.back(), {}));
  EXPECT_EQ(mounted.Tree(), wanted);
}

TEST_P(SnapshotsTest, ARootThatIsNotNamedIsTheParents) {
  const std::vector<std::string> image = {
      TarBuilder().Add({.name = "./", .type = '5', .mode = 0700, .uid = 7}).File("a", "1").Finish(),
      TarBuilder().File("b", "2").Finish()};
  for (const bool parallel : {false, true}) {
    const std::string prefix = parallel ? "p/" : "s/";
    parallel ? UnpackParallel(image, prefix) : Unpack(image, prefix);
    const EngineMounted mounted = Mounted(snapshots().View(prefix + "v", prefix + ChainOf(image).back(), {}));
    struct stat stat {};
    ASSERT_EQ(::stat((mounted / ".").c_str(), &stat), 0);
    EXPECT_EQ(stat.st_mode & 07777U, 0700U) << prefix;
    EXPECT_EQ(stat.st_uid, 7U) << prefix;
    EXPECT_EQ(mounted.Read("b"), "2");
  }
}

TEST_P(SnapshotsTest, ALayerThatWasFinishedAtTheBottomIsNotTakenForOneAboveOthers) {
  const std::string layer = TarBuilder().File("tmp/x", "1").Finish();  // does not name tmp
  const std::string base =
      TarBuilder().Directory("./").Add({.name = "tmp/", .type = '5', .mode = 01777}).Finish();
  Unpack({layer}, "alone/");
  UnpackParallel({base, layer}, "both/");
  const EngineMounted mounted = Mounted(snapshots().View("v", "both/" + ChainOf({base, layer}).back(), {}));
  EXPECT_EQ(std::filesystem::status(mounted / "tmp").permissions(), std::filesystem::perms{01777});
  EXPECT_EQ(mounted.Read("tmp/x"), "1");
}

TEST_P(SnapshotsTest, LayersOfSnapshotsAreNotMigrated) {
  Unpack({Image().front()}, "");
  const LayerId id = store_->layers().List()->front();
  const LayerFormat other =
      GetParam() == LayerFormatChoice::kPacked ? LayerFormat::kTree : LayerFormat::kPacked;
  EXPECT_EQ(store_->MigrateLayer(id, other).error().code(), ErrorCode::kBusy);
}

TEST_P(SnapshotsTest, PathsThatMountCannotTakeAreRefused) {
  for (const char* name : {"a,b", "a:b", "a\\b", "a\"b"}) {
    StoreOptions options;
    options.root = dir_.path() + "/" + name;
    auto store = Store::Open(options, MakeOverlayBackend());
    ASSERT_TRUE(IsOk(store));
    Snapshots::Options settings;
    settings.mounts_directory = dir_.path() + "/run/engine";
    EXPECT_EQ(Snapshots::Open(*store, settings).error().code(), ErrorCode::kInvalidArgument) << name;
  }
}

TEST_P(SnapshotsTest, ABlobThatIsKnownIsNotReadAgain) {
  Unpack(Image(), "one/");
  ASSERT_TRUE(IsOk(snapshots().Prepare("again", "", {})));
  Snapshots::Blob blob = BlobOf(Image().front());
  blob.open = []() -> Result<std::unique_ptr<ByteSource>> {
    return MakeError(ErrorCode::kIo, "it was read");
  };
  const auto applied = snapshots().Apply("again", blob);
  ASSERT_TRUE(IsOk(applied));
  EXPECT_TRUE(applied->adopted);
  EXPECT_EQ(applied->diff_id.ToString(), DiffIdOf(Image().front()));
}

TEST_P(SnapshotsTest, ABlobThatIsNotWhatItsDigestSaysLeavesTheSnapshotAsItWas) {
  ASSERT_TRUE(IsOk(snapshots().Prepare("a", "", {})));
  const std::string tar = Image().front();
  Snapshots::Blob blob = BlobOf(tar);
  blob.digest = Digest::Of("other");
  EXPECT_EQ(snapshots().Apply("a", blob).error().code(), ErrorCode::kCorrupt);
  EXPECT_EQ(test::CountEntries(dir_.path() + "/store/layers"), 0U);
  ASSERT_TRUE(IsOk(snapshots().Apply("a", BlobOf(tar))));
  ASSERT_TRUE(IsOk(snapshots().Commit("b", "a", {}, "")));
}

TEST_P(SnapshotsTest, ImportedLayersAreAdopted) {
  test::MemoryImage source(Image());
  ImportOptions options;
  options.format = GetParam();
  options.durability = Durability::kNone;
  ASSERT_TRUE(IsOk(store_->Import(source, "test", options)));
  const std::vector<std::string> chain = ChainOf(Image());
  std::string parent;
  for (const std::string& id : chain) {
    const auto prepared = snapshots().Prepare("extract " + id, parent, {{"containerd.io/snapshot.ref", id}});
    ASSERT_FALSE(prepared.ok()) << id;
    EXPECT_EQ(prepared.error().code(), ErrorCode::kExists);
    const SnapshotInfo info = *snapshots().Stat(id);
    EXPECT_EQ(info.kind, SnapshotKind::kCommitted);
    EXPECT_EQ(info.parent, parent);
    EXPECT_EQ(info.labels.at("containerd.io/snapshot.ref"), id);
    parent = id;
  }
  EXPECT_THAT(Names(), ::testing::UnorderedElementsAreArray(chain));
  const EngineMounted mounted = Mounted(snapshots().Prepare("c", parent, {}));
  EXPECT_EQ(mounted.Read("etc/e"), "five");
}

TEST_P(SnapshotsTest, EverythingIsThereAfterARestart) {
  Unpack(Image(), "");
  const std::string top = ChainOf(Image()).back();
  const auto before = snapshots().Prepare("c", top, {{"a", "b"}});
  ASSERT_TRUE(IsOk(before));
  const SnapshotInfo info = *snapshots().Stat("c");
  const SnapshotUsage usage = *snapshots().Usage(top);
  {
    const EngineMounted mounted = Mounted(before);
    mounted.Write("f", "x");
    Close();
    Open();
    EXPECT_EQ(mounted.Read("etc/e"), "five");  // a running container does not notice
  }
  EXPECT_EQ(*snapshots().Stat("c"), info);
  EXPECT_EQ(*snapshots().Usage(top), usage);
  const auto after = snapshots().Mounts("c");
  ASSERT_TRUE(IsOk(after));
  EXPECT_EQ(after->front().options, before->front().options);
  const EngineMounted mounted = Mounted(after);
  EXPECT_EQ(mounted.Read("f"), "x");
  EXPECT_EQ(mounted.Read("etc/e"), "five");
}

TEST_P(SnapshotsTest, ALayerThatWaitsForItsParentIsNotForgottenSilently) {
  const std::vector<std::string> chain = ChainOf(Image());
  Unpack({Image().front()}, "");
  ASSERT_TRUE(IsOk(snapshots().Prepare("k", "", {{"containerd.io/snapshot.ref", chain[1]}})));
  ASSERT_TRUE(IsOk(snapshots().Apply("k", BlobOf(Image()[1]))));
  Close();
  Open();
  EXPECT_EQ(snapshots().Commit(chain[1], "k", {}, chain[0]).error().code(), ErrorCode::kUnavailable);
  ASSERT_TRUE(IsOk(snapshots().Apply("k", BlobOf(Image()[1]))));
  EXPECT_TRUE(IsOk(snapshots().Commit(chain[1], "k", {}, chain[0])));
}

TEST_P(SnapshotsTest, ManyParentsFitIntoAPage) {
  constexpr int kDepth = 120;
  std::string parent;
  for (int i = 0; i < kDepth; ++i) {
    const std::string key = "k" + std::to_string(i);
    const auto mounts = snapshots().Prepare(key, parent, {});
    ASSERT_TRUE(IsOk(mounts));
    if (i % 40 == 39 || i == 0) {
      const EngineMounted mounted = Mounted(mounts);
      mounted.Write("f" + std::to_string(i), "x");
    }
    parent = "c" + std::to_string(i);
    ASSERT_TRUE(IsOk(snapshots().Commit(parent, key, {}, "")));
  }
  const EngineMounted mounted = Mounted(snapshots().View("v", parent, {}));
  EXPECT_EQ(mounted.Read("f0") + mounted.Read("f39") + mounted.Read("f119"), "xxx");
}

TEST_P(SnapshotsTest, OwnersAreMappedWithoutTouchingTheLayers) {
  const Labels labels = {{"containerd.io/snapshot/uidmapping", "0:100000:1000,5000:300000:10"},
                         {"containerd.io/snapshot/gidmapping", "0:200000:1000"}};
  std::vector<std::string> image = Image();
  image.push_back(TarBuilder().Add({.name = "owned", .uid = 5001, .gid = 7}).Finish());
  Unpack(image, "");
  ASSERT_TRUE(IsOk(snapshots().Prepare("plain", ChainOf(image).back(), {})));
  {
    const EngineMounted plain = Mounted(snapshots().Mounts("plain"));
    plain.Write("above", "1");
  }
  ASSERT_TRUE(IsOk(snapshots().Commit("mixed", "plain", {}, "")));
  const auto owner = [](const std::string& path) {
    struct stat stat {};
    EXPECT_EQ(::stat(path.c_str(), &stat), 0) << path;
    return fmt::format("{}:{}", stat.st_uid, stat.st_gid);
  };
  for (const std::string& parent : {std::string("mixed"), ChainOf(image).back()}) {
    const std::string key = "mapped " + parent;
    const EngineMounted mounted = Mounted(snapshots().Prepare(key, parent, labels));
    EXPECT_EQ(owner(mounted / "."), "100000:200000");
    EXPECT_EQ(owner(mounted / "owned"), "300001:200007");
    EXPECT_EQ(owner(mounted / "big"), "100000:200000");
    EXPECT_EQ(mounted.Read("big"), std::string(200'000, 'y'));
    EXPECT_EQ(mounted.Read("etc/e"), "five");
  }
  const EngineMounted plain = Mounted(snapshots().View("plain", "mixed", {}));
  EXPECT_EQ(owner(plain / "owned"), "5001:7");
  for (const char* wrong : {"", "0", "0:1", "0:1:0", "0:1:2:3", "a:1:2", "0:1:2,", "0:1:4294967295",
                            "0:10:5,3:100:5", "-1:1:1"}) {
    const auto refused = snapshots().Prepare(
        "x", "mixed",
        {{"containerd.io/snapshot/uidmapping", wrong}, {"containerd.io/snapshot/gidmapping", "0:1:2"}});
    // A trailing comma is nothing; an empty label is none.
    if (refused.ok()) {
      EXPECT_STREQ(wrong, "0:1:2,");
      ASSERT_TRUE(IsOk(snapshots().Remove("x")));
    } else {
      EXPECT_EQ(refused.error().code(), ErrorCode::kInvalidArgument) << wrong;
    }
  }
}

TEST_P(SnapshotsTest, MountsTellWhoseTheyAre) {
  Unpack(Image(), "");
  const std::string top = ChainOf(Image()).back();
  const auto active = snapshots().Prepare("a", top, {});
  const auto view = snapshots().View("v", top, {});
  const auto lone = snapshots().Prepare("l", "", {});
  EXPECT_EQ(snapshots().NameOfMounts(*active), "a");
  EXPECT_EQ(snapshots().NameOfMounts(*view), "v");
  EXPECT_EQ(snapshots().NameOfMounts(*lone), "l");
  EXPECT_EQ(snapshots().NameOfMounts({}), std::nullopt);
  EXPECT_EQ(snapshots().NameOfMounts({{"bind", "/etc", "", {"rw", "rbind"}}}), std::nullopt);
  EXPECT_EQ(snapshots().NameOfMounts(
                {{"overlay", "overlay", "", {"upperdir=" + dir_.path() + "/store/snapshots/e999/fs"}}}),
            std::nullopt);
}

TEST_P(SnapshotsTest, WhatWasWrittenIsGivenAsAnArchive) {
  Unpack(Image(), "");
  const std::string top = ChainOf(Image()).back();
  {
    const EngineMounted mounted = Mounted(snapshots().Prepare("c", top, {}));
    mounted.Write("new", "n");
    std::filesystem::remove(mounted / "etc/e");
    std::filesystem::permissions(mounted / "big", std::filesystem::perms{0600});
  }
  std::string tar;
  {
    auto source = snapshots().OpenAddition("c");
    ASSERT_TRUE(IsOk(source));
    std::vector<std::byte> buffer(10'000);
    for (;;) {
      const auto got = (*source)->Read(buffer);
      ASSERT_TRUE(IsOk(got));
      if (*got == 0) break;
      tar.append(reinterpret_cast<const char*>(buffer.data()), *got);
    }
  }
  ASSERT_TRUE(IsOk(snapshots().Prepare("again", top, {})));
  ASSERT_TRUE(IsOk(snapshots().Apply("again", BlobOf(tar))));
  ASSERT_TRUE(IsOk(snapshots().Commit("again-committed", "again", {}, "")));
  const EngineMounted before = Mounted(snapshots().Mounts("c"));
  const EngineMounted after = Mounted(snapshots().View("v", "again-committed", {}));
  auto wanted = before.Tree();
  auto found = after.Tree();
  wanted.erase(".");  // whose time alone has changed, which is not worth an entry
  found.erase(".");
  EXPECT_EQ(found, wanted);
  EXPECT_EQ(after.Read("etc/e"), "none");
}

INSTANTIATE_TEST_SUITE_P(Formats, SnapshotsTest,
                         ::testing::Values(LayerFormatChoice::kPacked, LayerFormatChoice::kTree),
                         [](const auto& suite) {
                           return suite.param == LayerFormatChoice::kPacked ? "packed" : "tree";
                         });

}  // namespace
}  // namespace snap
