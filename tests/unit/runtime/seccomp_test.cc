// Profiles against the kernel: a child installs the program and says what a call answered.
#include "runtime/seccomp.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "fs/base/sys_child.h"
#include "fs/base/sys_seccomp.h"

namespace snap::runtime {
namespace {

constexpr int kKilled = 1000;

/// errno of the call under the profile, 0 for success, kKilled when it ended the process.
template <typename Call>
int Under(const SeccompSpec& spec, Call call) {
  const auto program = CompileSeccomp(spec);
  EXPECT_TRUE(program.ok()) << program.error().message();
  if (!program.ok()) return -1;
  const pid_t child = ::fork();
  if (child == 0) {
    if (!sys::SetNoNewPrivileges().ok() || !sys::InstallSeccomp(program->filter, program->flags).ok()) ::_exit(255);
    errno = 0;
    const long result = call();
    ::syscall(SYS_exit_group, result < 0 ? errno : 0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? kKilled : WEXITSTATUS(status);
}

SeccompSpec Allow(std::vector<SeccompRule> rules) {
  SeccompSpec spec;
  spec.default_action = SeccompAction::kAllow;
  spec.rules = std::move(rules);
  return spec;
}
SeccompRule Rule(std::vector<std::string> names, SeccompAction action, std::optional<uint32_t> errno_ret = std::nullopt,
                 std::vector<SeccompArg> args = {}) {
  return {std::move(names), action, errno_ret, std::move(args)};
}

TEST(Seccomp, ActionsAreWhatTheySay) {
  const auto getppid = [] { return ::syscall(SYS_getppid); };
  EXPECT_EQ(Under(Allow({}), getppid), 0);
  EXPECT_EQ(Under(Allow({Rule({"getppid"}, SeccompAction::kErrno)}), getppid), EPERM);
  EXPECT_EQ(Under(Allow({Rule({"getppid"}, SeccompAction::kErrno, 95)}), getppid), EOPNOTSUPP);
  EXPECT_EQ(Under(Allow({Rule({"getppid"}, SeccompAction::kKillProcess)}), getppid), kKilled);
  EXPECT_EQ(Under(Allow({Rule({"no_such_call", "getppid"}, SeccompAction::kErrno)}), getppid), EPERM) << "unknown names are passed over";
}

TEST(Seccomp, ConditionsOnOneArgumentAreAlternatives) {
  const auto socket_of = [](int family) { return [family] { return ::syscall(SYS_socket, family, SOCK_DGRAM, 0); }; };
  const SeccompArg unix_family{0, AF_UNIX, 0, SeccompOperator::kEqual}, inet{0, AF_INET, 0, SeccompOperator::kEqual};
  const SeccompSpec spec = Allow({Rule({"socket"}, SeccompAction::kErrno, 13, {unix_family, inet})});
  EXPECT_EQ(Under(spec, socket_of(AF_UNIX)), EACCES);
  EXPECT_EQ(Under(spec, socket_of(AF_INET)), EACCES);
  EXPECT_EQ(Under(spec, socket_of(AF_NETLINK)), 0);
  const SeccompArg stream{1, SOCK_STREAM, 0, SeccompOperator::kEqual};
  EXPECT_EQ(Under(Allow({Rule({"socket"}, SeccompAction::kErrno, 13, {unix_family, stream})}), socket_of(AF_UNIX)), 0)
      << "on different ones all must hold";
  const SeccompArg mask{1, PROT_WRITE, PROT_WRITE, SeccompOperator::kMaskedEqual};
  const auto protect = [](int rights) { return [rights] { return ::syscall(SYS_mprotect, nullptr, 0, rights); }; };
  const SeccompArg masked{2, PROT_EXEC, PROT_EXEC, SeccompOperator::kMaskedEqual};
  EXPECT_EQ(Under(Allow({Rule({"mprotect"}, SeccompAction::kErrno, 13, {masked})}), protect(PROT_READ | PROT_EXEC)), EACCES);
  EXPECT_EQ(Under(Allow({Rule({"mprotect"}, SeccompAction::kErrno, 13, {masked})}), protect(PROT_READ)), 0);
  (void)mask;
}

SeccompSpec Deny(SeccompAction action, std::optional<uint32_t> errno_ret) {
  SeccompSpec spec;
  spec.default_action = action;
  spec.default_errno_ret = errno_ret;
  spec.rules = {Rule({"exit_group", "exit", "getppid", "rt_sigreturn", "brk", "mmap"}, SeccompAction::kAllow)};
  return spec;
}

TEST(Seccomp, CallsOfTheFutureAreNotThere) {
  const auto future = [] { return ::syscall(4000); };
  EXPECT_EQ(Under(Deny(SeccompAction::kErrno, std::nullopt), future), ENOSYS);
  EXPECT_EQ(Under(Deny(SeccompAction::kKillProcess, std::nullopt), future), ENOSYS);
  EXPECT_EQ(Under(Deny(SeccompAction::kErrno, 13), future), EACCES) << "who names an error gets it";
  EXPECT_EQ(Under(Deny(SeccompAction::kErrno, std::nullopt), [] { return ::syscall(SYS_getpid); }), EPERM) << "what is known is refused";
  EXPECT_EQ(Under(Deny(SeccompAction::kErrno, std::nullopt), [] { return ::syscall(SYS_getppid); }), 0);
}

#if defined(__x86_64__)
// The same calls by other doors: both would reach the kernel with numbers that the rules do not name.
TEST(Seccomp, OtherAbisAreNoWayAround) {
  const SeccompSpec spec = Allow({Rule({"getppid"}, SeccompAction::kErrno)});
  EXPECT_EQ(Under(spec, [] { return ::syscall(0x40000000 | SYS_getppid); }), kKilled) << "x32";
  EXPECT_EQ(Under(spec, [] {
              long result = 0;
              asm volatile("int $0x80" : "=a"(result) : "a"(64L) : "memory");  // i386's getppid
              return result;
            }),
            kKilled) << "i386";
}
#endif

TEST(Seccomp, WhatMakesNoSenseIsRefused) {
  SeccompSpec spec = Allow({});
  spec.architectures = {"SCMP_ARCH_Z80"};
  EXPECT_FALSE(CompileSeccomp(spec).ok());
  spec.architectures = {};
  spec.flags = {"SECCOMP_FILTER_FLAG_X"};
  EXPECT_FALSE(CompileSeccomp(spec).ok());
  EXPECT_FALSE(CompileSeccomp(Allow({Rule({"getppid"}, SeccompAction::kNotify)})).ok()) << "nobody to notify";
  SeccompSpec notify;
  notify.default_action = SeccompAction::kNotify;
  EXPECT_FALSE(CompileSeccomp(notify).ok());
}

}  // namespace
}  // namespace snap::runtime
