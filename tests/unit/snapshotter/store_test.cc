// Images and containers after they are there: names, references, removal, check, repair and garbage.
#include "snapshotter/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <thread>

#include "fs/base/fault.h"
#include "fs/base/sys_process.h"
#include "overlay/overlay_backend.h"
#include "tests/support/memory_image.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_store.h"

namespace snap {
namespace {

using test::CountEntries;
using test::IsOk;
using test::MemoryImage;
using test::RunInChild;
using test::Succeeded;
using test::TarBuilder;
using test::TempDir;
using test::WasKilled;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

std::string TarOf(std::string name, std::string data) {
  return TarBuilder().File(std::move(name), std::move(data)).Finish();
}

class StoreTest : public ::testing::Test {
 protected:
  std::string root() const { return dir_.path() + "/store"; }
  Result<Store> TryOpen() const {
    StoreOptions options;
    options.root = root();
    return Store::Open(options, MakeOverlayBackend());
  }
  Store Open() const {
    auto store = TryOpen();
    EXPECT_TRUE(IsOk(store));
    return std::move(store).value();
  }
  static ImageRecord Import(Store& store, std::vector<std::string> tars, const std::string& name,
                            const std::string& comment = "") {
    MemoryImage source(std::move(tars), comment);
    ImportOptions options;
    options.name = name;
    options.durability = Durability::kNone;
    auto result = store.Import(source, "test", options);
    EXPECT_TRUE(IsOk(result));
    return result.ok() ? result->image : ImageRecord();
  }
  static ContainerRecord ContainerOf(const ImageRecord& image, std::string name = "",
                                     bool remove_at_exit = false) {
    ContainerRecord record;
    record.image = image.id;
    record.name = std::move(name);
    record.remove_at_exit = remove_at_exit;
    return record;
  }
  static std::vector<std::string> Findings(Store& store, CheckOptions options = {}) {
    const auto report = store.Check(options);
    EXPECT_TRUE(IsOk(report));
    std::vector<std::string> out;
    if (!report.ok()) return out;
    for (const CheckFinding& finding : report->findings) {
      EXPECT_EQ(finding.repaired, options.repair || options.rebuild) << finding.object;
      out.push_back(finding.object + ": " + finding.problem);
    }
    return out;
  }
  template <typename T>
  static ErrorCode CodeOf(const Result<T>& result) {
    EXPECT_FALSE(result.ok());
    return result.ok() ? ErrorCode::kInternal : result.error().code();
  }

