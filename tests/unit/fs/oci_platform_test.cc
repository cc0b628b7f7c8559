#include <gtest/gtest.h>

#include "fs/oci_documents.h"
#include "fs/oci_image.h"

namespace snap::oci {
namespace {

TEST(OciPlatform, SpellingsOfOneMachineAreEqual) {
  const struct {
    const char* text;
    const char* normal;
  } kCases[] = {
      {"linux/amd64", "linux/amd64"},
      {"amd64", "linux/amd64"},
      {"x86_64", "linux/amd64"},
      {"linux/amd64/v1", "linux/amd64"},
      {"linux/x86-64", "linux/amd64"},
      {"linux/arm64/v8", "linux/arm64"},
      {"aarch64", "linux/arm64"},
      {"arm", "linux/arm/v7"},
      {"linux/arm/7", "linux/arm/v7"},
      {"armhf", "linux/arm/v7"},
      {"armel", "linux/arm/v6"},
      {"Linux/AMD64/V3", "linux/amd64/v3"},
      {"i686", "linux/386"},
      {"ppc64el", "linux/ppc64le"},
      {"windows/amd64", "windows/amd64"},
  };
  for (const auto& test : kCases) {
    const auto platform = Platform::Parse(test.text);
    ASSERT_TRUE(platform.ok()) << test.text;
    EXPECT_EQ(platform->ToString(), test.normal) << test.text;
    EXPECT_EQ(*Platform::Parse(platform->ToString()), *platform) << test.text;
  }
}

TEST(OciPlatform, NonsenseIsRefused) {
  for (const char* text : {"", "/", "linux/", "/amd64", "a/b/c/d", "linux//v8", "linux/am d64",
                           "linux/amd64\n", "pdp11", "linux/\x1b[31m"}) {
    const auto platform = Platform::Parse(text);
    ASSERT_FALSE(platform.ok()) << text;
    EXPECT_EQ(platform.error().code(), ErrorCode::kInvalidArgument) << text;
  }
}

TEST(OciPlatform, HostIsNormalAndRunsItself) {
  const Platform host = Platform::Host();
  EXPECT_EQ(host.os, "linux");
  EXPECT_EQ(NormalizePlatform(host), host);
  EXPECT_TRUE(PlatformScore(host, host).has_value());
#if defined(__x86_64__)
  EXPECT_EQ(host.ToString(), "linux/amd64");
#elif defined(__aarch64__)
  EXPECT_EQ(host.ToString(), "linux/arm64");
#endif
  EXPECT_EQ(*Platform::Parse("linux"), host);
}

TEST(OciPlatform, VariantsRunOnThemselvesAndOnLaterOnes) {
  const auto score = [](const char* wanted, const char* offered) {
    return PlatformScore(*Platform::Parse(wanted), *Platform::Parse(offered));
  };
  EXPECT_TRUE(score("linux/arm64", "linux/arm64/v8"));
  EXPECT_TRUE(score("linux/arm64/v8", "linux/arm64"));
  EXPECT_TRUE(score("linux/arm/v7", "linux/arm/v6"));
  EXPECT_FALSE(score("linux/arm/v6", "linux/arm/v7"));
  EXPECT_FALSE(score("linux/amd64", "linux/amd64/v3"));
  EXPECT_TRUE(score("linux/amd64/v3", "linux/amd64"));
  EXPECT_GT(score("linux/amd64/v3", "linux/amd64/v3"), score("linux/amd64/v3", "linux/amd64/v2"));
  EXPECT_GT(score("linux/arm64/v9.1", "linux/arm64/v9.0"), score("linux/arm64/v9.1", "linux/arm64/v8.4"));
  EXPECT_FALSE(score("linux/arm64/v9.1", "linux/arm64/v9.2"));
  EXPECT_FALSE(score("linux/amd64", "linux/arm64"));
  EXPECT_FALSE(score("linux/amd64", "windows/amd64"));
  EXPECT_FALSE(score("linux/amd64", "linux/amd64/weird"));
  EXPECT_TRUE(score("linux/amd64/weird", "linux/amd64/weird"));
  EXPECT_FALSE(score("linux/amd64", "linux/amd64/v999999999999"));
}

}  // namespace
}  // namespace snap::oci
