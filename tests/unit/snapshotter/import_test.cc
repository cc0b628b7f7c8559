// Import from images in memory: what becomes of good ones, and that bad ones leave the store as it was.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <thread>

#include "fs/base/fault.h"
#include "fs/base/sys_process.h"
#include "overlay/overlay_backend.h"
#include "snapshotter/store.h"
#include "tests/support/memory_image.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_store.h"

namespace snap {
namespace {

using test::CountEntries;
using test::IsOk;
using test::Listing;
using test::MemoryImage;
using test::RunInChild;
using test::Succeeded;
using test::TarBuilder;
using test::TempDir;
using test::WasKilled;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string TarOf(std::string name, std::string data) {
  return TarBuilder().Directory("./").File(std::move(name), std::move(data)).Finish();
}
std::string EmptyTar() { return TarBuilder().Finish(); }

class ImportTest : public ::testing::Test {
 protected:
  std::string root() const { return dir_.path() + "/store"; }
  Store Open() {
    StoreOptions options;
    options.root = root();
    auto store = Store::Open(options, MakeOverlayBackend());
    EXPECT_TRUE(IsOk(store));
    return std::move(store).value();
  }
  static Result<ImportResult> Import(Store& store, oci::ImageSource& image, std::string name = "",
                                     Durability durability = Durability::kNone) {
    ImportOptions options;
    options.name = std::move(name);
    options.durability = durability;
    options.engine = IoEngineKind::kPlain;
    return store.Import(image, "test", options);
  }
  /// The mounted image.
  static Mount MountOf(Store& store, const ImageRecord& image) {
    auto mount = store.MountImage(image, {}, std::nullopt, {});
    EXPECT_TRUE(IsOk(mount));
    return std::move(mount).value();
  }
  static std::string ReadFile(const Mount& mount, const char* path) {
    const auto text = sys::ReadFileAt(mount.root(), path, 1 << 20);
    return text.ok() ? *text : "error: " + text.error().Message();
  }
  static void ExpectClean(Store& store) {
    const auto report = store.Check({});
    ASSERT_TRUE(IsOk(report));
    for (const CheckFinding& finding : report->findings) {
      ADD_FAILURE() << finding.object << ": " << finding.problem;
    }
  }
  static std::string Rows(Store& store) {
    std::string out;
    const auto images = store.Images();
    EXPECT_TRUE(IsOk(images));
    for (const ImageRecord& image : *images) {
      out += image.id.ToString();
      for (const std::string& name : image.names) out += " " + name;
      for (const LayerId& layer : image.layers) out += " " + layer.ToString();
      out += "\n";
    }
    return out;
  }

