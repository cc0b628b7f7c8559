#include "fs/base/json.h"

#include <gtest/gtest.h>

namespace snap {
namespace {

TEST(ParseJson, DuplicateKeysAreRefused) {
  const auto result = ParseJson(R"({"a":1,"b":{"c":1,"c":2}})", "config");
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code(), ErrorCode::kCorrupt);
  EXPECT_EQ(result.error().message(), "parse config: duplicate key 'c'");
}

TEST(ParseJson, DepthIsBoundedBeforeItIsBuilt) {
  const std::string bomb(1'000'000, '[');
  EXPECT_EQ(ParseJson(bomb, "x").error().code(), ErrorCode::kLimitExceeded);
  EXPECT_TRUE(ParseJson(std::string(64, '[') + std::string(64, ']'), "x").ok());
  EXPECT_FALSE(ParseJson(std::string(65, '[') + std::string(65, ']'), "x").ok());
}

TEST(ParseJson, SizeAndValueCountAreBounded) {
  JsonLimits limits;
  limits.max_bytes = 10;
  EXPECT_EQ(ParseJson("[1,2,3,4,5,6]", "x", limits).error().code(), ErrorCode::kLimitExceeded);
  limits = {};
  limits.max_values = 3;
  EXPECT_EQ(ParseJson("[1,2,3]", "x", limits).error().code(), ErrorCode::kLimitExceeded);
  EXPECT_TRUE(ParseJson("[1,2]", "x", limits).ok());
}

TEST(ParseJson, MalformedTextIsCorruptAndNeverThrows) {
  for (const char* text : {"", "{", "[1,]", "{\"a\"}", "1e400", "\"\xff\"", "nul", "[1] x", "\xef\xbb\xbf{}", "\"\\ud800\""}) {
    const auto result = ParseJson(text, "x");
    ASSERT_FALSE(result.ok()) << text;
    EXPECT_EQ(result.error().code(), ErrorCode::kCorrupt) << text;
  }
}

TEST(ParseJson, NestedValuesArriveInPlace) {
  const auto json = ParseJson(R"({"a":[{"b":"c"},[],{}],"d":null})", "x");
  ASSERT_TRUE(json.ok());
  EXPECT_EQ(json->dump(), R"({"a":[{"b":"c"},[],{}],"d":null})");
}

TEST(JsonAccess, WrongTypesNameTheField) {
  const Json json = *ParseJson(R"({"s":1,"n":-1,"a":[1],"o":[],"z":null})", "x");
  EXPECT_EQ(JsonString(json, "s", "doc").error().message(), "doc: field 's' is not a string");
  EXPECT_FALSE(JsonUnsigned(json, "n", "doc").ok());
  EXPECT_FALSE(JsonStrings(json, "a", "doc").ok());
  EXPECT_FALSE(JsonObject(json, "o", "doc").ok());
  EXPECT_EQ(JsonString(json, "missing", "doc").error().message(), "doc: field 'missing' is missing");
  EXPECT_EQ(*JsonStringOr(json, "z", "fallback", "doc"), "fallback");
  EXPECT_EQ(*JsonObjectOrNull(json, "z", "doc"), nullptr);
}

}  // namespace
}  // namespace snap
