#include "runtime/state.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "tests/support/temp_dir.h"

namespace snap::runtime {
namespace {

TEST(ContainerId, IsAPlainName) {
  for (const char* good : {"a", "A_b-c+d.e", "0123456789abcdef", "_x"}) EXPECT_TRUE(CheckContainerId(good).ok()) << good;
  for (const char* bad : {"", ".", "..", "../x", "a/b", ".hidden", "a b", "a\nb", "\xff"}) EXPECT_FALSE(CheckContainerId(bad).ok()) << bad;
  EXPECT_TRUE(CheckContainerId(std::string(1024, 'a')).ok());
  EXPECT_FALSE(CheckContainerId(std::string(1025, 'a')).ok());
}

TEST(StateDir, KeepsWhatIsSaved) {
  const test::TempDir temp;
  const std::string root = temp.path() + "/a/b";
  EXPECT_TRUE(StateDir::List(root)->empty()) << "a root that is not there has none";
  EXPECT_EQ(StateDir::Open(root, "one").error().code(), ErrorCode::kNotFound);
  {
    auto dir = StateDir::Create(root, "one");
    ASSERT_TRUE(dir.ok()) << dir.error().message();
    EXPECT_EQ(dir->Load().error().code(), ErrorCode::kNotFound) << "not saved yet";
    State state{.id = "one", .bundle = "/b", .rootfs = "/r", .created = "now", .oci_version = "1.2.0", .owner_uid = 5, .pid = 7,
                .start_time = 8, .cgroups = {{"", "/u"}, {"memory", "/m"}}, .annotations = {{"k", "v"}}};
    ASSERT_TRUE(dir->Save(state).ok());
    ASSERT_TRUE(dir->SaveConfig("{}").ok());
  }
  EXPECT_EQ(StateDir::Create(root, "one").error().code(), ErrorCode::kExists);
  auto dir = StateDir::Open(root, "one");
  ASSERT_TRUE(dir.ok());
  const auto loaded = dir->Load();
  ASSERT_TRUE(loaded.ok()) << loaded.error().message();
  EXPECT_EQ(loaded->pid, 7);
  EXPECT_EQ(loaded->cgroups.at("memory"), "/m");
  EXPECT_EQ(loaded->annotations.at("k"), "v");
  EXPECT_EQ(*dir->LoadConfig(), "{}");
  EXPECT_EQ(*StateDir::List(root), std::vector<std::string>{"one"});
  ASSERT_TRUE((*std::move(dir)).Remove().ok());
  EXPECT_TRUE(StateDir::List(root)->empty());
}

TEST(StateDir, DamageIsSaid) {
  const test::TempDir temp;
  auto dir = StateDir::Create(temp.path(), "one");
  ASSERT_TRUE(dir.ok());
  for (const char* text : {"", "{", "{\"id\":\"one\"}", "[]", "{\"ociVersion\":\"1\",\"id\":\"x\",\"pid\":-1}"}) {
    const UniqueFd file = *sys::OpenAt(dir->fd(), "state.json", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ASSERT_TRUE(sys::WriteAll(file, std::string_view(text)).ok());
    EXPECT_EQ(dir->Load().error().code(), ErrorCode::kCorrupt) << text;
  }
}

TEST(IsAlive, KnowsAReusedNumber) {
  State state;
  state.pid = ::getpid();
  state.start_time = *sys::ProcessStartTime(::getpid());
  EXPECT_TRUE(IsAlive(state));
  ++state.start_time;
  EXPECT_FALSE(IsAlive(state)) << "another process with this number";
  state.pid = 0;
  EXPECT_FALSE(IsAlive(state));
}

}  // namespace
}  // namespace snap::runtime
