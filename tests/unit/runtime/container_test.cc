// What a container is given: every fact is read by a program inside it.
#include "runtime/container.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <grp.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <map>
#include <set>
#include <sstream>

#include "fs/base/fault.h"
#include "fs/base/sys_file.h"
#include "tests/unit/runtime/testing.h"

namespace snap::runtime {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::UnorderedElementsAre;

struct MountLine {
  std::string options, fs_type, super_options;
};

// mountinfo by mount point; the topmost of a stack wins.
std::map<std::string, MountLine> Mounts(const Outcome& outcome) {
  std::map<std::string, MountLine> mounts;
  std::istringstream text(outcome.Of("cat", "/proc/self/mountinfo")["text"].get<std::string>());
  for (std::string line; std::getline(text, line);) {
    std::istringstream fields(line);
    std::string skip, point, field;
    MountLine mount;
    fields >> skip >> skip >> skip >> skip >> point >> mount.options;
    while (fields >> field && field != "-") {
    }
    fields >> mount.fs_type >> skip >> mount.super_options;
    mounts[point] = mount;
  }
  return mounts;
}

std::string StatusField(const Outcome& outcome, const std::string& name) {
  std::istringstream text(outcome.Of("cat", "/proc/self/status")["text"].get<std::string>());
  for (std::string line; std::getline(text, line);) {
    if (line.starts_with(name + ":\t")) return line.substr(name.size() + 2);
  }
  return "(none)";
}

TEST_F(ContainerTest, NamespacesAreItsOwn) {
  const Outcome outcome = RunProbe({"ns", ",", "pid"});
  ASSERT_EQ(outcome.exit_code(), 0) << outcome.Message();
  for (const char* name : {"mnt", "pid", "ipc", "uts", "cgroup", "net"}) {
    const std::string ours = *sys::ReadLinkAt(FdRef::Cwd(), (std::string("/proc/self/ns/") + name).c_str());
    EXPECT_NE(outcome.Of("ns")[name], ours) << name;
    EXPECT_THAT(outcome.Of("ns")[name].get<std::string>(), HasSubstr(name));
  }
  EXPECT_EQ(outcome.Of("pid")["pid"], 1);
  EXPECT_EQ(outcome.Of("pid")["sid"], 1);
}

TEST_F(ContainerTest, HostNetworkSharesOnlyTheNetwork) {
  ContainerSpec spec = Probe({"ns", ",", "lo", ",", "cat", "/etc/resolv.conf", ",", "cat", "/etc/hosts"});
  spec.network = Network::kHost;
  const Outcome outcome = Run(spec);
  ASSERT_EQ(outcome.exit_code(), 0) << outcome.Message();
  EXPECT_EQ(outcome.Of("ns")["net"], *sys::ReadLinkAt(FdRef::Cwd(), "/proc/self/ns/net"));
  EXPECT_NE(outcome.Of("ns")["uts"], *sys::ReadLinkAt(FdRef::Cwd(), "/proc/self/ns/uts"));
  const auto resolv = sys::ReadFileAt(FdRef::Cwd(), "/etc/resolv.conf", 1U << 20U);
  const std::string got = outcome.Of("cat", "/etc/resolv.conf")["text"];
  EXPECT_EQ(got, resolv.ok() ? *resolv : "");
  EXPECT_THAT(outcome.Of("cat", "/etc/hosts")["text"].get<std::string>(), HasSubstr("\tbox\n"));
}

TEST_F(ContainerTest, HasHostnameLoopbackAndItsOwnEtcFiles) {
  WriteFile("root/etc/hosts", "the image's\n");
  const Outcome outcome = RunProbe({"hostname", ",", "lo", ",", "cat", "/etc/hostname", ",", "cat", "/etc/hosts", ",",
                                    "cat", "/etc/resolv.conf", ",", "write", "/etc/hosts", "more\n"});
  ASSERT_EQ(outcome.exit_code(), 0) << outcome.Message();
  EXPECT_EQ(outcome.Of("hostname")["name"], "box");
  EXPECT_EQ(outcome.Of("lo")["up"], 1);
  EXPECT_EQ(outcome.Of("cat", "/etc/hostname")["text"], "box\n");
  EXPECT_THAT(outcome.Of("cat", "/etc/hosts")["text"].get<std::string>(), HasSubstr("127.0.0.1\tbox\n"));
  EXPECT_EQ(outcome.Of("write")["errno"], 0);
  EXPECT_EQ(Read("root/etc/hosts"), "the image's\n") << "the image's file is only covered";
  EXPECT_EQ(Read("root/etc/hostname"), "") << "a missing mount point is made, empty";
}

TEST_F(ContainerTest, HostnameIsTheShortIdByDefault) {
  ContainerSpec spec = Probe({"hostname"});
  spec.hostname.clear();
  EXPECT_EQ(Run(spec).Of("hostname")["name"], "0123456789ab");
}

TEST_F(ContainerTest, ResolvConfSymlinkIsFollowedInside) {
  Link("../run/systemd/resolve/stub-resolv.conf", "root/etc/resolv.conf");
  const Outcome outcome = RunProbe({"cat", "/etc/resolv.conf", ",", "stat", "/etc/resolv.conf"});
  ASSERT_EQ(outcome.exit_code(), 0) << outcome.Message();
  EXPECT_THAT(outcome.Of("cat")["text"].get<std::string>(), HasSubstr("no name servers"));
  EXPECT_EQ(outcome.Of("stat")["target"], "../run/systemd/resolve/stub-resolv.conf");
}

TEST_F(ContainerTest, MountsAreDockers) {
  const Outcome outcome = RunProbe({"cat", "/proc/self/mountinfo"});
  ASSERT_EQ(outcome.exit_code(), 0) << outcome.Message();
  const auto mounts = Mounts(outcome);
  struct Expected {
    const char* point;
    const char* type;
    std::set<std::string> options;
    std::set<std::string> super;
  };
  const Expected expected[] = {
      {"/proc", "proc", {"rw", "nosuid", "nodev", "noexec"}, {}},
      {"/dev", "tmpfs", {"rw", "nosuid"}, {"size=65536k", "mode=755"}},
      {"/dev/pts", "devpts", {"rw", "nosuid", "noexec"}, {"gid=5", "mode=620", "ptmxmode=666"}},
      {"/dev/shm", "tmpfs", {"rw", "nosuid", "nodev", "noexec"}, {"size=65536k"}},
      {"/dev/mqueue", "mqueue", {"rw", "nosuid", "nodev", "noexec"}, {}},
      {"/sys", "sysfs", {"ro", "nosuid", "nodev", "noexec"}, {}},
      {"/sys/fs/cgroup", "cgroup2", {"ro", "nosuid", "nodev", "noexec"}, {}},
      {"/proc/sys", "proc", {"ro", "nosuid", "nodev", "noexec"}, {}},
      {"/etc/hosts", "tmpfs", {"rw"}, {}},
  };
  std::set<std::string> points;
  for (const auto& [point, mount] : mounts) points.insert(point);
  for (const char* path : MaskedPaths()) points.erase(path);
  for (const char* path : ReadOnlyPaths()) points.erase(path);
  EXPECT_THAT(points, UnorderedElementsAre("/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys",
                                           "/sys/fs/cgroup", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"))
      << "nothing else, above all nothing of the host";
  const auto words = [](const std::string& text) {
    std::set<std::string> out;
    std::istringstream stream(text);
    for (std::string word; std::getline(stream, word, ',');) out.insert(word);
    return out;
  };
  for (const Expected& e : expected) {
    ASSERT_THAT(mounts, Contains(testing::Key(e.point)));
    const MountLine& mount = mounts.at(e.point);
    EXPECT_EQ(mount.fs_type, e.type) << e.point;
    for (const std::string& option : e.options) EXPECT_THAT(words(mount.options), Contains(option)) << e.point;
    for (const std::string& option : e.super) EXPECT_THAT(words(mount.super_options), Contains(option)) << e.point;
  }
  EXPECT_THAT(words(mounts.at("/dev").options), Not(Contains("relatime"))) << "strictatime";
  EXPECT_THAT(outcome.Of("cat")["text"].get<std::string>(), Not(HasSubstr("shared:"))) << "nothing propagates";
  EXPECT_THAT(outcome.Of("cat")["text"].get<std::string>(), Not(HasSubstr("master:")));
}

TEST_F(ContainerTest, OlderKernelsWayToTheEtcFilesLeavesNoMountBehind) {
  ASSERT_TRUE(fault::Arm("runtime.prepare.attach_staging:error=22@0").ok());
  const Outcome older = RunProbe({"cat", "/proc/self/mountinfo", ",", "cat", "/etc/hostname", ",", "ls", "/sys/firmware"});
  ASSERT_EQ(older.exit_code(), 0) << older.Message();
  ASSERT_TRUE(fault::Arm("").ok());
  EXPECT_EQ(older.Of("cat", "/etc/hostname")["text"], "box\n");
  std::set<std::string> older_points, points;
  for (const auto& [point, mount] : Mounts(older)) older_points.insert(point);
  for (const auto& [point, mount] : Mounts(RunProbe({"cat", "/proc/self/mountinfo"}))) points.insert(point);
  EXPECT_EQ(older_points, points);
}

TEST_F(ContainerTest, DevHoldsDockersNodesAndLinks) {
  std::vector<std::string> words = {"ls", "/dev"};
  const std::vector<std::string> names = {"null", "zero", "full", "random", "urandom", "tty", "fd", "stdin",
                                          "stdout", "stderr", "core", "ptmx", "shm", "mqueue", "pts"};
  for (const std::string& name : names) words.insert(words.end(), {",", "stat", "/dev/" + name});
  words.insert(words.end(), {",", "statvfs", "/dev/shm", ",", "write", "/dev/null", "x", ",", "ls", "/dev/pts"});
  const Outcome outcome = RunProbe(words);
  ASSERT_EQ(outcome.exit_code(), 0) << outcome.Message();
  EXPECT_THAT(outcome.Of("ls", "/dev")["names"].get<std::vector<std::string>>(),
              testing::UnorderedElementsAreArray(names));
  const std::map<std::string, std::pair<int, int>> nodes = {{"null", {1, 3}},   {"zero", {1, 5}},    {"full", {1, 7}},
                                                            {"random", {1, 8}}, {"urandom", {1, 9}}, {"tty", {5, 0}}};
  for (const auto& [name, device] : nodes) {
    Json status = outcome.Of("stat", ("/dev/" + name).c_str());
    EXPECT_EQ(status["mode"], S_IFCHR | 0666) << name;
    EXPECT_EQ(status["major"], device.first) << name;
    EXPECT_EQ(status["minor"], device.second) << name;
  }
  EXPECT_EQ(outcome.Of("stat", "/dev/ptmx")["target"], "pts/ptmx");
  EXPECT_EQ(outcome.Of("stat", "/dev/stdout")["target"], "/proc/self/fd/1");
  EXPECT_EQ(outcome.Of("stat", "/dev/shm")["mode"], S_IFDIR | 01777);
  EXPECT_EQ(outcome.Of("statvfs", "/dev/shm")["bytes"], 64 << 20);
  EXPECT_EQ(outcome.Of("write", "/dev/null")["errno"], 0);
  EXPECT_THAT(outcome.Of("ls", "/dev/pts")["names"].get<std::vector<std::string>>(), ElementsAre("ptmx"));
}

TEST_F(ContainerTest, DevicesAreBoundWhenNodesAreForbidden) {
  ASSERT_TRUE(fault::Arm("runtime.prepare.mknod:error=1@0").ok());
  const Outcome outcome = RunProbe({"stat", "/dev/null", ",", "stat", "/dev/urandom", ",", "write", "/dev/null", "x"});
  ASSERT_EQ(outcome.exit_code(), 0) << outcome.Message();
  EXPECT_EQ(outcome.Of("stat", "/dev/null")["minor"], 3);
  EXPECT_EQ(outcome.Of("stat", "/dev/urandom")["minor"], 9);
  EXPECT_EQ(outcome.Of("write")["errno"], 0);
}

TEST_F(ContainerTest, MaskedPathsAreEmptyAndReadOnlyPathsCannotBeWritten) {
  std::vector<std::string> words;
  for (const char* path : MaskedPaths()) {
    words.insert(words.end(), {"stat", path, ",", "cat", path, ",", "ls", path, ",", "write", path, "x", ",", "umount", path, ","});
  }
  for (const char* path : ReadOnlyPaths()) {
    words.insert(words.end(), {"write", path, "x", ",", "umount", path, ",", "remount", path, ","});
  }
  words.insert(words.end(), {"write", "/proc/sys/kernel/core_pattern", "|/evil", ",", "write", "/proc/sysrq-trigger", "h", ",",
                             "write", "/sys/kernel/mm/ksm/run", "0", ",", "write", "/sys/fs/cgroup/cgroup.procs", "1", ",",
                             "umount", "/proc", ",", "remount", "/sys"});
  const std::string core_pattern = *sys::ReadFileAt(FdRef::Cwd(), "/proc/sys/kernel/core_pattern", 4096);
  const Outcome outcome = RunProbe(words);
  ASSERT_EQ(outcome.exit_code(), 0) << outcome.Message();
  int masked = 0;
  for (const char* path : MaskedPaths()) {
    Json status = outcome.Of("stat", path);
    if (status["errno"] != 0) {
      EXPECT_EQ(status["errno"], ENOENT) << path;
      struct stat host;
      EXPECT_NE(::stat(path, &host), 0) << path << " exists on the host but not inside";
      continue;
    }
    ++masked;
    if (S_ISDIR(status["mode"].get<mode_t>())) {
      EXPECT_TRUE(outcome.Of("ls", path)["names"].empty()) << path;
    } else {
      EXPECT_EQ(status["major"], 1) << path;
      EXPECT_EQ(status["minor"], 3) << path;
      EXPECT_EQ(outcome.Of("cat", path)["text"], "") << path;
    }
    EXPECT_EQ(outcome.Of("umount", path)["errno"], EPERM) << path;
  }
  EXPECT_GE(masked, 4) << "this kernel has too little to mask for the test to mean anything";
  EXPECT_EQ(outcome.Of("write", "/proc/sys/kernel/core_pattern")["errno"], EROFS);
  EXPECT_EQ(*sys::ReadFileAt(FdRef::Cwd(), "/proc/sys/kernel/core_pattern", 4096), core_pattern);
  EXPECT_EQ(outcome.Of("write", "/sys/fs/cgroup/cgroup.procs")["errno"], EROFS);
  for (const char* path : ReadOnlyPaths()) {
    EXPECT_NE(outcome.Of("write", path)["errno"], 0) << path;
    EXPECT_NE(outcome.Of("umount", path)["errno"], 0) << path;
    EXPECT_NE(outcome.Of("remount", path)["errno"], 0) << path;
  }
  EXPECT_EQ(outcome.Of("umount", "/proc")["errno"], EPERM);
  EXPECT_EQ(outcome.Of("remount", "/sys")["errno"], EPERM);
}

TEST_F(ContainerTest, RootHasExactlyDockersCapabilities) {
  const Outcome outcome = RunProbe({"cat", "/proc/self/status"});
  EXPECT_EQ(StatusField(outcome, "CapInh"), "0000000000000000");
  EXPECT_EQ(StatusField(outcome, "CapPrm"), "00000000a80425fb");
  EXPECT_EQ(StatusField(outcome, "CapEff"), "00000000a80425fb");
  EXPECT_EQ(StatusField(outcome, "CapBnd"), "00000000a80425fb");
  EXPECT_EQ(StatusField(outcome, "CapAmb"), "0000000000000000");
  EXPECT_EQ(StatusField(outcome, "NoNewPrivs"), "1");
}

TEST_F(ContainerTest, OtherUsersHaveNoCapabilities) {
  ContainerSpec spec = Probe({"cat", "/proc/self/status", ",", "ids", ",", "env"});
  spec.user = "app";
  const Outcome outcome = Run(spec);
  ASSERT_EQ(outcome.exit_code(), 0) << outcome.Message();
  EXPECT_EQ(StatusField(outcome, "CapInh"), "0000000000000000");
  EXPECT_EQ(StatusField(outcome, "CapPrm"), "0000000000000000");
  EXPECT_EQ(StatusField(outcome, "CapEff"), "0000000000000000");
  EXPECT_EQ(StatusField(outcome, "CapBnd"), "00000000a80425fb");
  EXPECT_EQ(StatusField(outcome, "CapAmb"), "0000000000000000");
  EXPECT_EQ(outcome.Of("ids")["uid"], Json::array({1000, 1000, 1000}));
  EXPECT_EQ(outcome.Of("ids")["gid"], Json::array({1001, 1001, 1001}));
  EXPECT_THAT(outcome.Of("ids")["groups"].get<std::vector<int>>(), UnorderedElementsAre(1001, 29, 44));
  EXPECT_THAT(outcome.Of("env")["env"].get<std::vector<std::string>>(), Contains("HOME=/home/app"));
}

TEST_F(ContainerTest, NoGroupOfTheLauncherIsInherited) {
  const gid_t groups[] = {4242, 4343};
  ASSERT_EQ(::setgroups(2, groups), 0);
  ContainerSpec spec = Probe({"ids"});
  EXPECT_EQ(Run(spec).Of("ids")["groups"], Json::array({0}));
  spec.user = "1234:5678";
  EXPECT_EQ(Run(spec).Of("ids")["groups"], Json::array({5678}));
  ASSERT_EQ(::setgroups(0, nullptr), 0);
}

TEST_F(ContainerTest, NewPrivilegesCanBeAllowed) {
  ContainerSpec spec = Probe({"cat", "/proc/self/status"});
  spec.new_privileges = true;
  EXPECT_EQ(StatusField(Run(spec), "NoNewPrivs"), "0");
}

TEST_F(ContainerTest, SignalsAndUmaskAreFresh) {
  ASSERT_NE(::signal(SIGUSR1, SIG_IGN), SIG_ERR);
  ASSERT_NE(::signal(SIGPIPE, SIG_IGN), SIG_ERR);
  sigset_t set, before;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &set, &before), 0);
  const mode_t mask = ::umask(077);
  const Outcome outcome = RunProbe({"cat", "/proc/self/status", ",", "umask"});
  ::umask(mask);
  sigset_t after;
  ASSERT_EQ(::pthread_sigmask(SIG_SETMASK, &before, &after), 0);
  EXPECT_EQ(::sigismember(&after, SIGUSR2), 1);
  EXPECT_EQ(::sigismember(&after, SIGTERM), 0) << "the caller's mask is put back";
  ::signal(SIGUSR1, SIG_DFL);
  ::signal(SIGPIPE, SIG_DFL);
  EXPECT_EQ(StatusField(outcome, "SigBlk"), "0000000000000000");
  EXPECT_EQ(StatusField(outcome, "SigIgn"), "0000000000000000");
  EXPECT_EQ(outcome.Of("umask")["mask"], 022);
}

TEST_F(ContainerTest, EnvironmentIsTheSpecsPlusWhatIsMissing) {
  ContainerSpec spec = Probe({"env"});
  spec.env = {"A=1", "EMPTY=", "PATH=/x:/bin"};
  EXPECT_THAT(Run(spec).Of("env")["env"].get<std::vector<std::string>>(),
              ElementsAre("A=1", "EMPTY=", "PATH=/x:/bin", "HOSTNAME=box", "HOME=/root"));
  spec.env = {"HOME=/h", "HOSTNAME=other"};
  EXPECT_THAT(Run(spec).Of("env")["env"].get<std::vector<std::string>>(),
              ElementsAre("HOME=/h", "HOSTNAME=other",
                          "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
}

TEST_F(ContainerTest, WorkingDirectoryIsMadeAndSymlinksStayInside) {
  ContainerSpec spec = Probe({"cwd"});
  EXPECT_EQ(Run(spec).Of("cwd")["path"], "/");
  spec.working_dir = "/srv/app/deep";
  EXPECT_EQ(Run(spec).Of("cwd")["path"], "/srv/app/deep");
  Link(path_ + "/canary", "root/away");
  spec.working_dir = "/away";
  const Outcome outcome = Run(spec);
  EXPECT_EQ(outcome.Of("cwd")["path"], path_ + "/canary") << "the same name, inside the rootfs";
}

TEST_F(ContainerTest, ExitStatusIsPassedOn) {
  EXPECT_EQ(RunProbe({"true"}).exit_code(), 0);
  EXPECT_EQ(RunProbe({"exit", "7"}).exit_code(), 7);
  EXPECT_EQ(RunProbe({"exit", "255"}).exit_code(), 255);
  EXPECT_EQ(RunProbe({"signal", "15"}).exit_code(), 128 + 15) << "of a child of pid 1";
  const Outcome trapped = RunProbe({"abort"});
  EXPECT_EQ(trapped.exit_code(), 128 + SIGILL);
  EXPECT_EQ(trapped.status.signal, SIGILL);
}

TEST_F(ContainerTest, KillEndsItAndEveryProcessInIt) {
  auto container = Container::Start(Probe({"fork", ",", "forever"}), Tree());
  ASSERT_TRUE(container.ok()) << container.error().error.message();
  ASSERT_TRUE(container->Signal(SIGKILL).ok());
  EXPECT_EQ(container->Wait()->ShellCode(), 137);
}

TEST_F(ContainerTest, ReadOnlyRootfsLeavesDevAndShmWritable) {
  ContainerSpec spec = Probe({"write", "/file", "x", ",", "write", "/dev/shm/file", "x", ",", "write", "/dev/file", "x", ",",
                              "write", "/etc/hosts", "x", ",", "remount", "/"});
  spec.read_only_rootfs = true;
  spec.working_dir = "/made/before";
  const Outcome outcome = Run(spec);
  ASSERT_EQ(outcome.exit_code(), 0) << outcome.Message();
  EXPECT_EQ(outcome.Of("write", "/file")["errno"], EROFS);
  EXPECT_EQ(outcome.Of("write", "/dev/shm/file")["errno"], 0);
  EXPECT_EQ(outcome.Of("write", "/dev/file")["errno"], 0);
  EXPECT_EQ(outcome.Of("write", "/etc/hosts")["errno"], 0);
  EXPECT_EQ(outcome.Of("remount", "/")["errno"], EPERM);
  EXPECT_EQ(Read("root/file"), std::nullopt);
}

TEST_F(ContainerTest, RootfsThatCannotBeWrittenNeedsItsMountPoints) {
  const auto read_only_tree = [&] {
    UniqueFd tree = Tree();
    EXPECT_TRUE(sys::MountSetAttr(tree, MOUNT_ATTR_RDONLY, 0, 0, true).ok());
    return tree;
  };
  const Outcome without = Run(Probe({"true"}), read_only_tree());
  EXPECT_EQ(without.exit_code(), 125);
  EXPECT_EQ(without.Message(), "mount '/proc': Read-only file system");
  for (const char* dir : {"root/proc", "root/sys", "root/dev"}) MakeDir(dir);
  for (const char* file : {"root/etc/hosts", "root/etc/hostname", "root/etc/resolv.conf"}) WriteFile(file, "");
  const Outcome with = Run(Probe({"true"}), read_only_tree());
  EXPECT_EQ(with.exit_code(), 0) << with.Message();
}

TEST_F(ContainerTest, BindsAreMountedInOrderAndMadeWhenMissing) {
  MakeDir("outside");
  WriteFile("outside/file", "from the host");
  MakeDir("outside/sub");
  WriteFile("single", "one file");
  MakeDir("other");
  WriteFile("other/file", "from the other");
  ContainerSpec spec = Probe({"cat", "/data/file", ",", "write", "/data/new", "x", ",", "cat", "/etc/one", ",", "write", "/ro/new",
                              "x", ",", "cat", "/data/sub/deep/file"});
  spec.binds = {{path_ + "/outside", "/data"},
                {path_ + "/other", "/data/sub/deep"},
                {path_ + "/single", "/etc/one"},
                {path_ + "/other", "/ro", true}};
  const Outcome outcome = Run(spec);
  ASSERT_EQ(outcome.exit_code(), 0) << outcome.Message();
  EXPECT_EQ(outcome.Of("cat", "/data/file")["text"], "from the host");
  EXPECT_EQ(outcome.Of("write", "/data/new")["errno"], 0);
  EXPECT_EQ(Read("outside/new"), "x");
  EXPECT_EQ(outcome.Of("cat", "/etc/one")["text"], "one file");
  EXPECT_EQ(outcome.Of("write", "/ro/new")["errno"], EROFS);
  EXPECT_EQ(outcome.Of("cat", "/data/sub/deep/file")["text"], "from the other");
  EXPECT_EQ(Read("root/etc/one"), "");
}

TEST_F(ContainerTest, ReadOnlyBindIsReadOnlyAllTheWayDown) {
  MakeDir("outside");
  MakeDir("outside/inner");
  ASSERT_TRUE(sys::Mount("tmpfs", (path_ + "/outside/inner").c_str(), "tmpfs", 0, nullptr).ok());
  ContainerSpec spec = Probe({"write", "/r/inner/x", "x", ",", "write", "/w/inner/x", "x", ",", "write", "/flat/inner/x", "x", ",", "remount", "/r"});
  spec.binds = {{path_ + "/outside", "/r", true, true},
                {path_ + "/outside", "/w", false, true},
                {path_ + "/outside", "/flat", false, false}};
  const Outcome outcome = Run(spec);
  EXPECT_EQ(outcome.Of("write", "/r/inner/x")["errno"], EROFS) << outcome.Message();
  EXPECT_EQ(outcome.Of("write", "/w/inner/x")["errno"], 0);
  EXPECT_EQ(outcome.Of("write", "/flat/inner/x")["errno"], 0);
  EXPECT_EQ(outcome.Of("remount", "/r")["errno"], EPERM);
  EXPECT_EQ(Read("outside/inner/x"), "x");
  ASSERT_TRUE(sys::Unmount((path_ + "/outside/inner").c_str(), MNT_DETACH).ok());
  EXPECT_EQ(Read("outside/inner/x"), "x") << "without rbind the write went to the directory below the mount";
}

TEST_F(ContainerTest, MissingBindSourceBecomesADirectoryAsDockersDoes) {
  ContainerSpec spec = Probe({"stat", "/data", ",", "write", "/data/x", "y"});
  spec.binds = {{path_ + "/new/deep", "/data"}};
  const Outcome outcome = Run(spec);
  ASSERT_EQ(outcome.exit_code(), 0) << outcome.Message();
  EXPECT_EQ(Read("new/deep/x"), "y");
}

TEST_F(ContainerTest, BindMayCoverWhatTheLauncherMounted) {
  MakeDir("shm");
  WriteFile("hosts", "mine\n");
  ContainerSpec spec = Probe({"write", "/dev/shm/x", "y", ",", "cat", "/etc/hosts"});
  spec.binds = {{path_ + "/shm", "/dev/shm"}, {path_ + "/hosts", "/etc/hosts"}};
  const Outcome outcome = Run(spec);
  EXPECT_EQ(Read("shm/x"), "y") << outcome.Message();
  EXPECT_EQ(outcome.Of("cat")["text"], "mine\n");
}

TEST_F(ContainerTest, ProgramIsFoundInThePathOfTheContainer) {
  ContainerSpec spec = Probe({"cwd"});
  spec.args[0] = "probe";
  EXPECT_EQ(Run(spec).exit_code(), 0);
  MakeDir("root/opt");
  MakeDir("root/opt/probe");  // a directory of the name is passed over
  WriteFile("root/etc/probe", "not executable", 0644);
  spec.env = {"PATH=/nowhere:/etc/passwd:/opt:/etc:/bin"};
  EXPECT_EQ(Run(spec).exit_code(), 0);
  spec.args[0] = "./probe";
  spec.working_dir = "/bin";
  EXPECT_EQ(Run(spec).exit_code(), 0);
}

TEST_F(ContainerTest, ProgramThatCannotRunSaysWhyWithDockersExitCodes) {
  WriteFile("root/bin/text", "just text\n", 0755);
  WriteFile("root/bin/locked", "#!/bin/probe\n", 0644);
  WriteFile("root/bin/orphan", "#!/no/such/interpreter\n", 0755);
  MakeDir("root/bin/dir");
  struct Case {
    const char* arg0;
    int exit_code;
    const char* message;
  };
  const Case cases[] = {
      {"foo", 127, "exec 'foo': not found in PATH"},
      {"/bin/foo", 127, "exec '/bin/foo': No such file or directory"},
      {"/bin/probe/x", 127, "exec '/bin/probe/x': Not a directory"},
      {"dir", 127, "exec 'dir': not found in PATH"},
      {"/bin/dir", 126, "exec '/bin/dir': is a directory"},
      {"/", 126, "exec '/': is a directory"},
      {"locked", 126, "exec 'locked': Permission denied"},
      {"/bin/locked", 126, "exec '/bin/locked': Permission denied"},
      {"text", 126, "exec 'text': exec format error"},
      {"orphan", 127, "exec 'orphan': the interpreter or loader that it names was not found"},
  };
  for (const Case& c : cases) {
    ContainerSpec spec = Probe({});
    spec.args = {c.arg0};
    const Outcome outcome = Run(spec);
    EXPECT_EQ(outcome.exit_code(), c.exit_code) << c.arg0;
    EXPECT_EQ(outcome.Message(), c.message);
  }
}

TEST_F(ContainerTest, DirectoryOnTheWayToNonRootWorkingDirIsStillEntered) {
  MakeDir("root/private");
  ASSERT_TRUE(sys::FChmodAt(dir_, "root/private", 0700).ok());
  ContainerSpec spec = Probe({"cwd"});
  spec.user = "app";
  spec.working_dir = "/private";
  EXPECT_EQ(Run(spec).Of("cwd")["path"], "/private") << "entered as root, as Docker does";
}

TEST_F(ContainerTest, CgroupIsSeenFromItsOwnDown) {
  const Outcome outcome = RunProbe({"cat", "/proc/self/cgroup", ",", "ls", "/sys/fs/cgroup"});
  EXPECT_THAT(outcome.Of("cat")["text"].get<std::string>(), HasSubstr("0::/\n"));
  EXPECT_THAT(outcome.Of("ls")["names"].get<std::vector<std::string>>(), Contains("cgroup.procs"));
}

}  // namespace
}  // namespace snap::runtime
