#include "runtime/exec_path.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

namespace snap::runtime {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(ExecPath, BareNamesAreLookedForInAbsoluteDirectoriesOnly) {
  EXPECT_THAT(ExecCandidates("sh", "/usr/bin:/bin"), ElementsAre("/usr/bin/sh", "/bin/sh"));
  EXPECT_THAT(ExecCandidates("sh", "/bin/:/"), ElementsAre("/bin/sh", "/sh"));
  EXPECT_THAT(ExecCandidates("sh", ":.:bin:/bin::"), ElementsAre("/bin/sh"));
  EXPECT_THAT(ExecCandidates("sh", ""), IsEmpty());
  EXPECT_THAT(ExecCandidates("", "/bin"), IsEmpty());
}

TEST(ExecPath, NamesWithASlashAreTakenAsTheyAre) {
  EXPECT_THAT(ExecCandidates("./run", "/bin"), ElementsAre("./run"));
  EXPECT_THAT(ExecCandidates("/opt/x", "/bin"), ElementsAre("/opt/x"));
}

TEST(ExecPath, ExitCodesAreThoseOfDockerRun) {
  struct Case {
    const char* name;
    ExecFailure failure;
    int exit_code;
    const char* message;
  };
  const Case cases[] = {
      {"foo", {.error = Errno(ENOENT)}, 127, "exec 'foo': not found in PATH"},
      {"/foo", {.error = Errno(ENOENT)}, 127, "exec '/foo': No such file or directory"},
      {"/foo/bar", {.error = Errno(ENOTDIR)}, 127, "exec '/foo/bar': Not a directory"},
      {"/x.sh",
       {.error = Errno(ENOENT), .no_interpreter = true},
       127,
       "exec '/x.sh': the interpreter or loader that it names was not found"},
      {"/foo", {.error = Errno(EACCES)}, 126, "exec '/foo': Permission denied"},
      {"/etc", {.error = Errno(EACCES), .is_directory = true}, 126, "exec '/etc': is a directory"},
      {"/foo", {.error = Errno(ENOEXEC)}, 126, "exec '/foo': exec format error"},
      {"/foo", {.error = Errno(E2BIG)}, 126, "exec '/foo': Argument list too long"},
      {"/foo", {.error = Errno(ENOMEM)}, 125, "exec '/foo': Cannot allocate memory"},
  };
  for (const Case& c : cases) {
    const LaunchError error = ExplainExec(c.name, c.failure);
    EXPECT_EQ(error.exit_code, c.exit_code) << c.message;
    EXPECT_EQ(error.error.message(), c.message);
  }
}

}  // namespace
}  // namespace snap::runtime
