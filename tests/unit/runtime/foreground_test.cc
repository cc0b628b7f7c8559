// The supervisor seen from the user's side: a helper process plays `snap run`, on pipes or on a terminal of its own.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <functional>
#include <string>

#include "fs/base/sys_child.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_terminal.h"
#include "runtime/terminal.h"
#include "tests/unit/runtime/testing.h"

namespace snap::runtime {
namespace {

using testing::HasSubstr;

// The user's terminal: the test types and reads at the master.
struct UserTerminal {
  UserTerminal() {
    master = UniqueFd(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    EXPECT_TRUE(sys::UnlockPty(master).ok());
    peer = *sys::OpenPtyPeer(master);
    const winsize size{33, 77, 0, 0};
    EXPECT_TRUE(sys::SetWindowSize(master, size).ok());
    settings = *sys::GetTermios(peer);
  }
  bool IsRaw() const { return (sys::GetTermios(peer)->c_lflag & static_cast<tcflag_t>(ICANON)) == 0; }
  bool IsAsBefore() const {
    const termios now = *sys::GetTermios(peer);
    return now.c_iflag == settings.c_iflag && now.c_oflag == settings.c_oflag && now.c_lflag == settings.c_lflag &&
           now.c_cflag == settings.c_cflag;
  }
  UniqueFd master, peer;
  termios settings{};
};

class Foreground : public ContainerTest {
 protected:
  // Runs `body` in a process with these standard streams; with `session` the input is its controlling terminal.
  static pid_t Helper(FdRef in, FdRef out, bool session, const std::function<int()>& body) {
    const pid_t pid = ::fork();
    SNAP_CHECK(pid >= 0);  // -1 would be signalled later, and that is every process
    if (pid != 0) return pid;
    if (session) {
      ::setsid();
      ::ioctl(in.get(), TIOCSCTTY, 0);
    }
    ::dup2(in.get(), 0);
    ::dup2(out.get(), 1);
    ::_exit(body());
  }
  pid_t Snap(const ContainerSpec& spec, FdRef in, FdRef out, bool session) {
    return Helper(in, out, session, [&] {
      (void)sys::BlockAllSignals();  // a signal sent as soon as the program speaks must find the supervisor
      auto container = Container::Start(spec, Tree());
      if (!container.ok()) return container.error().exit_code;
      const auto code = RunForeground(*container);
      return code.ok() ? *code : 99;
    });
  }
  static int ExitCode(pid_t pid) {
    int status = 0;
    EXPECT_EQ(::waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  // Reads until `text` was seen or the end.
  static std::string ReadUntil(FdRef fd, const std::string& text) {
    std::string out;
    std::byte buffer[4096];
    while (text.empty() || out.find(text) == std::string::npos) {
      const auto got = sys::Read(fd, buffer);
      if (!got.ok() || *got == 0) break;
      out.append(reinterpret_cast<const char*>(buffer), *got);
    }
    return out;
  }
  static std::string ReadAll(FdRef fd) { return ReadUntil(fd, ""); }
  static ContainerSpec Terminal(std::vector<std::string> words) {
    ContainerSpec spec = Probe(std::move(words));
    spec.terminal = true;
    spec.terminal_size = {33, 77, 0, 0};  // as the user's terminal: what `snap run` passes
    return spec;
  }
};

TEST_F(Foreground, ExitStatusIsTheContainersOr128PlusSignal) {
  const UniqueFd null = *sys::OpenAt(FdRef::Cwd(), "/dev/null", O_RDWR);
  EXPECT_EQ(ExitCode(Snap(Probe({"true"}), null, null, false)), 0);
  EXPECT_EQ(ExitCode(Snap(Probe({"exit", "42"}), null, null, false)), 42);
  EXPECT_EQ(ExitCode(Snap(Probe({"abort"}), null, null, false)), 128 + SIGILL);
  EXPECT_EQ(ExitCode(Snap(Terminal({"exit", "43"}), null, null, false)), 43);
}

TEST_F(Foreground, SignalsAreForwarded) {
  const UniqueFd null = *sys::OpenAt(FdRef::Cwd(), "/dev/null", O_RDWR);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGRTMIN + 3}) {
    sys::Pipe out = *sys::MakePipe();
    const pid_t snap = Snap(Probe({"wait-signal", std::to_string(signal), ",", "exit", "5"}), null, out.write_end, false);
    out.write_end.Reset();
    EXPECT_THAT(ReadUntil(out.read_end, "waiting"), HasSubstr("waiting"));
    ASSERT_EQ(::kill(snap, signal), 0);
    EXPECT_THAT(ReadAll(out.read_end), HasSubstr("\"signal\":" + std::to_string(signal)));
    EXPECT_EQ(ExitCode(snap), 5) << signal;
  }
}

TEST_F(Foreground, StopAndContinueReachTheContainer) {
  const UniqueFd null = *sys::OpenAt(FdRef::Cwd(), "/dev/null", O_RDWR);
  sys::Pipe out = *sys::MakePipe();
  const pid_t snap = Snap(Probe({"wait-signal", "15", ",", "exit", "6"}), null, out.write_end, false);
  out.write_end.Reset();
  (void)ReadUntil(out.read_end, "waiting");
  ASSERT_EQ(::kill(snap, SIGTSTP), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(snap, &status, WUNTRACED), snap);
  ASSERT_TRUE(WIFSTOPPED(status));
  const std::string children = "/proc/" + std::to_string(snap) + "/task/" + std::to_string(snap) + "/children";
  const std::string pid = sys::ReadFileAt(FdRef::Cwd(), children.c_str(), 4096)->substr(0);
  const std::string stat = "/proc/" + pid.substr(0, pid.find(' ')) + "/stat";
  while (sys::ReadFileAt(FdRef::Cwd(), stat.c_str(), 4096)->find(") T ") == std::string::npos) ::sched_yield();
  ASSERT_EQ(::kill(snap, SIGCONT), 0);
  ASSERT_EQ(::kill(snap, SIGTERM), 0);
  EXPECT_EQ(ExitCode(snap), 6);
}

TEST_F(Foreground, ContainerHasATerminalOfItsOwn) {
  UserTerminal user;
  ContainerSpec spec = Terminal({"tty", ",", "stat", "/dev/console", ",", "ls", "/dev/pts", ",", "env", ",", "write", "/dev/console", "hello console\n"});
  spec.user = "app";
  const pid_t snap = Snap(spec, user.peer, user.peer, true);
  const std::string out = ReadUntil(user.master, "hello console\r\n");
  EXPECT_EQ(ExitCode(snap), 0);
  EXPECT_TRUE(user.IsAsBefore());
  const std::string tty = out.substr(0, out.find('\r'));
  Json facts = Json::parse(tty, nullptr, false);
  ASSERT_TRUE(facts.is_object()) << out;
  EXPECT_EQ(facts["isatty"], 3);
  EXPECT_EQ(facts["name"], "/dev/pts/0");
  EXPECT_EQ(facts["rows"], 33);
  EXPECT_EQ(facts["columns"], 77);
  EXPECT_EQ(facts["controlling"], 1);
  EXPECT_EQ(facts["owner"], 1000);
  EXPECT_EQ(facts["group"], 5);
  EXPECT_EQ(facts["sid"], 1);
  EXPECT_EQ(facts["foreground"], 1);
  EXPECT_THAT(out, HasSubstr("\"arg\":\"/dev/console\",\"errno\":0"));
  EXPECT_THAT(out, HasSubstr("\"major\":136"));
  EXPECT_THAT(out, HasSubstr("TERM=xterm"));
  EXPECT_THAT(out, HasSubstr("hello console"));
}

TEST_F(Foreground, SizeOfTheSpecHoldsWithoutAUsersTerminal) {
  const UniqueFd null = *sys::OpenAt(FdRef::Cwd(), "/dev/null", O_RDWR);
  sys::Pipe out = *sys::MakePipe();
  const pid_t snap = Snap(Terminal({"tty"}), null, out.write_end, false);
  out.write_end.Reset();
  EXPECT_THAT(ReadAll(out.read_end), HasSubstr("\"rows\":33,\"columns\":77"));
  EXPECT_EQ(ExitCode(snap), 0);
}

TEST_F(Foreground, NoOutputIsLostAtTheEnd) {
  const UniqueFd null = *sys::OpenAt(FdRef::Cwd(), "/dev/null", O_RDWR);
  sys::Pipe out = *sys::MakePipe();
  const pid_t snap = Snap(Terminal({"spam", "20000"}), null, out.write_end, false);
  out.write_end.Reset();
  const std::string text = ReadAll(out.read_end);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 20000);
  EXPECT_THAT(text, testing::EndsWith("line 19999\r\n"));
  EXPECT_EQ(ExitCode(snap), 0);
}

TEST_F(Foreground, KeysGoThroughARawTerminal) {
  UserTerminal user;
  const pid_t snap = Snap(Terminal({"wait-signal", "2", ",", "exit", "3"}), user.peer, user.peer, true);
  (void)ReadUntil(user.master, "waiting");
  EXPECT_TRUE(user.IsRaw());
  ASSERT_TRUE(sys::WriteAll(user.master, "\x03").ok());
  EXPECT_THAT(ReadUntil(user.master, "}"), HasSubstr("\"signal\":2"));
  EXPECT_EQ(ExitCode(snap), 3);
  EXPECT_TRUE(user.IsAsBefore());
}

TEST_F(Foreground, WindowSizeFollowsTheUsersTerminal) {
  UserTerminal user;
  const pid_t snap = Snap(Terminal({"wait-signal", std::to_string(SIGWINCH)}), user.peer, user.peer, true);
  (void)ReadUntil(user.master, "waiting");
  const winsize size{50, 100, 0, 0};
  ASSERT_TRUE(sys::SetWindowSize(user.master, size).ok());
  EXPECT_THAT(ReadUntil(user.master, "}"), HasSubstr("\"rows\":50"));
  EXPECT_EQ(ExitCode(snap), 0);
}

TEST_F(Foreground, EndOfInputIsTheTerminalsEndOfFile) {
  for (const std::string text : {"hello\nworld\n", "no newline at the end", ""}) {
    const UniqueFd in = *sys::MemfdCreate("input", 0);
    ASSERT_TRUE(sys::WriteAll(in, text).ok());
    ASSERT_TRUE(sys::Seek(in, 0, SEEK_SET).ok());
    sys::Pipe out = *sys::MakePipe();
    const pid_t snap = Snap(Terminal({"read", ",", "exit", "4"}), in, out.write_end, false);
    out.write_end.Reset();
    const std::string got = ReadAll(out.read_end);
    const size_t answer = std::min(got.find('{'), got.size());  // after the echo
    Json facts = Json::parse(got.substr(answer), nullptr, false);
    ASSERT_TRUE(facts.is_object()) << got;
    EXPECT_EQ(facts["text"], text);
    EXPECT_EQ(ExitCode(snap), 4) << text;
  }
}

TEST_F(Foreground, ClosedOutputHangsTheTerminalUp) {
  sys::Pipe in = *sys::MakePipe();
  sys::Pipe out = *sys::MakePipe();
  out.read_end.Reset();
  // `read` ends only because its terminal hangs up: the input stays open.
  const pid_t snap = Snap(Terminal({"say", "hello", ",", "write", "/dev/tty", "x", ",", "read", ",", "exit", "9"}), in.read_end, out.write_end, false);
  EXPECT_EQ(ExitCode(snap), 9);
}

TEST_F(Foreground, TerminalIsRestoredWhenTheContainerIsKilled) {
  UserTerminal user;
  const pid_t snap = Helper(user.peer, user.peer, true, [&] {
    auto container = Container::Start(Terminal({"say", "ready", ",", "forever"}), Tree());
    if (!container.ok()) return 125;
    return RunForeground(*container).value();
  });
  (void)ReadUntil(user.master, "ready");
  const std::string children = "/proc/" + std::to_string(snap) + "/task/" + std::to_string(snap) + "/children";
  const std::string pid = *sys::ReadFileAt(FdRef::Cwd(), children.c_str(), 4096);
  const int container = std::atoi(pid.c_str());
  ASSERT_GT(container, 1);
  ASSERT_EQ(::kill(container, SIGKILL), 0);
  EXPECT_EQ(ExitCode(snap), 137);
  EXPECT_TRUE(user.IsAsBefore());
}

TEST_F(Foreground, TerminalIsRestoredWhenTheSupervisorCrashes) {
  UserTerminal user;
  const pid_t crasher = Helper(user.peer, user.peer, true, [&] {
    auto raw = RawTerminal::Enter(FdRef(0));
    if (!raw.ok() || !user.IsRaw()) return 1;
    ::raise(SIGSEGV);
    return 2;
  });
  EXPECT_EQ(ExitCode(crasher), -SIGSEGV);
  EXPECT_TRUE(user.IsAsBefore());
}

TEST_F(Foreground, SuspendedTerminalIsRestoredAndRawAgainAfterwards) {
  UserTerminal user;
  const pid_t snap = Snap(Terminal({"wait-signal", "2", ",", "exit", "3"}), user.peer, user.peer, true);
  (void)ReadUntil(user.master, "waiting");
  ASSERT_EQ(::kill(snap, SIGTSTP), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(snap, &status, WUNTRACED), snap);
  ASSERT_TRUE(WIFSTOPPED(status));
  EXPECT_TRUE(user.IsAsBefore());
  ASSERT_EQ(::kill(snap, SIGCONT), 0);
  while (!user.IsRaw()) ::sched_yield();
  ASSERT_TRUE(sys::WriteAll(user.master, "\x03").ok());
  EXPECT_EQ(ExitCode(snap), 3);
  EXPECT_TRUE(user.IsAsBefore());
}

}  // namespace
}  // namespace snap::runtime
