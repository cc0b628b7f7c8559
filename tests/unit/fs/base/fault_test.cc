#include "fs/base/fault.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace snap {
namespace {

Result<int> Step() {
  SNAP_FAULT_POINT("test.step");
  return 1;
}

class Fault : public testing::Test {
 protected:
  void TearDown() override { ASSERT_TRUE(fault::Arm("").ok()); }
};

TEST_F(Fault, ErrorHappensOnTheNthTimeOnly) {
  ASSERT_TRUE(fault::Arm("test.step:error=28@2").ok());
  EXPECT_TRUE(Step().ok());
  const auto second = Step();
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code(), ErrorCode::kNoSpace);
  EXPECT_TRUE(Step().ok());
}

TEST_F(Fault, ZeroMeansEveryTime) {
  ASSERT_TRUE(fault::Arm("other:kill,test.step:error=5@0").ok());
  EXPECT_FALSE(Step().ok());
  EXPECT_FALSE(Step().ok());
}

TEST_F(Fault, KillEndsTheProcess) {
  EXPECT_EXIT(
      {
        (void)fault::Arm("test.step:kill");
        (void)Step();
      },
      testing::KilledBySignal(SIGKILL), "");
}

TEST_F(Fault, MalformedSpecsAreRefused) {
  for (const char* spec : {"x", "x:", ":kill", "x:error=", "x:error=-1", "x:kill@", "x:explode", "x:sleep=a"}) {
    EXPECT_FALSE(fault::Arm(spec).ok()) << spec;
  }
}

}  // namespace
}  // namespace snap