  TempDir dir_;
};

TEST_F(StoreTest, ImagesAreFoundByNameIdAndPrefix) {
  Store store = Open();
  const ImageRecord one = Import(store, {TarOf("a", "1")}, "debian");
  const ImageRecord two = Import(store, {TarOf("a", "2")}, "registry.example:5000/team/app:v1");
  for (const std::string& reference : {std::string("debian"), std::string("debian:latest"), one.id.ToString(),
                                       one.id.Hex(), one.id.Hex().substr(0, 12)}) {
    const auto found = store.FindImage(reference);
    ASSERT_TRUE(IsOk(found)) << reference;
    EXPECT_EQ(found->id, one.id) << reference;
  }
  EXPECT_EQ(store.FindImage("registry.example:5000/team/app:v1")->id, two.id);
  EXPECT_EQ(CodeOf(store.FindImage("debian:12")), ErrorCode::kNotFound);
  EXPECT_EQ(CodeOf(store.FindImage("Not A Name")), ErrorCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(store.FindImage(std::string(64, '0'))), ErrorCode::kNotFound);
  EXPECT_THAT(store.FindImage("debain").error().message(), HasSubstr("'debian:latest'"));
}

TEST_F(StoreTest, AnAmbiguousPrefixListsTheCandidates) {
  Store store = Open();
  // With 17 images two ids start with the same digit.
  std::map<char, int> first_digits;
  for (int i = 0; i < 17; ++i) ++first_digits[Import(store, {TarOf("a", std::to_string(i))}, "").id.Hex()[0]];
  for (const auto& [digit, count] : first_digits) {
    const auto found = store.FindImage(std::string("sha256:") + digit);
    if (count == 1) {
      EXPECT_TRUE(IsOk(found));
    } else {
      EXPECT_EQ(CodeOf(found), ErrorCode::kInvalidArgument);
      EXPECT_THAT(found.error().message(), HasSubstr(std::to_string(count) + " images"));
    }
  }
}

TEST_F(StoreTest, TagsAreNamesThatMove) {
  Store store = Open();
  const ImageRecord one = Import(store, {TarOf("a", "1")}, "one");
  const ImageRecord two = Import(store, {TarOf("a", "2")}, "two");
  const auto tagged = store.Tag("one", "stable:1");
  ASSERT_TRUE(IsOk(tagged));
  EXPECT_THAT(tagged->names, UnorderedElementsAre("one:latest", "stable:1"));
  ASSERT_TRUE(IsOk(store.Tag(two.id.Hex(), "stable:1")));
  EXPECT_EQ(store.FindImage("stable:1")->id, two.id);
  EXPECT_EQ(CodeOf(store.Tag("one", "Bad Name")), ErrorCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(store.Tag("none", "x")), ErrorCode::kNotFound);
}

TEST_F(StoreTest, RemovingTakesNamesFirstAndLayersOnlyWhenUnused) {
  Store store = Open();
  const ImageRecord one = Import(store, {TarOf("base", "b"), TarOf("a", "1")}, "one");
  const ImageRecord two = Import(store, {TarOf("base", "b"), TarOf("a", "2")}, "two");
  ASSERT_TRUE(IsOk(store.Tag("one", "uno")));

  const auto untagged = store.RemoveImage("uno", false);
  ASSERT_TRUE(IsOk(untagged));
  EXPECT_THAT(untagged->untagged, ElementsAre("uno:latest"));
  EXPECT_FALSE(untagged->deleted.has_value());

  const auto removed = store.RemoveImage("one", false);
  ASSERT_TRUE(IsOk(removed));
  EXPECT_EQ(removed->deleted, one.id);
  EXPECT_THAT(removed->layers, ElementsAre(one.layers[1]));
  EXPECT_EQ(CountEntries(root() + "/layers"), 2U);
  EXPECT_EQ(CountEntries(root() + "/trash"), 0U);
  EXPECT_TRUE(IsOk(store.MountImage(two, {}, std::nullopt, {})));

  ASSERT_TRUE(IsOk(store.Tag("two", "dos")));
  const auto by_id = store.RemoveImage(two.id.digest.Short(), false);
  ASSERT_TRUE(IsOk(by_id));
  EXPECT_EQ(by_id->untagged.size(), 2U);
  EXPECT_EQ(CountEntries(root() + "/layers"), 0U);
  EXPECT_EQ(CodeOf(store.RemoveImage("two", false)), ErrorCode::kNotFound);
  EXPECT_THAT(Findings(store), IsEmpty());
}

TEST_F(StoreTest, ImagesOfContainersStay) {
  Store store = Open();
  const ImageRecord image = Import(store, {TarOf("a", "1")}, "x");
  auto running = store.CreateContainer(ContainerOf(image, "c"));
  ASSERT_TRUE(IsOk(running));
  EXPECT_TRUE(Store::IsRunning(*running));  // this process is its launcher
  running->init_pid = running->launcher_pid;
  running->init_start_time = running->launcher_start_time;
  ASSERT_TRUE(IsOk(store.UpdateContainer(*running)));
  EXPECT_EQ(CodeOf(store.RemoveImage("x", false)), ErrorCode::kBusy);
  EXPECT_EQ(CodeOf(store.RemoveImage("x", true)), ErrorCode::kBusy);
  EXPECT_EQ(CodeOf(store.RemoveContainer("c")), ErrorCode::kBusy);
  running->finished = "2025-01-01T00:00:00Z";
  ASSERT_TRUE(IsOk(store.UpdateContainer(*running)));
  EXPECT_EQ(CodeOf(store.RemoveImage("x", false)), ErrorCode::kBusy);
  EXPECT_TRUE(IsOk(store.RemoveImage("x", true)));
}

TEST_F(StoreTest, LauncherRemovesItsContainerThatEndedBeforeItsInitWasRecorded) {
  Store store = Open();
  const ImageRecord image = Import(store, {TarOf("a", "1")}, "x");
  ASSERT_TRUE(IsOk(store.CreateContainer(ContainerOf(image, "c"))));
  EXPECT_TRUE(IsOk(store.RemoveContainer("c")));
  EXPECT_TRUE(store.Containers()->empty());
}

TEST_F(StoreTest, PartsOfAnImageAreMounted) {
  Store store = Open();
  const ImageRecord image = Import(store, {TarOf("a", "1"), TarOf("b", "2"), TarOf("c", "3")}, "x");
  const auto names = [&](const MountSelection& selection) {
    const auto mount = store.MountImage(image, selection, std::nullopt, {});
    EXPECT_TRUE(IsOk(mount));
    std::string out;
    for (const char* name : {"a", "b", "c"}) {
      if (mount.ok() && sys::StatAt(mount->root(), name).ok()) out += name;
    }
    return out;
  };
  EXPECT_EQ(names({}), "abc");
  EXPECT_EQ(names({.upto = 2, .only = {}}), "ab");
  EXPECT_EQ(names({.upto = {}, .only = 2}), "b");
  for (const MountSelection& bad :
       {MountSelection{.upto = 0, .only = {}}, MountSelection{.upto = 4, .only = {}},
        MountSelection{.upto = {}, .only = 4}, MountSelection{.upto = 1, .only = 1}}) {
    EXPECT_EQ(CodeOf(store.MountImage(image, bad, std::nullopt, {})), ErrorCode::kInvalidArgument);
  }
}

TEST_F(StoreTest, AContainersUpperTakesChangesAndLooksLikeTheImage) {
  Store store = Open();
  const std::string base = TarBuilder()
                               .Add({.name = "./", .type = '5', .mode = 0711, .uid = 4, .mtime = 44})
                               .File("f", "1")
                               .Finish();
  const ImageRecord image = Import(store, {base, TarOf("g", "2")}, "x");
  const auto container = store.CreateContainer(ContainerOf(image));
  ASSERT_TRUE(IsOk(container));
  EXPECT_EQ(container->id.size(), 64U);
  EXPECT_THAT(container->name, ::testing::MatchesRegex("[a-z]+-[a-z]+"));
  {
    const auto mount = store.MountImage(image, {}, container->id, {});
    ASSERT_TRUE(IsOk(mount));
    const struct stat root_stat = *sys::StatAt(mount->root(), ".");
    EXPECT_EQ(root_stat.st_mode & 07777U, 0711U);
    EXPECT_EQ(root_stat.st_uid, 4U);
    EXPECT_EQ(root_stat.st_mtim.tv_sec, 44);
    const auto file = sys::OpenAt(mount->root(), "new", O_WRONLY | O_CREAT, 0644);
    ASSERT_TRUE(IsOk(file));
    ASSERT_TRUE(IsOk(sys::UnlinkAt(mount->root(), "f")));
  }
  EXPECT_TRUE(std::filesystem::exists(root() + "/snapshots/" + container->id + "/fs/new"));
  EXPECT_EQ(store.FindContainer(container->name)->id, container->id);
  EXPECT_EQ(store.FindContainer(container->id.substr(0, 6))->id, container->id);
  EXPECT_EQ(CodeOf(store.FindContainer("")), ErrorCode::kNotFound);
}

TEST_F(StoreTest, ContainerNamesAreUniqueAndChecked) {
  Store store = Open();
  const ImageRecord image = Import(store, {TarOf("a", "1")}, "x");
  ASSERT_TRUE(IsOk(store.CreateContainer(ContainerOf(image, "web.1"))));
  EXPECT_EQ(CodeOf(store.CreateContainer(ContainerOf(image, "web.1"))), ErrorCode::kExists);
  for (const char* name : {"-x", ".x", "a b", "a/b", "a\n"}) {
    EXPECT_EQ(CodeOf(store.CreateContainer(ContainerOf(image, name))), ErrorCode::kInvalidArgument) << name;
  }
  ContainerRecord orphan = ContainerOf(image, "y");
  orphan.image = ImageId{Digest::Of("none")};
  EXPECT_EQ(CodeOf(store.CreateContainer(orphan)), ErrorCode::kNotFound);
  EXPECT_EQ(store.Containers()->size(), 1U);
  EXPECT_EQ(CountEntries(root() + "/snapshots"), 1U);
  EXPECT_THAT(Findings(store), IsEmpty());
}

TEST_F(StoreTest, RunningIsToldByProcessStartTimeAndBoot) {
  ContainerRecord record;
  record.boot_id = *sys::BootId();
  record.init_pid = sys::Pid();
  record.init_start_time = *sys::ProcessStartTime(sys::Pid());
  EXPECT_TRUE(Store::IsRunning(record));
  ContainerRecord other = record;
  other.init_start_time += 1;  // the number was given to another process
  EXPECT_FALSE(Store::IsRunning(other));
  other = record;
  other.boot_id = "another boot";
  EXPECT_FALSE(Store::IsRunning(other));
  other = record;
  other.finished = "2025-01-01T00:00:00Z";
  EXPECT_FALSE(Store::IsRunning(other));
  other = record;
  other.init_pid = 0;
  EXPECT_FALSE(Store::IsRunning(other));
  other.launcher_pid = record.init_pid;
  other.launcher_start_time = record.init_start_time;
  EXPECT_TRUE(Store::IsRunning(other));
  // Dead but not reaped is not running.
  const pid_t zombie = ::fork();
  if (zombie == 0) ::_exit(0);
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(zombie), &info, WEXITED | WNOWAIT), 0);
  other.launcher_pid = zombie;
  other.launcher_start_time = *sys::ProcessStartTime(zombie);
  EXPECT_FALSE(Store::IsRunning(other));
  ASSERT_EQ(::waitpid(zombie, nullptr, 0), zombie);
}

