#include <gtest/gtest.h>

#include <set>

#include "fs/base/json.h"
#include "overlay/features.h"

namespace snap::overlay {
namespace {

const CacheKey kKey{"6.1.0-test", "00000000-0000-0000-0000-000000000001", 0};

FeatureSet Sample() {
  FeatureSet set;
  set[Feature::kLowerByFd] = {true, ""};
  set[Feature::kDataOnly] = {false, "Invalid argument"};
  return set;
}

TEST(FeatureCacheText, ComesBackAsItWasWritten) {
  const auto parsed = ParseCache(FormatCache(Sample(), kKey), kKey);
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(*parsed, Sample());
}

TEST(FeatureCacheText, IsIgnoredOnAnotherKernelBootOrUser) {
  const std::string text = FormatCache(Sample(), kKey);
  CacheKey other = kKey;
  other.kernel_release = "6.1.1-test";
  EXPECT_FALSE(ParseCache(text, other));
  other = kKey;
  other.boot_id.back() = '2';
  EXPECT_FALSE(ParseCache(text, other));
  other = kKey;
  other.uid = 1000;
  EXPECT_FALSE(ParseCache(text, other));
}

TEST(FeatureCacheText, EveryTruncationIsIgnored) {
  const std::string text = FormatCache(Sample(), kKey);
  for (size_t size = 0; size < text.size(); ++size) {
    EXPECT_FALSE(ParseCache(std::string_view(text).substr(0, size), kKey)) << size;
  }
}

TEST(FeatureCacheText, AMissingOrMistypedFieldIsIgnored) {
  const Json whole = *ParseJson(FormatCache(Sample(), kKey), "sample");
  for (const auto& [key, value] : whole.items()) {
    Json damaged = whole;
    damaged.erase(key);
    EXPECT_FALSE(ParseCache(damaged.dump(), kKey)) << key;
    damaged[key] = Json::array();
    EXPECT_FALSE(ParseCache(damaged.dump(), kKey)) << key;
  }
  for (const auto& [name, probe] : whole["features"].items()) {
    for (const char* field : {"available", "detail"}) {
      Json damaged = whole;
      damaged["features"][name].erase(field);
      EXPECT_FALSE(ParseCache(damaged.dump(), kKey)) << name << "." << field;
      damaged["features"][name][field] = 7;
      EXPECT_FALSE(ParseCache(damaged.dump(), kKey)) << name << "." << field;
    }
  }
}

TEST(FeatureCacheText, EveryFeatureHasItsOwnName) {
  std::set<std::string_view> names;
  for (size_t i = 0; i < kFeatureCount; ++i) names.insert(FeatureName(static_cast<Feature>(i)));
  EXPECT_EQ(names.size(), kFeatureCount);
  EXPECT_FALSE(names.contains(""));
}

}  // namespace
}  // namespace snap::overlay