  TempDir dir_;
};

TEST_F(ImportTest, AnImageIsThereWithNameLayersAndContent) {
  Store store = Open();
  MemoryImage source({TarOf("a", "one"), TarOf("b", "two")});
  const auto result = Import(store, source, "test", Durability::kFull);
  ASSERT_TRUE(IsOk(result));
  EXPECT_EQ(result->layers_new, 2U);
  EXPECT_EQ(result->layers_shared, 0U);
  EXPECT_TRUE(result->replaced_names.empty());
  const auto image = store.FindImage("test:latest");
  ASSERT_TRUE(IsOk(image));
  EXPECT_EQ(image->id.digest, Digest::Of(source.change().config_json));
  EXPECT_EQ(image->source, "test");
  const Mount mount = MountOf(store, *image);
  EXPECT_EQ(ReadFile(mount, "a"), "one");
  EXPECT_EQ(ReadFile(mount, "b"), "two");
  const auto layers = store.ImageLayers(*image);
  ASSERT_TRUE(IsOk(layers));
  ASSERT_EQ(layers->size(), 2U);
  EXPECT_EQ((*layers)[1].manifest.usage.data_bytes, 3U);
  EXPECT_EQ((*layers)[1].references, 1U);
  EXPECT_TRUE((*layers)[1].manifest.durable);
  EXPECT_EQ((*layers)[0].manifest.blob_id, BlobId{Digest::Of(source.blobs()[0])});
  ExpectClean(store);
}

TEST_F(ImportTest, LayersThatAreThereAreNotRead) {
  Store store = Open();
  MemoryImage one({TarOf("base", "base"), TarOf("a", "1")});
  MemoryImage two({TarOf("base", "base"), TarOf("b", "2")});
  ASSERT_TRUE(IsOk(Import(store, one, "one")));
  const auto result = Import(store, two, "two");
  ASSERT_TRUE(IsOk(result));
  EXPECT_EQ(result->layers_shared, 1U);
  EXPECT_EQ(result->layers_new, 1U);
  EXPECT_EQ(two.opened(), 1U);
  const auto again = Import(store, two, "again");
  ASSERT_TRUE(IsOk(again));
  EXPECT_EQ(again->layers_shared, 2U);
  EXPECT_EQ(two.opened(), 1U);
  EXPECT_THAT(again->image.names, ::testing::UnorderedElementsAre("again:latest", "two:latest"));
}

TEST_F(ImportTest, TheSameLayerTwiceInOneImageAndEmptyLayersWork) {
  Store store = Open();
  const std::string tar = TarBuilder().File("x/f", "1").Finish();  // with an implied directory
  MemoryImage source(
      {EmptyTar(), TarOf("a", "1"), EmptyTar(), tar, TarOf("a", "2"), TarOf("a", "1"), tar, EmptyTar()});
  const auto result = Import(store, source);
  ASSERT_TRUE(IsOk(result));
  ASSERT_EQ(result->image.layers.size(), 8U);
  const Mount mount = MountOf(store, result->image);
  EXPECT_EQ(ReadFile(mount, "a"), "1");
  EXPECT_EQ(ReadFile(mount, "x/f"), "1");
  ExpectClean(store);
}

TEST_F(ImportTest, ManyLayersStack) {
  Store store = Open();
  std::vector<std::string> tars;
  for (int i = 0; i < 120; ++i) tars.push_back(TarOf("f" + std::to_string(i), std::to_string(i)));
  MemoryImage source(tars);
  const auto result = Import(store, source);
  ASSERT_TRUE(IsOk(result));
  const Mount mount = MountOf(store, result->image);
  EXPECT_EQ(ReadFile(mount, "f0"), "0");
  EXPECT_EQ(ReadFile(mount, "f119"), "119");
}

TEST_F(ImportTest, ANameMovesToTheNewImage) {
  Store store = Open();
  MemoryImage one({TarOf("a", "1")});
  MemoryImage two({TarOf("a", "2")});
  ASSERT_TRUE(IsOk(Import(store, one, "x:1")));
  const auto result = Import(store, two, "x:1");
  ASSERT_TRUE(IsOk(result));
  EXPECT_THAT(result->replaced_names, ElementsAre("x:1"));
  EXPECT_EQ(store.FindImage("x:1")->id, result->image.id);
  EXPECT_EQ(store.Images()->size(), 2U);
  EXPECT_TRUE(store.FindImage(Digest::Of(one.change().config_json).Hex())->names.empty());
}

TEST_F(ImportTest, AnImageKeepsItsNamesWhenItIsImportedUnderAnother) {
  Store store = Open();
  MemoryImage source({TarOf("a", "1")});
  ASSERT_TRUE(IsOk(Import(store, source, "x:1")));
  ASSERT_TRUE(IsOk(Import(store, source, "y:1")));
  EXPECT_THAT(store.FindImage("y:1")->names, ElementsAre("x:1", "y:1"));
}

TEST_F(ImportTest, ASourceWithoutConfigurationGetsOne) {
  Store store = Open();
  MemoryImage source({TarOf("a", "1")});
  source.change().config_json.clear();
  source.change().config_digest.reset();
  source.change().config.diff_ids.clear();
  source.change().layers[0].blob_id.reset();
  source.change().layers[0].diff_id.reset();
  source.change().layers[0].size_bytes = 0;
  const auto first = Import(store, source, "x");
  ASSERT_TRUE(IsOk(first));
  EXPECT_THAT(first->image.diff_ids, ElementsAre(DiffId{Digest::Of(source.blobs()[0])}));
  const auto second = Import(store, source, "y");
  ASSERT_TRUE(IsOk(second));
  EXPECT_EQ(second->image.id, first->image.id);
  EXPECT_EQ(second->layers_shared, 1U);
}

// --- hostile and damaged images
// ------------------------------------------------------------------------------------

TEST_F(ImportTest, ABadImageLeavesTheStoreAsItWas) {
  Store store = Open();
  MemoryImage good({TarOf("base", "base")});
  ASSERT_TRUE(IsOk(Import(store, good, "good:1")));
  const auto files_before = Listing(root());
  const std::string rows_before = Rows(store);
  const std::string layer = TarOf("f", std::string(3000, 'x'));
  const struct {
    const char* name;
    std::function<void(MemoryImage&)> spoil;
    ErrorCode code;
  } kCases[] = {
      {"a blob of other content", [](MemoryImage& m) { m.blobs()[1][600] ^= 1; }, ErrorCode::kCorrupt},
      {"a blob that is too short", [](MemoryImage& m) { m.blobs()[1].resize(1024); }, ErrorCode::kCorrupt},
      {"a blob without its last byte", [](MemoryImage& m) { m.blobs()[1].pop_back(); }, ErrorCode::kCorrupt},
      {"a byte after the blob", [](MemoryImage& m) { m.blobs()[1].push_back('x'); }, ErrorCode::kCorrupt},
      {"a blob smaller than its descriptor", [](MemoryImage& m) { m.change().layers[1].size_bytes += 1; },
       ErrorCode::kCorrupt},
      {"a wrong blob digest", [](MemoryImage& m) { m.change().layers[1].blob_id = BlobId{Digest::Of("x")}; },
       ErrorCode::kCorrupt},
      {"a wrong DiffId",
       [](MemoryImage& m) {
         m.change().config.diff_ids[1] = DiffId{Digest::Of("x")};
         m.change().layers[1].diff_id = DiffId{Digest::Of("x")};
       },
       ErrorCode::kCorrupt},
      {"fewer DiffIds than layers", [](MemoryImage& m) { m.change().config.diff_ids.pop_back(); },
       ErrorCode::kCorrupt},
      {"no layers", [](MemoryImage& m) { m.change().layers.clear(); }, ErrorCode::kLimitExceeded},
  };
  for (const auto& test : kCases) {
    MemoryImage image({TarOf("lower", "1"), layer, TarOf("upper", "1")});
    test.spoil(image);
    for (const Durability durability : {Durability::kFull, Durability::kNone}) {
      const auto result = Import(store, image, "bad:1", durability);
      ASSERT_FALSE(result.ok()) << test.name;
      EXPECT_EQ(result.error().code(), test.code) << test.name << ": " << result.error().message();
      EXPECT_EQ(Listing(root()), files_before) << test.name;
      EXPECT_EQ(Rows(store), rows_before) << test.name;
    }
  }
  ExpectClean(store);
}

TEST_F(ImportTest, HostileArchivesLeaveTheStoreAsItWas) {
  Store store = Open();
  MemoryImage good({TarOf("base", "base")});
  ASSERT_TRUE(IsOk(Import(store, good, "good:1")));
  const auto before = Listing(root());
  const struct {
    const char* name;
    std::string tar;
  } kCases[] = {
      {"dot dot", TarBuilder().File("../../../escaped", "x").Finish()},
      {"through a symlink", TarBuilder().Symlink("link", "/tmp").File("link/escaped", "x").Finish()},
      {"whiteout device", TarBuilder().Add({.name = "w", .type = '3'}).Finish()},
      {"no end", TarBuilder().File("f", "x").bytes()},
      {"hard link to nothing", TarBuilder().HardLink("a", "missing").Finish()},
      {"hard link to a lower directory", TarBuilder().HardLink("a", "dir").Finish()},
      {"hard link outside", TarBuilder().HardLink("a", "../../etc/passwd").Finish()},
      {"garbage", std::string(10240, 'g')},
      {"nothing at all", ""},
  };
  for (const auto& test : kCases) {
    MemoryImage image({TarBuilder().Directory("./").Directory("dir/").Finish(), test.tar});
    const auto result = Import(store, image, "bad:1");
    ASSERT_FALSE(result.ok()) << test.name;
    EXPECT_NE(result.error().code(), ErrorCode::kInternal) << test.name;
    EXPECT_THAT(result.error().message(), HasSubstr("layer 2 of 2")) << test.name;
    EXPECT_EQ(Listing(root()), before) << test.name;
  }
  ExpectClean(store);
}

TEST_F(ImportTest, AStreamCutAnywhereIsAnErrorAndLeavesNothing) {
  Store store = Open();
  const std::string tar = TarBuilder()
                              .Directory("d/")
                              .File("d/f", std::string(700, 'x'))
                              .Symlink("s", "d")
                              .Add({.name = "p", .pax = {{"comment", "x"}}})
                              .Finish();
  MemoryImage image({tar});
  const auto before = Listing(root());
  for (size_t size = 0; size < tar.size(); size += 256) {
    image.blobs()[0] = tar.substr(0, size);
    const auto result = Import(store, image);
    ASSERT_FALSE(result.ok()) << size;
    EXPECT_EQ(result.error().code(), ErrorCode::kCorrupt) << size << ": " << result.error().message();
    EXPECT_EQ(CountEntries(root() + "/layers"), 0U);
  }
  EXPECT_EQ(CountEntries(root() + "/trash"), 0U);
  EXPECT_EQ(CountEntries(root() + "/staging/" + *sys::BootId()), 0U);
}

TEST_F(ImportTest, BytesAfterTheArchiveBelongToBothDigests) {
  Store store = Open();
  const std::string tar = TarOf("f", "x") + std::string(4096, '\0');
  MemoryImage image({tar});
  const auto result = Import(store, image);
  ASSERT_TRUE(IsOk(result));
  EXPECT_EQ(result->image.diff_ids[0].digest, Digest::Of(tar));
  EXPECT_EQ(store.ImageLayers(result->image)->front().manifest.tar_bytes, tar.size());
}

TEST_F(ImportTest, OneBadLayerStopsTheOthers) {
  Store store = Open();
  std::vector<std::string> tars;
  for (int i = 0; i < 40; ++i)
    tars.push_back(TarOf("f", std::string(200000, static_cast<char>('a' + i % 26)) + std::to_string(i)));
  MemoryImage image(tars);
  image.blobs()[0][700] ^= 1;
  image.change().layers[0].size_bytes = image.blobs()[0].size();
  ImportOptions options;
  options.parallel_layers = 2;
  const auto result = store.Import(image, "test", options);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code(), ErrorCode::kCorrupt);  // the cause, not "cancelled"
  EXPECT_THAT(result.error().message(), HasSubstr("layer 1 of 40"));
  EXPECT_EQ(CountEntries(root() + "/layers"), 0U);
  EXPECT_EQ(CountEntries(root() + "/staging/" + *sys::BootId()), 0U);
}

// --- settling
// ------------------------------------------------------------------------------------------------------

struct stat StatOf(const Mount& mount, const char* path) {
  static const struct stat kNothing {};
  const auto stat = sys::StatAt(mount.root(), path);
  EXPECT_TRUE(IsOk(stat)) << path;
  return stat.ok() ? *stat : kNothing;
}

TEST_F(ImportTest, ImpliedDirectoriesTakeTheLowersAttributes) {
  Store store = Open();
  TarBuilder base;
  base.Add({.name = "./", .type = '5', .mode = 0555, .uid = 3, .mtime = 33});
  base.Add({.name = "etc/",
            .type = '5',
            .mode = 01777,
            .uid = 5,
            .gid = 6,
            .mtime = 1234567,
            .pax = {{"SCHILY.xattr.user.k", "v"}}});
  base.Add({.name = "etc/sub/", .type = '5', .mode = 0700, .mtime = 77});
  MemoryImage image({base.Finish(), TarBuilder().File("etc/sub/f", "x").File("new/dir/g", "y").Finish()});
  const auto result = Import(store, image);
  ASSERT_TRUE(IsOk(result));
  const Mount mount = MountOf(store, result->image);
  const struct stat etc = StatOf(mount, "etc");
  EXPECT_EQ(etc.st_mode & 07777U, 01777U);
  EXPECT_EQ(etc.st_uid, 5U);
  EXPECT_EQ(etc.st_gid, 6U);
  EXPECT_EQ(etc.st_mtim.tv_sec, 1234567);
  EXPECT_EQ(*sys::GetXattrAt(mount.root(), "etc", "user.k"), "v");
  EXPECT_EQ(StatOf(mount, "etc/sub").st_mode & 07777U, 0700U);
  EXPECT_EQ(StatOf(mount, "etc/sub").st_mtim.tv_sec, 77);
  EXPECT_EQ(StatOf(mount, "new/dir").st_mode & 07777U, 0755U);
  EXPECT_EQ(StatOf(mount, "new/dir").st_mtim.tv_sec, 0);
  EXPECT_EQ(StatOf(mount, ".").st_mode & 07777U, 0555U);
  EXPECT_EQ(StatOf(mount, ".").st_uid, 3U);
  EXPECT_EQ(StatOf(mount, ".").st_mtim.tv_sec, 33);
  ExpectClean(store);
}

TEST_F(ImportTest, ALayerThatDependsOnItsLowersIsNotSharedOverOthers) {
  Store store = Open();
  const std::string top = TarBuilder().File("etc/f", "x").Finish();
  const auto base = [](int64_t mode) {
    return TarBuilder().Add({.name = "etc/", .type = '5', .mode = mode}).Finish();
  };
  MemoryImage one({base(0700), top});
  MemoryImage two({base(0750), top});
  MemoryImage alone({top});
  const auto first = Import(store, one);
  const auto second = Import(store, two);
  const auto third = Import(store, alone);
  ASSERT_TRUE(IsOk(first));
  ASSERT_TRUE(IsOk(second));
  ASSERT_TRUE(IsOk(third));
  EXPECT_EQ(StatOf(MountOf(store, first->image), "etc").st_mode & 07777U, 0700U);
  EXPECT_EQ(StatOf(MountOf(store, second->image), "etc").st_mode & 07777U, 0750U);
  EXPECT_EQ(StatOf(MountOf(store, third->image), "etc").st_mode & 07777U, 0755U);
  EXPECT_NE(first->image.layers[1], second->image.layers[1]);
  // Over the same lowers it is shared.
  MemoryImage again({base(0700), top, TarOf("more", "1")});
  const auto fourth = Import(store, again);
  ASSERT_TRUE(IsOk(fourth));
  EXPECT_EQ(fourth->layers_shared, 2U);
}

TEST_F(ImportTest, ALayerThatOnlyLacksARootIsSharedOverAnyPlainOne) {
  Store store = Open();
  const std::string top = TarBuilder().Directory("etc/").File("etc/f", "x").Finish();
  const std::string plain = TarBuilder().Directory("usr/").Finish();
  const std::string strict = TarBuilder().Add({.name = "./", .type = '5', .mode = 0500}).Finish();
  MemoryImage one({plain, top});
  MemoryImage two({EmptyTar(), top});
  MemoryImage three({strict, top});
  const auto first = Import(store, one);
  const auto second = Import(store, two);
  const auto third = Import(store, three);
  ASSERT_TRUE(IsOk(first) && IsOk(second) && IsOk(third));
  EXPECT_EQ(first->image.layers[1], LayerId{Digest::Of(top)});
  EXPECT_EQ(second->image.layers[1], first->image.layers[1]);
  EXPECT_NE(third->image.layers[1], first->image.layers[1]);
  EXPECT_EQ(StatOf(MountOf(store, third->image), ".").st_mode & 07777U, 0500U);
}

TEST_F(ImportTest, HardLinksIntoLowerLayersShareOneFile) {
  Store store = Open();
  TarBuilder base;
  base.Add({.name = "d/", .type = '5', .mode = 0711, .mtime = 9});
  base.Add({.name = "d/f",
            .data = "content",
            .mode = 04755,
            .uid = 7,
            .mtime = 99,
            .pax = {{"SCHILY.xattr.user.k", "v"}}});
  base.Symlink("d/s", "f");
  TarBuilder top;
  top.Add({.name = "e/", .type = '5', .mode = 0755, .mtime = 55});
  top.HardLink("e/one", "d/f").HardLink("e/two", "d/f").HardLink("e/link", "d/s");
  MemoryImage image({base.Finish(), top.Finish()});
  const auto result = Import(store, image);
  ASSERT_TRUE(IsOk(result));
  const Mount mount = MountOf(store, result->image);
  EXPECT_EQ(ReadFile(mount, "e/one"), "content");
  const struct stat one = StatOf(mount, "e/one");
  EXPECT_EQ(one.st_nlink, 3U);
  EXPECT_EQ(one.st_mode & 07777U, 04755U);
  EXPECT_EQ(one.st_uid, 7U);
  EXPECT_EQ(one.st_mtim.tv_sec, 99);
  EXPECT_EQ(*sys::GetXattrAt(mount.root(), "e/one", "user.k"), "v");
  EXPECT_EQ(StatOf(mount, "d/f").st_ino, one.st_ino);
  EXPECT_EQ(*sys::ReadLinkAt(mount.root(), "e/link"), "f");
  // Nothing that was done for it shows in the directories.
  EXPECT_EQ(StatOf(mount, "e").st_mtim.tv_sec, 55);
  EXPECT_EQ(StatOf(mount, "d").st_mtim.tv_sec, 9);
  EXPECT_EQ(StatOf(mount, "d").st_mode & 07777U, 0711U);
}

TEST_F(ImportTest, AnImpliedDirectoryThatIsALowerSymlinkLeadsThere) {
  Store store = Open();
  TarBuilder base;
  base.Directory("usr/")
      .Add({.name = "usr/bin/", .type = '5', .mode = 0711, .mtime = 8})
      .File("usr/bin/sh", "shell");
  base.Symlink("bin", "usr/bin")
      .Symlink("abs", "/usr/../usr/bin")
      .Symlink("loop", "loop")
      .Symlink("out", "../../../etc");
  base.Symlink("nowhere", "missing").Symlink("file", "usr/bin/sh");
  TarBuilder top;
  top.File("bin/tool", "tool").File("bin/deep/x", "deep").File("abs/other", "other").File("loop/f", "1");
  top.File("out/f", "1").File("nowhere/f", "1").File("file/f", "1");
  MemoryImage image({base.Finish(), top.Finish()});
  const auto result = Import(store, image);
  ASSERT_TRUE(IsOk(result));
  const Mount mount = MountOf(store, result->image);
  EXPECT_EQ(*sys::ReadLinkAt(mount.root(), "bin"), "usr/bin");
  EXPECT_EQ(ReadFile(mount, "usr/bin/sh"), "shell");
  EXPECT_EQ(ReadFile(mount, "usr/bin/tool"), "tool");
  EXPECT_EQ(ReadFile(mount, "usr/bin/deep/x"), "deep");
  EXPECT_EQ(ReadFile(mount, "usr/bin/other"), "other");
  EXPECT_EQ(StatOf(mount, "usr/bin").st_mode & 07777U, 0711U);
  EXPECT_EQ(StatOf(mount, "usr/bin").st_mtim.tv_sec, 8);
  for (const char* replaced : {"loop", "out", "nowhere", "file"}) {
    EXPECT_TRUE(S_ISDIR(StatOf(mount, replaced).st_mode)) << replaced;
  }
  ExpectClean(store);
}

TEST_F(ImportTest, AWhiteoutBehindALowerSymlinkHidesWhatTheLinkLeadsTo) {
  Store store = Open();
  const std::string base = TarBuilder()
                               .Directory("usr/")
                               .Directory("usr/lib/")
                               .File("usr/lib/gone", "x")
                               .Symlink("lib", "usr/lib")
                               .Finish();
  MemoryImage image({base, TarBuilder().File("lib/.wh.gone", "").Finish()});
  const auto result = Import(store, image);
  ASSERT_TRUE(IsOk(result));
  const Mount mount = MountOf(store, result->image);
  EXPECT_FALSE(sys::StatAt(mount.root(), "usr/lib/gone").ok());
  EXPECT_EQ(*sys::ReadLinkAt(mount.root(), "lib"), "usr/lib");
}

// --- crashes and competition
// ---------------------------------------------------------------------------------------

TEST_F(ImportTest, AfterAKillTheNextCommandFindsACleanStore) {
  if (test::ReRunAlone()) return;
  const char* const kPoints[] = {
      "store.import.read",
      "layer.stage.made",
      "layer.stage.made@3",
      "store.import.before_commit",
      "layer.commit.before_flush",
      "layer.commit.after_flush",
      "layer.commit.after_rename",
      "layer.commit.after_parent_flush",
      "store.import.before_database",
      "metadata.before_write",
      "metadata.after_write",
      "store.import.after_database",
      "metadata.create.before_rename",
  };
  for (const char* point : kPoints) {
    TempDir dir;
    const auto open = [&] {
      StoreOptions options;
      options.root = dir.path() + "/store";
      return Store::Open(options, MakeOverlayBackend());
    };
    const bool at_creation = std::string(point).find("create") != std::string::npos;
    if (!at_creation) {
      ASSERT_TRUE(Succeeded(RunInChild([&] {
        auto store = open();
        ASSERT_TRUE(IsOk(store));
        MemoryImage other({TarOf("other", "1")});
        ASSERT_TRUE(IsOk(Import(*store, other, "other:1")));
      })));
    }
    ASSERT_TRUE(WasKilled(RunInChild([&] {
      auto store = open();
      ASSERT_TRUE(IsOk(store));
      std::string spec = point;
      const size_t at = spec.find('@');
      spec.insert(at == std::string::npos ? spec.size() : at, ":kill");
      ASSERT_TRUE(IsOk(fault::Arm(spec.c_str())));
      MemoryImage source({TarOf("a", "1"), TarBuilder().File("etc/f", "2").Finish()});
      (void)Import(*store, source, "x:1", Durability::kFull);
    }))) << point;
    EXPECT_TRUE(Succeeded(RunInChild([&] {
      auto store = open();
      ASSERT_TRUE(IsOk(store));
      ExpectClean(*store);
      const bool recorded =
          std::string(point) == "metadata.after_write" || std::string(point) == "store.import.after_database";
      EXPECT_EQ(store->FindImage("x:1").ok(), recorded) << point;
      EXPECT_EQ(CountEntries(dir.path() + "/store/layers"), (at_creation ? 0U : 1U) + (recorded ? 2U : 0U))
          << point;
      EXPECT_EQ(CountEntries(dir.path() + "/store/trash"), 0U) << point;
      EXPECT_EQ(CountEntries(dir.path() + "/store/staging/" + *sys::BootId()), 0U) << point;
      MemoryImage source({TarOf("a", "1"), TarBuilder().File("etc/f", "2").Finish()});
      EXPECT_TRUE(IsOk(Import(*store, source, "x:1")));
      ExpectClean(*store);
    }))) << point;
  }
}

TEST_F(ImportTest, AnErrorAtAnyPointLeavesTheStoreAsItWas) {
  const char* const kPoints[] = {"store.import.read",
                                 "layer.stage.made",
                                 "store.import.before_commit",
                                 "layer.commit.before_flush",
                                 "layer.commit.after_flush",
                                 "layer.commit.after_rename",
                                 "layer.commit.after_parent_flush",
                                 "store.import.before_database",
                                 "metadata.before_write"};
  Store store = Open();
  MemoryImage other({TarOf("other", "1")});
  ASSERT_TRUE(IsOk(Import(store, other, "other:1", Durability::kFull)));
  const auto files = Listing(root());
  const std::string rows = Rows(store);
  for (const char* point : kPoints) {
    MemoryImage source({TarOf("other", "1"), TarOf("a", "1"), TarBuilder().File("etc/f", "2").Finish()});
    ASSERT_TRUE(IsOk(fault::Arm((std::string(point) + ":error=28").c_str())));
    const auto result = Import(store, source, "x:1", Durability::kFull);
    ASSERT_TRUE(IsOk(fault::Arm("")));
    ASSERT_FALSE(result.ok()) << point;
    EXPECT_EQ(result.error().code(), ErrorCode::kNoSpace) << point;
    EXPECT_EQ(Listing(root()), files) << point;
    EXPECT_EQ(Rows(store), rows) << point;
  }
  ExpectClean(store);
}

TEST_F(ImportTest, TwoProcessesImportingAndRemovingTheSameLayersAgree) {
  if (test::ReRunAlone()) return;
  ASSERT_TRUE(Succeeded(RunInChild([&] { Open(); })));
  // Both share layers and remove their images again, so that each layer comes and goes many times.
  const auto work = [&](const std::string& name) {
    Store store = Open();
    for (int round = 0; round < 25; ++round) {
      MemoryImage image({TarOf("base", "base"), TarOf("mid", std::to_string(round % 3)), TarOf("own", name)},
                        name);
      const auto imported = Import(store, image, name);
      ASSERT_TRUE(IsOk(imported)) << round;
      const auto found = store.FindImage(name);
      ASSERT_TRUE(IsOk(found)) << round;
      EXPECT_EQ(ReadFile(MountOf(store, *found), "base"), "base") << round;
      if (round % 2 == 0) {
        ASSERT_TRUE(IsOk(store.RemoveImage(name, false))) << round;
      }
      if (round % 7 == 0) {
        ASSERT_TRUE(IsOk(store.CollectGarbage(false))) << round;
      }
    }
  };
  std::vector<pid_t> children;
  for (const char* name : {"one:1", "two:1"}) {
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      work(name);
      std::fflush(nullptr);
      ::_exit(HasFailure() ? 1 : 0);
    }
    children.push_back(pid);
  }
  for (const pid_t pid : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    EXPECT_TRUE(Succeeded(status));
  }
  Store store = Open();
  ExpectClean(store);
}