TEST_F(StoreTest, TheNextStartRemovesWhatAKilledLauncherLeft) {
  if (test::ReRunAlone()) return;
  ImageRecord image;
  ASSERT_TRUE(Succeeded(RunInChild([&] {
    Store store = Open();
    const ImageRecord record = Import(store, {TarOf("a", "1")}, "x");
    ASSERT_TRUE(IsOk(store.CreateContainer(ContainerOf(record, "dead", true))));
    ASSERT_TRUE(IsOk(store.CreateContainer(ContainerOf(record, "kept", false))));
  })));
  Store store = Open();
  ASSERT_EQ(store.Containers()->size(), 2U);
  const auto next = store.CreateContainer(ContainerOf(*store.FindImage("x"), "next", true));
  ASSERT_TRUE(IsOk(next));
  std::vector<std::string> names;
  const auto containers = store.Containers();
  for (const ContainerRecord& container : *containers) names.push_back(container.name);
  EXPECT_THAT(names, UnorderedElementsAre("kept", "next"));
  EXPECT_EQ(CountEntries(root() + "/snapshots"), 2U);
  EXPECT_EQ(CountEntries(root() + "/trash"), 0U);
}

TEST_F(StoreTest, KillsBetweenDatabaseAndDirectoriesAreCleanedByTheNextOpen) {
  if (test::ReRunAlone()) return;
  ASSERT_TRUE(Succeeded(RunInChild([&] {
    Store store = Open();
    const ImageRecord image = Import(store, {TarOf("a", "1")}, "x");
    Import(store, {TarOf("b", "1")}, "y");
    ContainerRecord done = ContainerOf(image, "done");
    done.finished = "2025-01-01T00:00:00Z";
    ASSERT_TRUE(IsOk(store.CreateContainer(done)));
  })));
  const struct {
    const char* point;
    std::function<void(Store&)> run;
  } kCases[] = {
      {"store.remove_image.after_database", [](Store& store) { (void)store.RemoveImage("y", false); }},
      {"upper.create.before_rename",
       [](Store& store) { (void)store.CreateContainer(ContainerOf(*store.FindImage("x"), "new")); }},
      {"upper.create.after_rename",
       [](Store& store) { (void)store.CreateContainer(ContainerOf(*store.FindImage("x"), "new")); }},
      {"store.create_container.before_database",
       [](Store& store) { (void)store.CreateContainer(ContainerOf(*store.FindImage("x"), "new")); }},
      {"store.remove_container.after_database", [](Store& store) { (void)store.RemoveContainer("done"); }},
      {"layer.discard.after_rename", [](Store& store) { (void)store.RemoveImage("x", true); }},
  };
  for (const auto& test : kCases) {
    ASSERT_TRUE(WasKilled(RunInChild([&] {
      Store store = Open();
      ASSERT_TRUE(IsOk(fault::Arm((std::string(test.point) + ":kill").c_str())));
      test.run(store);
    }))) << test.point;
    EXPECT_TRUE(Succeeded(RunInChild([&] {
      Store store = Open();
      EXPECT_THAT(Findings(store), IsEmpty()) << test.point;
      EXPECT_EQ(CodeOf(store.FindContainer("new")), ErrorCode::kNotFound);
      EXPECT_EQ(CountEntries(root() + "/layers"), store.Images()->size());
      EXPECT_EQ(CountEntries(root() + "/snapshots"), store.Containers()->size());
      EXPECT_EQ(CountEntries(root() + "/trash"), 0U) << test.point;
    }))) << test.point;
  }
}

