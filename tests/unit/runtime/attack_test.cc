// Images and options that try to reach the host. Passing means: refused, or contained with nothing outside changed
// (the fixture checks canary/, mounts and processes after each test).
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "fs/base/sys_file.h"
#include "tests/unit/runtime/testing.h"

namespace snap::runtime {
namespace {

using testing::AnyOf;
using testing::Contains;
using testing::HasSubstr;

class AttackTest : public ContainerTest {
 protected:
  // What a careless caller leaves open: directories of the host, inheritable.
  static std::vector<UniqueFd> Leaks() {
    std::vector<UniqueFd> leaks(20);
    for (UniqueFd& leak : leaks) leak = UniqueFd(::open("/", O_RDONLY | O_DIRECTORY));
    return leaks;
  }
  std::vector<std::string> Names(const Json& listing) { return Json(listing)["names"].get<std::vector<std::string>>(); }
};

TEST_F(AttackTest, NoDescriptorOfTheLauncherIsLeft) {
  const std::vector<UniqueFd> leaks = Leaks();
  EXPECT_EQ(RunProbe({"fds"}).Of("fds")["fds"], Json::array({0, 1, 2}));
  ContainerSpec terminal = Probe({"fds"});
  terminal.terminal = true;
  auto container = Container::Start(terminal, Tree());
  ASSERT_TRUE(container.ok()) << container.error().error.message();
  std::string out;
  std::byte buffer[4096];
  for (;;) {
    const auto got = sys::Read(container->terminal(), buffer);
    if (!got.ok() || *got == 0) break;
    out.append(reinterpret_cast<const char*>(buffer), *got);
  }
  EXPECT_THAT(out, HasSubstr("\"fds\":[0,1,2]}"));
  EXPECT_EQ(container->Wait()->ShellCode(), 0);
}

TEST_F(AttackTest, WorkingDirectoryCannotBeADescriptorOfTheLauncher) {
  const std::vector<UniqueFd> leaks = Leaks();
  for (int fd = 0; fd < 64; ++fd) {
    ContainerSpec spec = Probe({"cwd", ",", "ls", "."});
    spec.working_dir = "/proc/self/fd/" + std::to_string(fd);
    const Outcome direct = Run(spec);
    EXPECT_EQ(direct.exit_code(), 125) << spec.working_dir << ": " << direct.out;
    spec.working_dir += "/../../../tmp";
    EXPECT_EQ(Run(spec).exit_code(), 125) << spec.working_dir;
  }
  Link("/proc/self/fd/7", "root/leak");
  Link("/proc/1/cwd", "root/leak2");
  for (const char* dir : {"/leak", "/leak2", "/proc/self/root", "/proc/self/cwd", "/dev/fd/7"}) {
    ContainerSpec spec = Probe({"cwd"});
    spec.working_dir = dir;
    EXPECT_EQ(Run(spec).exit_code(), 125) << dir;
  }
}

TEST_F(AttackTest, ProgramCannotBeReachedThroughADescriptorOfTheLauncher) {
  const std::vector<UniqueFd> leaks = Leaks();
  for (int fd = 3; fd < 64; ++fd) {
    ContainerSpec spec = Probe({});
    spec.args[0] = "/proc/self/fd/" + std::to_string(fd) + SNAP_PROBE;
    EXPECT_THAT(Run(spec).exit_code(), AnyOf(126, 127)) << spec.args[0];
    spec.args[0] = "/proc/self/fd/" + std::to_string(fd);
    EXPECT_THAT(Run(spec).exit_code(), AnyOf(126, 127)) << spec.args[0];
  }
}

TEST_F(AttackTest, StandardStreamThatIsAHostDirectoryIsRefused) {
  const UniqueFd saved(::fcntl(0, F_DUPFD_CLOEXEC, 100));
  ASSERT_EQ(::dup2(dir_.get(), 0), 0);
  const auto container = Container::Start(Probe({"true"}), Tree());
  ASSERT_EQ(::dup2(saved.get(), 0), 0);
  ASSERT_FALSE(container.ok());
  EXPECT_EQ(container.error().error.message(), "standard input is a directory of the host");
}

TEST_F(AttackTest, ClosedStandardStreamIsRefused) {
  const UniqueFd saved(::fcntl(0, F_DUPFD_CLOEXEC, 100));
  ::close(0);
  UniqueFd tree = Tree();  // takes the number 0
  EXPECT_EQ(tree.get(), 0);
  const auto container = Container::Start(Probe({"true"}), std::move(tree));
  ASSERT_EQ(::dup2(saved.get(), 0), 0);
  ASSERT_FALSE(container.ok());
  EXPECT_THAT(container.error().error.message(), HasSubstr("standard input is closed"));
}

TEST_F(AttackTest, SymlinksInPlaceOfKernelFileSystemsAreRefused) {
  const std::string targets[] = {path_ + "/canary", "../../../../../../.." + path_ + "/canary", "../canary",
                                 "/proc/self/root", "/no/where",                              "loop",
                                 "bin",             ".",                                      "/"};
  Link("loop", "root/loop");
  for (const char* name : {"proc", "sys", "dev"}) {
    for (const std::string& target : targets) {
      const std::string link = std::string("root/") + name;
      Link(target, link);
      const Outcome outcome = RunProbe({"true"});
      EXPECT_EQ(outcome.exit_code(), 125) << link << " -> " << target;
      EXPECT_EQ(outcome.Message(), std::string("mount '/") + name + "': the image has a symlink in its place");
      ASSERT_TRUE(sys::UnlinkAt(dir_, link.c_str()).ok());
      (void)sys::RemoveTree(dir_, "root/sys");  // made by launches that failed at /dev; missing is fine
      (void)sys::RemoveTree(dir_, "root/proc");
      (void)sys::RemoveTree(dir_, "root/dev");
    }
  }
}

TEST_F(AttackTest, SymlinksBelowDevAreCoveredNotFollowed) {
  MakeDir("root/dev");
  for (const char* name : {"pts", "shm", "mqueue", "ptmx", "null", "console", "fd"}) {
    Link("../../../../../../.." + path_ + "/canary/" + name, std::string("root/dev/") + name);
  }
  ContainerSpec spec = Probe({"stat", "/dev/null", ",", "stat", "/dev/shm", ",", "write", "/dev/shm/x", "y"});
  const Outcome outcome = Run(spec);
  ASSERT_EQ(outcome.exit_code(), 0) << outcome.Message();
  EXPECT_EQ(outcome.Of("stat", "/dev/null")["minor"], 3);
  EXPECT_EQ(outcome.Of("stat", "/dev/shm")["mode"], S_IFDIR | 01777);
}

TEST_F(AttackTest, EtcThatIsASymlinkStaysInside) {
  ASSERT_TRUE(sys::RemoveTree(dir_, "root/etc").ok());
  Link("../../../../../../.." + path_ + "/canary", "root/etc");
  const Outcome outcome = RunProbe({"cat", "/etc/hostname"});
  ASSERT_EQ(outcome.exit_code(), 0) << outcome.Message();
  EXPECT_EQ(outcome.Of("cat")["text"], "box\n");
  EXPECT_TRUE(sys::StatAt(dir_, ("root" + path_ + "/canary/hostname").c_str()).ok()) << "made inside the rootfs";
}

TEST_F(AttackTest, BindTargetThroughSymlinksStaysInside) {
  MakeDir("volume");
  Link(path_ + "/canary", "root/absolute");
  Link("../../../../../../.." + path_ + "/canary", "root/dots");
  MakeDir("root/dir");
  Link("../absolute", "root/dir/second");
  for (const char* target : {"/absolute", "/absolute/below", "/dots/deep/er", "/dir/second/x", "/dots"}) {
    ContainerSpec spec = Probe({"write", std::string(target) + "/file", "x"});
    spec.binds = {{path_ + "/volume", target}};
    const Outcome outcome = Run(spec);
    ASSERT_EQ(outcome.exit_code(), 0) << target << ": " << outcome.Message();
    EXPECT_EQ(Read("volume/file"), "x") << target;
    ASSERT_TRUE(sys::UnlinkAt(dir_, "volume/file").ok());
  }
}

TEST_F(AttackTest, BindCannotCoverProcOrTheRoot) {
  MakeDir("volume");
  WriteFile("volume/self", "");
  Link("/proc", "root/to-proc");
  Link("/proc/self/attr", "root/to-attr");
  Link("/", "root/to-root");
  Link("dir/../..", "root/to-root-too");
  MakeDir("root/dir");
  for (const char* target : {"/proc", "/proc/", "//proc/sys", "/proc/1", "/./proc/self/attr", "/to-proc", "/to-proc/sys",
                             "/to-attr", "/to-root", "/to-root-too", "/to-root/proc", "/"}) {
    ContainerSpec spec = Probe({"true"});
    spec.binds = {{path_ + "/volume", target}};
    const Outcome outcome = Run(spec);
    EXPECT_EQ(outcome.exit_code(), 125) << target;
    EXPECT_THAT(outcome.Message(), HasSubstr("bind '" + path_ + "/volume' on")) << target;
  }
}

TEST_F(AttackTest, MaskCannotBeEscapedByADeviceOfTheVolume) {
  // A volume over /dev with symlinks where the launcher might look for /dev/null, /dev/console or a pty.
  MakeDir("dev");
  for (const char* name : {"null", "console", "ptmx", "pts"}) Link("/proc/sys/kernel/core_pattern", std::string("dev/") + name);
  ContainerSpec spec = Probe({"stat", "/proc/timer_list", ",", "write", "/dev/null", "|/evil"});
  spec.binds = {{path_ + "/dev", "/dev"}};
  const std::string before = *sys::ReadFileAt(FdRef::Cwd(), "/proc/sys/kernel/core_pattern", 4096);
  const Outcome outcome = Run(spec);
  ASSERT_EQ(outcome.exit_code(), 0) << outcome.Message();
  EXPECT_EQ(outcome.Of("stat")["major"], 1);
  EXPECT_EQ(outcome.Of("stat")["minor"], 3);
  EXPECT_EQ(outcome.Of("write")["errno"], EROFS);
  EXPECT_EQ(*sys::ReadFileAt(FdRef::Cwd(), "/proc/sys/kernel/core_pattern", 4096), before);
  spec.terminal = true;
  EXPECT_EQ(Run(spec).exit_code(), 0);
}

TEST_F(AttackTest, NoWayUpFromTheRoot) {
  const Outcome outcome = RunProbe({"ls", "/", ",", "ls", "/..", ",", "ls", "/../../../..", ",", "ls", "/proc/1/root", ",", "ls",
                                    "/proc/1/root/..", ",", "ls", "/proc/self/cwd/../..", ",", "ls", "/proc", ",", "escape"});
  ASSERT_EQ(outcome.exit_code(), 0) << outcome.Message();
  const std::vector<std::string> root = Names(outcome.Of("ls", "/"));
  EXPECT_THAT(root, testing::UnorderedElementsAre("bin", "etc", "proc", "sys", "dev"));
  for (const char* path : {"/..", "/../../../..", "/proc/1/root", "/proc/1/root/..", "/proc/self/cwd/../.."}) {
    EXPECT_EQ(Names(outcome.Of("ls", path)), root) << path;
  }
  std::vector<std::string> after = Names(outcome.Of("escape"));
  EXPECT_EQ(outcome.Of("escape")["chroot"], 0) << "the trick itself is allowed (CAP_SYS_CHROOT), it leads nowhere";
  EXPECT_THAT(after, Contains("escape"));
  std::erase(after, "escape");
  EXPECT_THAT(after, testing::UnorderedElementsAreArray(root));
  const std::vector<std::string> proc = Names(outcome.Of("ls", "/proc"));
  for (const std::string& name : proc) {
    const bool is_process = name.find_first_not_of("0123456789") == std::string::npos;
    EXPECT_TRUE(!is_process || name == "1") << "a process of the host: " << name;
  }
}

TEST_F(AttackTest, UserStringsThatWrapAroundAreRefused) {
  for (const char* user : {"4294967296", "4294967295", "-1", "0x0", "1:", "+0", "1:-1", "0:4294967296"}) {
    ContainerSpec spec = Probe({"ids"});
    spec.user = user;
    const Outcome outcome = Run(spec);
    EXPECT_EQ(outcome.exit_code(), 125) << user;
    EXPECT_EQ(outcome.out, "") << user;
  }
}

TEST_F(AttackTest, FilesOfTheImageThatAreNoFilesDoNotHangTheLauncher) {
  for (const char* name : {"root/etc/passwd", "root/etc/group"}) {
    ASSERT_TRUE(sys::UnlinkAt(dir_, name).ok());
    ASSERT_TRUE(sys::MknodAt(dir_, name, S_IFIFO | 0644, 0).ok());
    EXPECT_EQ(RunProbe({"true"}).exit_code(), 125) << name;
    ASSERT_TRUE(sys::UnlinkAt(dir_, name).ok());
    WriteFile(name, "");
  }
  ASSERT_TRUE(sys::MknodAt(dir_, "root/etc/hosts", S_IFIFO | 0644, 0).ok());
  EXPECT_EQ(RunProbe({"cat", "/etc/hostname"}).exit_code(), 0) << "only covered, never opened";
}

TEST_F(AttackTest, StringsThatHoldNulOrLineEndsAreRefused) {
  using std::string_literals::operator""s;
  const auto refused = [&](auto change) {
    ContainerSpec spec = Probe({"true"});
    change(spec);
    const Outcome outcome = Run(spec);
    EXPECT_EQ(outcome.exit_code(), 125) << outcome.out;
  };
  refused([](ContainerSpec& spec) { spec.args.push_back("a\0b"s); });
  refused([](ContainerSpec& spec) { spec.args = {}; });
  refused([](ContainerSpec& spec) { spec.args = {""}; });
  refused([](ContainerSpec& spec) { spec.env = {"A\0=b"s}; });
  refused([](ContainerSpec& spec) { spec.env = {"NOVALUE"}; });
  refused([](ContainerSpec& spec) { spec.env = {"=x"}; });
  refused([](ContainerSpec& spec) { spec.working_dir = "/a\0b"s; });
  refused([](ContainerSpec& spec) { spec.working_dir = "relative"; });
  refused([](ContainerSpec& spec) { spec.hostname = "a\n127.0.0.1 evil"; });
  refused([](ContainerSpec& spec) { spec.binds = {{"/tmp\0x"s, "/x"}}; });
  refused([](ContainerSpec& spec) { spec.binds = {{"/tmp", "/x\0y"s}}; });
}

}  // namespace
}  // namespace snap::runtime
