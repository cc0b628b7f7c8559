#include "tools/snap/image_info.h"

#include <gtest/gtest.h>

namespace snap::cli {
namespace {

TEST(SplitName, TakesTheTagBehindTheLastColonOfTheLastPart) {
  using Parts = std::pair<std::string, std::string>;
  EXPECT_EQ(SplitName("debian:12"), Parts("debian", "12"));
  EXPECT_EQ(SplitName("host:5000/team/app:1.4"), Parts("host:5000/team/app", "1.4"));
  EXPECT_EQ(SplitName("host:5000/team/app"), Parts("host:5000/team/app", "<none>"));
  EXPECT_EQ(SplitName(""), Parts("<none>", "<none>"));
}

ImageRecord WithConfig(std::string config) {
  ImageRecord image;
  image.config_json = std::move(config);
  image.imported = "2024-05-05T00:00:00Z";
  return image;
}

TEST(CreatedOf, FallsBackToTheImportWhereTheConfigurationSaysNothing) {
  const std::string rest = R"("os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]}})";
  EXPECT_EQ(CreatedOf(WithConfig(R"({"created":"2023-01-01T00:00:00Z",)" + rest)), "2023-01-01T00:00:00Z");
  EXPECT_EQ(CreatedOf(WithConfig(R"({"created":"0001-01-01T00:00:00Z",)" + rest)), "2024-05-05T00:00:00Z");
  EXPECT_EQ(CreatedOf(WithConfig("{" + rest)), "2024-05-05T00:00:00Z");
  EXPECT_EQ(CreatedOf(WithConfig("garbage")), "2024-05-05T00:00:00Z");
}

}  // namespace
}  // namespace snap::cli