// --- check, repair, rebuild, garbage
// -------------------------------------------------------------------------------

TEST_F(StoreTest, CheckFindsAndRepairsWhatDoesNotFit) {
  Store store = Open();
  const ImageRecord good = Import(store, {TarOf("good", "1")}, "good");
  const ImageRecord bad = Import(store, {TarOf("good", "1"), TarOf("bad", "1")}, "bad");
  const ImageRecord torn = Import(store, {TarOf("torn", "1")}, "torn");
  const auto lost = store.CreateContainer(ContainerOf(good, "lost"));
  ASSERT_TRUE(IsOk(lost));
  EXPECT_THAT(Findings(store), IsEmpty());

  const std::string layers = root() + "/layers/";
  std::filesystem::remove_all(layers + bad.layers[1].Hex());
  std::ofstream(layers + torn.layers[0].Hex() + "/layer.json") << "{";
  std::filesystem::create_directories(layers + "not-a-layer");
  std::ofstream(layers + std::string(64, 'a')) << "a file";
  std::filesystem::create_directories(layers + std::string(64, 'b') + "/tree");
  std::filesystem::create_directories(root() + "/snapshots/nobodys");
  std::filesystem::remove_all(root() + "/snapshots/" + lost->id);
  ASSERT_EQ(::chmod((root() + "/trash").c_str(), 0755), 0);

  const auto findings = Findings(store);
  const auto repaired = Findings(store, {.repair = true});
  EXPECT_EQ(findings, repaired);
  const char* const kExpected[] = {
      "directory 'trash': has mode 0755",
      "image bad:latest: find layer",
      "image torn:latest: ",
      "belongs to no container",
      "container lost: its files are gone",
      "not-a-layer': is not a layer",
      "aaaa': is not a layer",
      "bbbb': is a layer that",
  };
  for (const char* expected : kExpected) {
    EXPECT_THAT(findings, ::testing::Contains(HasSubstr(expected)));
  }
  EXPECT_EQ(findings.size(), std::size(kExpected) + 2);  // and the two layers themselves
  EXPECT_THAT(Findings(store), IsEmpty());
  EXPECT_TRUE(IsOk(store.MountImage(*store.FindImage("good"), {}, std::nullopt, {})));
  EXPECT_EQ(store.Images()->size(), 1U);
  EXPECT_EQ(CountEntries(root() + "/layers"), 1U);
  EXPECT_EQ(CountEntries(root() + "/trash"), 0U);
}

