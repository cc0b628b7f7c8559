#include "fs/base/toml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace snap {
namespace {

using ::testing::HasSubstr;

TEST(Toml, OfOthersIsReadWholeOrRefusedWithItsLine) {
  const Result<Json> document = ParseToml("a = 1\n[b.'c.d']\nx = [true, 'y', 1.5]\nt = 2026-01-02\n", "f");
  ASSERT_TRUE(document.ok());
  EXPECT_EQ(*document, Json({{"a", 1}, {"b", {{"c.d", {{"x", {true, "y", 1.5}}, {"t", "2026-01-02"}}}}}}));
  const Result<Json> broken = ParseToml("a = 1\nb = \n", "/etc/x.toml");
  ASSERT_FALSE(broken.ok());
  EXPECT_THAT(broken.error().message(), HasSubstr("/etc/x.toml:2"));
  EXPECT_EQ(ParseToml("a = 1", "f", 3).error().code(), ErrorCode::kLimitExceeded);
}

}  // namespace
}  // namespace snap
