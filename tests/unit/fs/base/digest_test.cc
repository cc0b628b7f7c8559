#include "fs/base/digest.h"

#include <gtest/gtest.h>

namespace snap {
namespace {

constexpr char kEmptyHex[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

TEST(Digest, OfNothingIsTheKnownConstant) { EXPECT_EQ(Digest::Of("").Hex(), kEmptyHex); }

TEST(Digest, TextFormRoundTrips) {
  const Digest digest = Digest::Of("snap");
  const auto parsed = Digest::Parse(digest.ToString());
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(*parsed, digest);
  EXPECT_EQ(digest.Short(), digest.Hex().substr(0, 12));
}

TEST(Digest, OnlyTheCanonicalFormIsAccepted) {
  const std::string hex = kEmptyHex;
  std::string upper = hex;
  upper[0] = 'E';
  for (const std::string& text : std::vector<std::string>{"", hex, "sha256:", "sha256:" + upper,
                                                          "sha256:" + hex + "0", "sha256:" + hex.substr(1),
                                                          "sha256:../" + hex.substr(3), "SHA256:" + hex}) {
    EXPECT_FALSE(Digest::Parse(text).ok()) << text;
  }
  EXPECT_EQ(Digest::Parse("sha512:00").error().code(), ErrorCode::kUnsupported);
}

TEST(Digest, IncrementalHashEqualsWholeHash) {
  Sha256 hasher;
  hasher.Update(std::as_bytes(std::span(std::string_view("container "))));
  hasher.Update(std::as_bytes(std::span(std::string_view("layer"))));
  EXPECT_EQ(std::move(hasher).Finish(), Digest::Of("container layer"));
}

TEST(ChainIds, FollowTheRecurrenceOfTheImageSpec) {
  const std::vector<DiffId> diffs = {{Digest::Of("a")}, {Digest::Of("b")}, {Digest::Of("c")}};
  const std::vector<ChainId> chain = ChainIds(diffs);
  ASSERT_EQ(chain.size(), 3U);
  EXPECT_EQ(chain[0].digest, diffs[0].digest);
  EXPECT_EQ(chain[1].digest, Digest::Of(chain[0].ToString() + " " + diffs[1].ToString()));
  EXPECT_EQ(chain[2].digest, Digest::Of(chain[1].ToString() + " " + diffs[2].ToString()));
}

}  // namespace
}  // namespace snap