TEST_F(StoreTest, ALostDatabaseIsRebuiltFromTheLayers) {
  if (test::ReRunAlone()) return;
  std::string layer;
  ASSERT_TRUE(Succeeded(RunInChild([&] {
    Store store = Open();
    Import(store, {TarOf("a", "1"), TarBuilder().File("etc/f", "1").Finish()}, "x");
  })));
  std::filesystem::remove_all(root() + "/db");
  Store store = Open();
  EXPECT_EQ(CodeOf(store.Images()), ErrorCode::kCorrupt);
  const auto report = store.Check({});
  ASSERT_TRUE(IsOk(report));
  ASSERT_EQ(report->findings.size(), 1U);
  EXPECT_THAT(report->findings[0].repair, HasSubstr("--rebuild"));

  EXPECT_EQ(Findings(store, {.repair = false, .rebuild = true}).size(), 1U);
  EXPECT_THAT(Findings(store), IsEmpty());
  EXPECT_EQ(CountEntries(root() + "/layers"), 2U);
  MemoryImage again({TarOf("a", "1"), TarBuilder().File("etc/f", "1").Finish()});
  ImportOptions options;
  options.name = "x";
  const auto imported = store.Import(again, "test", options);
  ASSERT_TRUE(IsOk(imported));
  EXPECT_EQ(imported->layers_shared, 2U);
  EXPECT_EQ(again.opened(), 0U);
}