TEST_F(ImportTest, ThreadsShareOneStoreObject) {
  Store store = Open();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 5; ++round) {
        MemoryImage image(
            {TarOf("base", "base"), TarOf("own", std::to_string(t % 2) + std::to_string(round))});
        EXPECT_TRUE(IsOk(Import(store, image, "n" + std::to_string(t) + ":1")));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ExpectClean(store);
  EXPECT_EQ(CountEntries(root() + "/layers"), 11U);
}

TEST_F(ImportTest, UnflushedLayersOfAnotherBootAreMadeAgain) {
  Store store = Open();
  MemoryImage image({TarOf("a", "1")});
  const auto result = Import(store, image, "x:1", Durability::kNone);
  ASSERT_TRUE(IsOk(result));
  const std::string path = root() + "/layers/" + result->image.layers[0].Hex() + "/layer.json";
  LayerManifest manifest = *store.layers().Find(result->image.layers[0]);
  manifest.boot_id = "another";
  const std::string json = LayerManifestJson(manifest);
  {
    const auto file = sys::OpenAt(FdRef::Cwd(), path.c_str(), O_WRONLY | O_TRUNC);
    ASSERT_TRUE(IsOk(sys::PWriteAll(*file, std::as_bytes(std::span(json)), 0)));
  }
  EXPECT_EQ(store.MountImage(result->image, {}, std::nullopt, {}).error().code(), ErrorCode::kCorrupt);
  EXPECT_EQ(store.Check({})->findings.size(), 2U);  // the layer and the image that needs it
  const auto again = Import(store, image, "x:1", Durability::kFull);
  ASSERT_TRUE(IsOk(again));
  EXPECT_EQ(again->layers_new, 1U);
  EXPECT_EQ(ReadFile(MountOf(store, again->image), "a"), "1");
  ExpectClean(store);
}

