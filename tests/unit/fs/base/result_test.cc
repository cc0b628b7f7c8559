#include "fs/base/result.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>

namespace snap {
namespace {

Result<std::unique_ptr<int>> Make(bool fail) {
  if (fail) return MakeError(ErrorCode::kBusy, "make: {}", "busy");
  return std::make_unique<int>(7);
}

Result<int> UseTry(bool fail) {
  SNAP_TRY(const std::unique_ptr<int> value, Make(fail));
  SNAP_TRY_VOID(Make(fail));
  return *value;
}

Result<int> UseTrySys(SysResult<int> inner) {
  SNAP_TRY_SYS(const int value, inner, "open {}", "'x'");
  return value;
}

TEST(Result, TryPassesValuesAndErrorsThrough) {
  EXPECT_EQ(*UseTry(false), 7);
  EXPECT_EQ(UseTry(true).error().message(), "make: busy");
}

TEST(Result, TrySysAddsContextToErrno) {
  EXPECT_EQ(*UseTrySys(3), 3);
  const Result<int> failed = UseTrySys(Errno(EACCES));
  EXPECT_EQ(failed.error().message(), "open 'x': Permission denied");
  EXPECT_EQ(failed.error().code(), ErrorCode::kPermission);
  EXPECT_EQ(failed.error().cause(), EACCES);
}

TEST(Result, ReadingTheWrongSideIsABugAndAborts) {
  EXPECT_DEATH((void)*Make(true), "check failed");
  EXPECT_DEATH((void)Make(false).error(), "check failed");
}

TEST(Error, WrapPutsTheOuterActionFirst) {
  EXPECT_EQ(MakeError(ErrorCode::kIo, "read 'b'").Wrap("import 'a'").message(), "import 'a': read 'b'");
}

}  // namespace
}  // namespace snap
