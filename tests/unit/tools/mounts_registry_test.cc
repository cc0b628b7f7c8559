#include "tools/snap/mounts_registry.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>

#include "fs/base/log.h"
#include "fs/base/sys_process.h"
#include "tests/support/temp_dir.h"

namespace snap::cli {
namespace {

MountRecord Sample(const std::string& id) {
  MountRecord record;
  record.id = id;
  record.boot_id = *sys::BootId();
  record.target = "/nonexistent/" + id;
  record.image = "sha256:00";
  record.image_name = "debian:12 \"quoted\"";
  record.selection = "upto 3";
  record.upper = "mount-" + id;
  record.created = "2024-01-01T00:00:0" + id.substr(0, 1) + "Z";
  record.read_write = true;
  record.mount_namespace = *OwnMountNamespace();
  record.mount_id = 4'000'000'000;
  return record;
}

TEST(MountRecord, SurvivesWritingAndReading) {
  const MountRecord record = Sample("1a");
  const auto read = ParseMountRecord(MountRecordJson(record), "record");
  ASSERT_TRUE(read.ok()) << read.error().message();
  EXPECT_EQ(MountRecordJson(*read), MountRecordJson(record));
  EXPECT_EQ(read->image_name, record.image_name);
  EXPECT_EQ(read->mount_id, record.mount_id);
}

TEST(MountRecord, RefusesWhatCannotBeOne) {
  EXPECT_FALSE(ParseMountRecord("{}", "record").ok());
  EXPECT_FALSE(ParseMountRecord("not json", "record").ok());
  MountRecord record = Sample("1a");
  record.id = "../evil";
  EXPECT_FALSE(ParseMountRecord(MountRecordJson(record), "record").ok());
  record = Sample("1a");
  record.target = "relative";
  EXPECT_FALSE(ParseMountRecord(MountRecordJson(record), "record").ok());
}

TEST(MountsRegistry, ListsWhatWasPutByTimeAndForgetsWhatWasRemoved) {
  const test::TempDir dir;
  auto registry = MountsRegistry::Open(dir.path() + "/run");
  ASSERT_TRUE(registry.ok()) << registry.error().message();
  const auto lock = registry->Acquire();
  ASSERT_TRUE(lock.ok());
  ASSERT_TRUE(registry->Put(*lock, Sample("2b")).ok());
  ASSERT_TRUE(registry->Put(*lock, Sample("1a")).ok());
  auto records = registry->List();
  ASSERT_TRUE(records.ok());
  ASSERT_EQ(records->size(), 2U);
  EXPECT_EQ((*records)[0].id, "1a");
  ASSERT_TRUE(registry->Remove(*lock, "1a").ok());
  EXPECT_TRUE(registry->Remove(*lock, "1a").ok()) << "gone already is no failure";
  EXPECT_EQ(registry->List()->size(), 1U);
}

TEST(MountsRegistry, SkipsFilesThatAreNoRecords) {
  const test::TempDir dir;
  auto registry = MountsRegistry::Open(dir.path());
  ASSERT_TRUE(registry.ok());
  log::SetLevel(log::Level::kError);
  for (const char* name : {"mounts/1a.json", "mounts/README", "mounts/ab.json.new"}) {
    const auto file = sys::OpenAt(dir.fd(), name, O_WRONLY | O_CREAT, 0600);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(sys::WriteAll(*file, "garbage").ok());
  }
  EXPECT_EQ(registry->List()->size(), 0U);
  log::SetLevel(log::Level::kWarning);
}

TEST(MountsRegistry, KnowsThatMountsAreGone) {
  const test::TempDir dir;
  auto registry = MountsRegistry::Open(dir.path());
  ASSERT_TRUE(registry.ok());
  MountRecord never_mounted = Sample("1a");
  MountRecord other_boot = Sample("2b");
  other_boot.boot_id = "00000000-0000-0000-0000-000000000000";
  MountRecord dead_namespace = Sample("3c");
  dead_namespace.mount_namespace = "mnt:[1]";
  const auto states = registry->StatesOf({never_mounted, other_boot, dead_namespace});
  ASSERT_TRUE(states.ok()) << states.error().message();
  EXPECT_THAT(*states, testing::Each(MountsRegistry::State::kGone));
}

TEST(MountsRegistry, LockKeepsOthersOut) {
  const test::TempDir dir;
  auto first = MountsRegistry::Open(dir.path());
  ASSERT_TRUE(first.ok());
  const auto lock = first->Acquire();
  ASSERT_TRUE(lock.ok());
  const auto file = sys::OpenAt(dir.fd(), "mounts/lock", O_RDWR);
  ASSERT_TRUE(file.ok());
  EXPECT_FALSE(sys::Flock(*file, LOCK_EX | LOCK_NB).ok());
}

}  // namespace
}  // namespace snap::cli