TEST_F(ImportTest, ProgressNamesEveryLayerAndEnds) {
  Store store = Open();
  MemoryImage image({TarOf("a", "1"), TarOf("b", "2")});
  ImportOptions options;
  options.durability = Durability::kNone;
  std::vector<std::vector<ImportOptions::Progress::Phase>> phases(2);
  options.on_progress = [&](const ImportOptions::Progress& progress) {
    ASSERT_LT(progress.layer, 2U);
    EXPECT_EQ(progress.layer_count, 2U);
    EXPECT_EQ(progress.label.size(), 12U);
    EXPECT_LE(progress.bytes, progress.total_bytes);
    auto& seen = phases[progress.layer];
    if (seen.empty() || seen.back() != progress.phase) seen.push_back(progress.phase);
  };
  using Phase = ImportOptions::Progress::Phase;
  ASSERT_TRUE(IsOk(store.Import(image, "test", options)));
  for (const auto& seen : phases) {
    EXPECT_THAT(seen, ElementsAre(Phase::kStarted, Phase::kExtracting, Phase::kFlushing, Phase::kDone));
  }
  for (auto& seen : phases) seen.clear();
  ASSERT_TRUE(IsOk(store.Import(image, "test", options)));
  for (const auto& seen : phases) EXPECT_THAT(seen, ElementsAre(Phase::kStarted, Phase::kExists));
}

}  // namespace
}  // namespace snap
