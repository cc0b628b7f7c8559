#include "fs/base/rel_path.h"

#include <gtest/gtest.h>

namespace snap {
namespace {

TEST(RelPath, AbsoluteAndDottedFormsMeanTheSamePlace) {
  for (const char* text : {"usr/bin", "/usr/bin", "./usr/bin", "usr//bin/", "usr/./bin", "//usr/bin/./"}) {
    const auto path = RelPath::Parse(text);
    ASSERT_TRUE(path.ok()) << text;
    EXPECT_EQ(path->str(), "usr/bin") << text;
  }
  for (const char* text : {"", "/", ".", "./", "/./"}) EXPECT_TRUE(RelPath::Parse(text)->IsRoot()) << text;
}

TEST(RelPath, DotDotIsRefusedWhereverItStands) {
  for (const char* text : {"..", "../x", "x/..", "x/../y", "/..", "x/../../y"}) {
    const auto path = RelPath::Parse(text);
    ASSERT_FALSE(path.ok()) << text;
    EXPECT_EQ(path.error().code(), ErrorCode::kInvalidArgument) << text;
  }
  EXPECT_TRUE(RelPath::Parse("..x/...").ok());
}

TEST(RelPath, LimitsAreExact) {
  EXPECT_TRUE(RelPath::Parse(std::string(255, 'n')).ok());
  EXPECT_EQ(RelPath::Parse(std::string(256, 'n')).error().code(), ErrorCode::kLimitExceeded);
  std::string deep;
  for (size_t i = 0; i < RelPath::kMaxDepth; ++i) deep += "d/";
  EXPECT_TRUE(RelPath::Parse(deep).ok());
  EXPECT_EQ(RelPath::Parse(deep + "e").error().code(), ErrorCode::kLimitExceeded);
  std::string longest;
  while (longest.size() < RelPath::kMaxPath) longest += std::string(200, 'x') + "/";
  EXPECT_EQ(RelPath::Parse(longest).error().code(), ErrorCode::kLimitExceeded);
}

TEST(RelPath, NulIsRefused) { EXPECT_FALSE(RelPath::Parse(std::string_view("a\0b", 3)).ok()); }

TEST(RelPath, BytesAreNotText) {
  const auto path = RelPath::Parse("\xff\xfe/\x01");
  ASSERT_TRUE(path.ok());
  EXPECT_EQ(path->Name(), "\x01");
  EXPECT_EQ(path->Parent().str(), "\xff\xfe");
}

TEST(RelPath, ParentChildAndDepthAgree) {
  const RelPath path = *RelPath::Parse("a/b/c");
  EXPECT_EQ(path.Depth(), 3U);
  EXPECT_EQ(path.Parent().Child(path.Name()), path);
  EXPECT_TRUE(RelPath::Parse("a")->Parent().IsRoot());
  EXPECT_TRUE(RelPath().Parent().IsRoot());
  EXPECT_STREQ(RelPath().c_str(), ".");
}

}  // namespace
}  // namespace snap