TEST_F(StoreTest, GarbageCollectionCountsFirstAndDeletesOnlyGarbage) {
  Store store = Open();
  const ImageRecord image = Import(store, {TarOf("a", std::string(10000, 'x'))}, "x");
  const auto container = store.CreateContainer(ContainerOf(image, "c"));
  ASSERT_TRUE(IsOk(container));
  {
    auto stage = store.layers().Stage();
    LayerManifest manifest;
    manifest.diff_id = DiffId{Digest::Of("rowless")};
    manifest.id = LayerId{manifest.diff_id.digest};
    ASSERT_TRUE(IsOk(store.layers().Commit(std::move(*stage), manifest, Durability::kNone)));
  }
  std::filesystem::create_directories(root() + "/snapshots/nobodys/fs");
  std::filesystem::create_directories(root() + "/trash/old/tree");
  std::filesystem::create_directories(root() + "/staging/another-boot/x/tree");
  for (const bool dry_run : {true, false}) {
    const auto report = store.CollectGarbage(dry_run);
    ASSERT_TRUE(IsOk(report));
    EXPECT_EQ(report->layers, 1U) << dry_run;
    EXPECT_EQ(report->uppers, 1U) << dry_run;
    EXPECT_EQ(report->trash, 1U) << dry_run;
    EXPECT_EQ(report->stages, 1U) << dry_run;
    EXPECT_EQ(report->containers, 0U) << dry_run;
  }
  const auto nothing = store.CollectGarbage(false);
  ASSERT_TRUE(IsOk(nothing));
  EXPECT_EQ(nothing->layers + nothing->uppers + nothing->trash + nothing->stages, 0U);
  EXPECT_THAT(Findings(store), IsEmpty());
  EXPECT_TRUE(IsOk(store.MountImage(image, {}, container->id, {})));
}

TEST_F(StoreTest, UsageAddsUpWhatIsThere) {
  Store store = Open();
  const ImageRecord image = Import(store, {TarOf("a", std::string(100000, 'x'))}, "x");
  ContainerRecord record = ContainerOf(image, "c");
  record.finished = "2025-01-01T00:00:00Z";
  const auto container = store.CreateContainer(record);
  ASSERT_TRUE(IsOk(container));
  std::ofstream(root() + "/snapshots/" + container->id + "/fs/big") << std::string(50000, 'y') << std::flush;
  const auto usage = store.Usage();
  ASSERT_TRUE(IsOk(usage));
  std::map<std::string, DiskUsage::Row> rows;
  for (const DiskUsage::Row& row : usage->rows) rows[row.kind] = row;
  EXPECT_EQ(rows["layers"].count, 1U);
  EXPECT_GE(rows["layers"].bytes + rows["objects"].bytes, 100000U);
  EXPECT_EQ(rows["layers"].reclaimable_bytes, 0U);
  EXPECT_EQ(rows["containers"].count, 1U);
  EXPECT_GE(rows["containers"].bytes, 50000U);
  EXPECT_EQ(rows["containers"].reclaimable_bytes, rows["containers"].bytes);
  EXPECT_EQ(rows["trash"].count, 0U);
  EXPECT_GT(rows["database"].bytes, 0U);
}

TEST_F(StoreTest, ADamagedDatabaseDoesNotKeepTheStoreFromOpening) {
  if (test::ReRunAlone()) return;
  ASSERT_TRUE(Succeeded(RunInChild([&] {
    Store store = Open();
    Import(store, {TarOf("a", "1")}, "x");
  })));
  std::filesystem::remove(root() + "/db/CURRENT");
  std::filesystem::create_directories(root() + "/staging/another-boot/x/tree");
  Store store = Open();
  EXPECT_EQ(CodeOf(store.Images()), ErrorCode::kCorrupt);
  EXPECT_EQ(store.Check({})->findings.size(), 1U);
}

}  // namespace
}  // namespace snap
