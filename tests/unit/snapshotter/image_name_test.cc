#include <gtest/gtest.h>

#include "snapshotter/store.h"

namespace snap {
namespace {

TEST(ImageName, GetsATagWhenItHasNone) {
  const struct {
    std::string name, normalized;
  } kCases[] = {
      {"debian", "debian:latest"},
      {"debian:12", "debian:12"},
      {"a/b/c", "a/b/c:latest"},
      {"localhost/x:1", "localhost/x:1"},
      {"localhost:5000/x", "localhost:5000/x:latest"},
      {"registry.example.org:5000/team/app:v1.2_3-rc", "registry.example.org:5000/team/app:v1.2_3-rc"},
      {"Registry.Example.org/app", "Registry.Example.org/app:latest"},
      {"[2001:db8::1]:5000/app", "[2001:db8::1]:5000/app:latest"},
      {"a--b__c.d_e:_", "a--b__c.d_e:_"},
      {std::string(255, 'a') + ":" + std::string(128, 'T'),
       std::string(255, 'a') + ":" + std::string(128, 'T')},
  };
  for (const auto& test : kCases) {
    const auto normalized = NormalizeImageName(test.name);
    ASSERT_TRUE(normalized.ok()) << test.name << ": " << normalized.error().message();
    EXPECT_EQ(*normalized, test.normalized);
    EXPECT_EQ(*NormalizeImageName(*normalized), *normalized);
  }
}

TEST(ImageName, RefusesWhatRegistriesRefuse) {
  const std::string kCases[] = {
      "",
      ":",
      ":1",
      "a:",
      "a:-x",
      "a:.x",
      "a:b:c",
      "/a",
      "a/",
      "a//b",
      "A",
      "a/B",
      "a..b",
      "a___b",
      "a._b",
      "-a",
      "a-",
      "a b",
      "a\nb",
      "a@b",
      "../etc",
      "a/../b",
      "x:5000:1/a",
      "x.y:/a",
      "x.y:123456/a",
      "-x.y/a",
      "[::1/a",
      "[g]/a",
      "a:" + std::string(129, 't'),
      std::string(256, 'a'),
  };
  for (const std::string& name : kCases) {
    const auto normalized = NormalizeImageName(name);
    ASSERT_FALSE(normalized.ok()) << name << " became " << *normalized;
    EXPECT_EQ(normalized.error().code(), ErrorCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace snap
