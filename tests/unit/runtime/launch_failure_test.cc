// A launch that fails at any step, and a launcher that dies at any step: nothing of the image ran, nothing is left.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "fs/base/fault.h"
#include "fs/base/sys_file.h"
#include "runtime/child.h"
#include "tests/unit/runtime/testing.h"

namespace snap::runtime {
namespace {

using testing::HasSubstr;

class LaunchFailure : public ContainerTest {
 protected:
  void SetUp() override {
    ContainerTest::SetUp();
    MakeDir("drop");
    ASSERT_TRUE(sys::FChmodAt(dir_, "drop", 0777).ok());
  }
  // Everything a launch can do, for a user that is not root; the first thing the program does is to leave a file.
  ContainerSpec Full() const {
    ContainerSpec spec = Probe({"write", "/drop/ran", "x", ",", "forever"});
    spec.binds = {{path_ + "/drop", "/drop"}};
    spec.user = "app";
    spec.working_dir = "/work";
    spec.read_only_rootfs = true;
    spec.terminal = true;
    return spec;
  }
  // A launcher in a process of its own, to be killed; `armed` is its fault. Returns its pid.
  pid_t Launcher(const ContainerSpec& spec, const std::string& armed, FdRef started) {
    const pid_t pid = ::fork();
    SNAP_CHECK(pid >= 0);  // -1 would be killed later, and that is every process
    if (pid != 0) return pid;
    (void)fault::Arm(armed.c_str());
    auto container = Container::Start(spec, Tree());
    (void)sys::WriteAll(started, container.ok() ? "+" : container.error().error.message());
    if (container.ok()) (void)container->Wait();
    ::_exit(0);
  }
  // Reaps until no child is left: with PR_SET_CHILD_SUBREAPER that includes orphaned containers, so it blocks (until
  // the test's time limit) when one lives on.
  static void ReapAll() {
    while (::waitpid(-1, nullptr, 0) > 0 || errno == EINTR) {
    }
  }
};

TEST_F(LaunchFailure, EveryChildStepFailsClosed) {
  for (const ChildStep& step : ChildSteps()) {
    ASSERT_TRUE(fault::Arm((std::string("runtime.child.") + step.name + ":error=28").c_str()).ok());
    const Outcome outcome = Run(Full());
    ASSERT_TRUE(outcome.launch_error.has_value()) << step.name;
    EXPECT_EQ(outcome.exit_code(), 125) << step.name;
    EXPECT_THAT(outcome.Message(), testing::EndsWith(": No space left on device")) << step.name;
    EXPECT_THAT(outcome.Message(), HasSubstr(step.what == nullptr ? "" : step.what)) << step.name;
    EXPECT_GT(outcome.Message().size(), sizeof ": No space left on device") << step.name << " has a sentence";
    EXPECT_EQ(Read("drop/ran"), std::nullopt) << "the program ran although " << step.name << " failed";
  }
}

TEST_F(LaunchFailure, ChildThatDiesIsReportedNotTakenForSuccess) {
  for (const ChildStep& step : ChildSteps()) {
    ASSERT_TRUE(fault::Arm((std::string("runtime.child.") + step.name + ":kill").c_str()).ok());
    const Outcome outcome = Run(Full());
    EXPECT_EQ(outcome.exit_code(), 125) << step.name;
    EXPECT_THAT(outcome.Message(), HasSubstr("died before it could start")) << step.name;
    EXPECT_EQ(Read("drop/ran"), std::nullopt) << step.name;
  }
}

TEST_F(LaunchFailure, EveryParentStepFailsClosed) {
  for (const char* point : {"rootfs", "dev", "mknod", "devpts", "shm", "staging", "bind", "terminal", "report", "clone"}) {
    ASSERT_TRUE(fault::Arm((std::string("runtime.prepare.") + point + ":error=28").c_str()).ok());
    const Outcome outcome = Run(Full());
    EXPECT_EQ(outcome.exit_code(), 125) << point;
    EXPECT_THAT(outcome.Message(), HasSubstr("No space left on device")) << point;
    EXPECT_EQ(Read("drop/ran"), std::nullopt) << point;
  }
}

TEST_F(LaunchFailure, LauncherKilledDuringAnyStepLeavesNothing) {
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  for (const ChildStep& step : ChildSteps()) {
    // The child stands still at the step for a moment in which its launcher dies. A child that did not notice would
    // go on after it and run the program.
    sys::Pipe started = *sys::MakePipe();
    const pid_t launcher = Launcher(Full(), std::string("runtime.child.") + step.name + ":sleep=200", started.write_end);
    started.write_end.Reset();
    const std::string children = "/proc/" + std::to_string(launcher) + "/task/" + std::to_string(launcher) + "/children";
    while (sys::ReadFileAt(FdRef::Cwd(), children.c_str(), 4096)->empty()) ::sched_yield();
    ASSERT_EQ(::kill(launcher, SIGKILL), 0);
    ReapAll();
    EXPECT_EQ(*sys::ReadAll(started.read_end, 4096), "") << step.name << ": the launcher had finished";
    EXPECT_EQ(Read("drop/ran"), std::nullopt) << "the program ran after its launcher was killed at " << step.name;
  }
}

TEST_F(LaunchFailure, LauncherKilledLaterTakesTheContainerWithIt) {
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  for (const char* user : {"", "app"}) {
    ContainerSpec spec = Full();
    spec.args = {"/bin/probe", "fork", ",", "forever"};
    spec.user = user;
    sys::Pipe started = *sys::MakePipe();
    const pid_t launcher = Launcher(spec, "", started.write_end);
    started.write_end.Reset();
    std::byte byte[1];
    ASSERT_EQ(*sys::Read(started.read_end, byte), 1U);
    ASSERT_EQ(byte[0], std::byte{'+'});
    ASSERT_EQ(::kill(launcher, SIGKILL), 0);
    ReapAll();
  }
}

TEST_F(LaunchFailure, ErrorsNameTheirObject) {
  struct Case {
    const char* fault;
    std::string message;
  };
  const Case cases[] = {
      {"mounts", "mount '/proc': Operation not permitted"},
      {"masked_paths", "mask: Operation not permitted"},
      {"working_dir", "enter working directory '/work': Operation not permitted"},
      {"uid", "set the user id: Operation not permitted"},
      {"exec", "exec '/bin/probe': Operation not permitted"},
  };
  for (const Case& c : cases) {
    ASSERT_TRUE(fault::Arm((std::string("runtime.child.") + c.fault + ":error=1").c_str()).ok());
    if (std::string_view(c.fault) == "masked_paths") {
      EXPECT_THAT(Run(Full()).Message(), testing::StartsWith("mask '/proc/"));
    } else {
      EXPECT_EQ(Run(Full()).Message(), c.message);
    }
  }
}

}  // namespace
}  // namespace snap::runtime
