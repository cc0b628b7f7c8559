#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "fs/base/sys_file.h"
#include "fs/oci_documents.h"
#include "fs/oci_image.h"
#include "tests/support/oci_builder.h"

namespace snap::oci {
namespace {

using test::OciBuilder;
using test::TempDir;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

const Platform kAmd64{.os = "linux", .architecture = "amd64", .variant = ""};
const Platform kArm64{.os = "linux", .architecture = "arm64", .variant = ""};

Result<Image> ResolveIn(const TempDir& dir, const std::string& ref = {}, const Platform& platform = kAmd64) {
  SNAP_TRY(const auto source, ImageSource::Open({SourceName::Transport::kOciLayout, dir.path(), ref}));
  return source->Resolve(platform);
}

Result<Image> ResolveBuilt(const OciBuilder& layout, const std::string& ref = {},
                           const Platform& platform = kAmd64) {
  const TempDir dir;
  layout.WriteTo(dir);
  return ResolveIn(dir, ref, platform);
}

Result<std::string> ReadLayer(const TempDir& dir, size_t index) {
  SNAP_TRY(const auto source, ImageSource::Open({SourceName::Transport::kOciLayout, dir.path(), ""}));
  SNAP_TRY(const Image image, source->Resolve(kAmd64));
  SNAP_TRY(const auto bytes, source->OpenLayer(image.layers.at(index)));
  return ReadToEnd(*bytes, 1 << 20, "layer");
}

TEST(OciLayout, ImageArrivesWithItsExactBytes) {
  OciBuilder layout;
  const Json image = layout.AddImage("amd64", {"bottom", "top"});
  layout.SetIndex({test::WithRef(image, "debian:12")});
  const TempDir dir;
  layout.WriteTo(dir);
  const auto resolved = ResolveIn(dir);
  ASSERT_TRUE(resolved.ok()) << resolved.error().message();
  EXPECT_EQ(resolved->ref_name, "debian:12");
  EXPECT_EQ(resolved->config_json, test::ConfigText("amd64", {"bottom", "top"}));
  EXPECT_EQ(*resolved->config_digest, Digest::Of(resolved->config_json));
  EXPECT_EQ(resolved->manifest_digest->ToString(), image["digest"]);
  EXPECT_EQ(*resolved->manifest_digest, Digest::Of(resolved->manifest_json));
  ASSERT_EQ(resolved->layers.size(), 2U);
  EXPECT_EQ(resolved->layers[1].blob_id->digest, Digest::Of("top"));
  EXPECT_EQ(resolved->layers[1].diff_id->digest, Digest::Of("top"));
  EXPECT_EQ(resolved->layers[1].size_bytes, 3U);
  EXPECT_EQ(resolved->layers[1].index, 1U);
  EXPECT_EQ(*ReadLayer(dir, 0), "bottom");
  EXPECT_EQ(*ReadLayer(dir, 1), "top");
}

TEST(OciLayout, ImageWithoutLayersIsAnImage) {
  OciBuilder layout;
  layout.SetIndex({layout.AddImage("amd64", {})});
  const auto image = ResolveBuilt(layout);
  ASSERT_TRUE(image.ok()) << image.error().message();
  EXPECT_TRUE(image->layers.empty());
}

TEST(OciLayout, ReferenceChoosesAmongImages) {
  OciBuilder layout;
  const Json a = layout.AddImage("amd64", {"a"});
  const Json b = layout.AddImage("amd64", {"b"});
  const Json c = layout.AddImage("amd64", {"c"});
  Json named_by_containerd = test::WithRef(c, "3");
  named_by_containerd["annotations"]["io.containerd.image.name"] = "docker.io/library/c:3";
  layout.SetIndex({test::WithRef(a, "docker.io/library/a:1"), test::WithRef(b, "b"), named_by_containerd});
  const struct {
    std::string ref;
    Json image;
    const char* name;
  } kCases[] = {
      {"docker.io/library/a:1", a, "docker.io/library/a:1"},
      {"a:1", a, "docker.io/library/a:1"},
      {"1", a, "docker.io/library/a:1"},
      {"b", b, "b"},
      {"3", c, "docker.io/library/c:3"},
      {"c:3", c, "docker.io/library/c:3"},
      {b["digest"], b, "b"},
  };
  for (const auto& test : kCases) {
    const auto image = ResolveBuilt(layout, test.ref);
    ASSERT_TRUE(image.ok()) << test.ref << ": " << image.error().message();
    EXPECT_EQ(image->manifest_digest->ToString(), test.image["digest"]) << test.ref;
    EXPECT_EQ(image->ref_name, test.name) << test.ref;
  }
  const auto none = ResolveBuilt(layout, "nope");
  EXPECT_EQ(none.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(none.error().message(), HasSubstr("no image 'nope' in oci:"));
  EXPECT_THAT(none.error().message(), HasSubstr("'b', 'docker.io/library/a:1' and 'docker.io/library/c:3'"));
  const auto unnamed = ResolveBuilt(layout);
  EXPECT_EQ(unnamed.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(unnamed.error().message(), HasSubstr("several images, name one of: 'b', "));
}

TEST(OciLayout, ExactNameWinsOverPartialOnes) {
  OciBuilder layout;
  const Json exact = layout.AddImage("amd64", {"exact"});
  layout.SetIndex({test::WithRef(layout.AddImage("amd64", {"x"}), "x:latest"), test::WithRef(exact, "latest"),
                   test::WithRef(layout.AddImage("amd64", {"y"}), "y:latest")});
  const auto image = ResolveBuilt(layout, "latest");
  ASSERT_TRUE(image.ok()) << image.error().message();
  EXPECT_EQ(image->manifest_digest->ToString(), exact["digest"]);
}

TEST(OciLayout, PartialNameOfTwoImagesIsAmbiguous) {
  OciBuilder layout;
  layout.SetIndex({test::WithRef(layout.AddImage("amd64", {"x"}), "x:1"),
                   test::WithRef(layout.AddImage("amd64", {"y"}), "y:1")});
  const auto image = ResolveBuilt(layout, "1");
  ASSERT_FALSE(image.ok());
  EXPECT_EQ(image.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(image.error().message(), HasSubstr("'x:1' and 'y:1'"));
}

TEST(OciLayout, TwoNamesOfOneImageAreNoAmbiguity) {
  OciBuilder layout;
  const Json image = layout.AddImage("amd64", {"x"});
  layout.SetIndex({test::WithRef(image, "x:1"), test::WithRef(image, "x:latest")});
  const auto resolved = ResolveBuilt(layout);
  ASSERT_TRUE(resolved.ok()) << resolved.error().message();
  EXPECT_EQ(resolved->ref_name, "x:1");
}

TEST(OciLayout, TwoUnnamedImagesForOnePlatformAreListedByDigest) {
  OciBuilder layout;
  const Json a = layout.AddImage("amd64", {"a"});
  layout.SetIndex({a, layout.AddImage("amd64", {"b"})});
  const auto both = ResolveBuilt(layout);
  ASSERT_FALSE(both.ok());
  EXPECT_EQ(both.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(both.error().message(), HasSubstr(a["digest"].get<std::string>()));
  EXPECT_TRUE(ResolveBuilt(layout, a["digest"]).ok());
}

TEST(OciLayout, PlatformChoosesThroughNestedIndexes) {
  OciBuilder layout;
  const Json amd64 = layout.AddImage("amd64", {"amd64"});
  const Json arm64 = layout.AddImage("arm64", {"arm64"});
  const Json inner = layout.AddIndex(
      {test::WithPlatform(amd64, "linux", "amd64"), test::WithPlatform(arm64, "linux", "arm64", "v8"),
       test::WithPlatform(layout.AddBlob(kMediaTypeManifest, "provenance"), "unknown", "unknown"),
       layout.AddBlob("application/vnd.example+json", "{}")});
  layout.SetIndex({test::WithRef(layout.AddIndex({inner}), "multi")});
  EXPECT_EQ(ResolveBuilt(layout, "", kAmd64)->manifest_digest->ToString(), amd64["digest"]);
  EXPECT_EQ(ResolveBuilt(layout, "", kArm64)->manifest_digest->ToString(), arm64["digest"]);
  EXPECT_EQ(ResolveBuilt(layout, "", kArm64)->ref_name, "multi");
  const auto none = ResolveBuilt(layout, "", *Platform::Parse("s390x"));
  EXPECT_EQ(none.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(none.error().message(), AllOf(HasSubstr("no image for 'linux/s390x'"),
                                            HasSubstr("there are: 'linux/amd64' and 'linux/arm64'")));
}

TEST(OciLayout, ConfigSaysThePlatformWhenTheDescriptorDoesNot) {
  OciBuilder layout;
  const Json arm64 = layout.AddImage("arm64", {"arm64"});
  layout.SetIndex({layout.AddImage("amd64", {"amd64"}), arm64});
  EXPECT_EQ(ResolveBuilt(layout, "", kArm64)->manifest_digest->ToString(), arm64["digest"]);
  OciBuilder only;
  only.SetIndex({only.AddImage("arm64", {"arm64"})});
  EXPECT_EQ(ResolveBuilt(only).error().code(), ErrorCode::kNotFound);
}

TEST(OciLayout, OnlyImageWithoutAPlatformIsTaken) {
  OciBuilder layout;
  layout.SetIndex({layout.AddImage("", {"x"})});
  EXPECT_TRUE(ResolveBuilt(layout).ok());
}

TEST(OciLayout, ChartsBesideImagesAreSkippedAndAloneNamed) {
  OciBuilder layout;
  Json chart = {{"schemaVersion", 2},
                {"config", layout.AddBlob("application/vnd.cncf.helm.config.v1+json", "{}")},
                {"layers", Json::array()}};
  const Json descriptor = layout.AddBlob(kMediaTypeManifest, chart.dump());
  layout.SetIndex({descriptor, layout.AddImage("amd64", {"x"})});
  EXPECT_TRUE(ResolveBuilt(layout).ok());
  layout.SetIndex({descriptor});
  EXPECT_EQ(ResolveBuilt(layout).error().code(), ErrorCode::kUnsupported);
  EXPECT_THAT(ResolveBuilt(layout).error().message(), HasSubstr("helm"));
}

TEST(OciLayout, DamagedDocumentsAreRefusedBeforeTheyAreParsed) {
  const auto build = [](const std::function<void(OciBuilder&, const std::string& manifest)>& damage) {
    OciBuilder layout;
    const Json image = layout.AddImage("amd64", {"x"});
    layout.SetIndex({image});
    damage(layout, "blobs/sha256/" + image["digest"].get<std::string>().substr(7));
    return ResolveBuilt(layout).error();
  };
  const auto other_bytes =
      build([](OciBuilder& layout, const std::string& path) { layout.files[path][0] = ' '; });
  EXPECT_EQ(other_bytes.code(), ErrorCode::kCorrupt);
  EXPECT_THAT(other_bytes.message(), HasSubstr("its content has the digest"));
  const auto longer = build([](OciBuilder& layout, const std::string& path) { layout.files[path] += ' '; });
  EXPECT_EQ(longer.code(), ErrorCode::kCorrupt);
  EXPECT_THAT(longer.message(), HasSubstr("but its descriptor says"));
  const auto shorter =
      build([](OciBuilder& layout, const std::string& path) { layout.files[path].pop_back(); });
  EXPECT_EQ(shorter.code(), ErrorCode::kCorrupt);
  const auto missing = build([](OciBuilder& layout, const std::string& path) { layout.files.erase(path); });
  EXPECT_EQ(missing.code(), ErrorCode::kNotFound);
  const auto config = build([](OciBuilder& layout, const std::string&) {
    layout.files[test::BlobPath(test::ConfigText("amd64", {"x"}))][5] = '\n';
  });
  EXPECT_EQ(config.code(), ErrorCode::kCorrupt);
  EXPECT_THAT(config.message(), HasSubstr("read config sha256:"));
}

TEST(OciLayout, DescriptorThatLiesAboutTheSizeIsRefused) {
  OciBuilder layout;
  Json image = layout.AddImage("amd64", {"x"});
  image["size"] = image["size"].get<uint64_t>() - 1;
  layout.SetIndex({image});
  EXPECT_EQ(ResolveBuilt(layout).error().code(), ErrorCode::kCorrupt);
  image["size"] = uint64_t{1} << 40U;
  layout.SetIndex({image});
  EXPECT_EQ(ResolveBuilt(layout).error().code(), ErrorCode::kLimitExceeded);
  image["size"] = UINT64_MAX;
  layout.SetIndex({image});
  EXPECT_EQ(ResolveBuilt(layout).error().code(), ErrorCode::kLimitExceeded);
}

TEST(OciLayout, ConfigThatTwoManifestsShareIsCheckedAgainstBoth) {
  OciBuilder layout;
  const Json config = layout.AddBlob(kMediaTypeConfig, test::ConfigText("arm64", {}));
  Json liar = config;
  liar["size"] = 1;
  std::vector<Json> images;
  for (const Json& descriptor : {config, liar}) {
    const Json manifest = {{"schemaVersion", 2}, {"config", descriptor}, {"layers", Json::array()}};
    images.push_back(layout.AddBlob(kMediaTypeManifest, manifest.dump()));
  }
  layout.SetIndex(images);
  const auto image = ResolveBuilt(layout, "", kArm64);
  ASSERT_FALSE(image.ok());
  EXPECT_EQ(image.error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(image.error().message(), HasSubstr("but its descriptor says 1"));
}

TEST(OciLayout, LayerCountMustMatchTheConfig) {
  OciBuilder layout;
  const Json layer = layout.AddBlob(kMediaTypeLayer, "x");
  const Json manifest = {{"schemaVersion", 2},
                         {"config", layout.AddBlob(kMediaTypeConfig, test::ConfigText("amd64", {"x", "y"}))},
                         {"layers", {layer}}};
  layout.SetIndex({layout.AddBlob(kMediaTypeManifest, manifest.dump())});
  const auto image = ResolveBuilt(layout);
  ASSERT_FALSE(image.ok());
  EXPECT_EQ(image.error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(image.error().message(), HasSubstr("1 layers, but its config has 2 diff_ids"));
}

TEST(OciLayout, NestingIsBounded) {
  OciBuilder layout;
  Json item = test::WithPlatform(layout.AddImage("amd64", {"x"}), "linux", "amd64");
  for (int i = 0; i < 7; ++i) item = layout.AddIndex({item});
  layout.SetIndex({item});
  EXPECT_TRUE(ResolveBuilt(layout).ok());
  layout.SetIndex({layout.AddIndex({item})});
  EXPECT_EQ(ResolveBuilt(layout).error().code(), ErrorCode::kLimitExceeded);
}

TEST(OciLayout, DiamondOfIndexesCostsItsDistinctDocuments) {
  // Seven levels of a hundred mentions each would be 10^14 visits.
  OciBuilder layout;
  Json item = test::WithPlatform(layout.AddImage("amd64", {"x"}), "linux", "amd64");
  for (int i = 0; i < 6; ++i) item = layout.AddIndex(std::vector<Json>(100, item));
  layout.SetIndex({item});
  EXPECT_TRUE(ResolveBuilt(layout).ok());
}

TEST(OciLayout, ManifestCountIsBoundedOverAllIndexes) {
  OciBuilder layout;
  const Json image = test::WithPlatform(layout.AddImage("amd64", {"x"}), "linux", "amd64");
  std::vector<Json> indexes;
  for (int i = 0; i < 3; ++i) {
    std::vector<Json> many(4000, image);
    many.push_back(test::WithRef(image, std::to_string(i)));  // makes each index another document
    indexes.push_back(layout.AddIndex(many));
  }
  layout.SetIndex({layout.AddIndex(indexes)});
  const auto result = ResolveBuilt(layout);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code(), ErrorCode::kLimitExceeded);
  EXPECT_THAT(result.error().message(), HasSubstr("more than 10000 manifests"));
}

TEST(OciLayout, IndexThatNamesItselfIsADigestMismatch) {
  // A real cycle would need a SHA-256 collision; what can be made is a lie, and it is seen as one.
  OciBuilder layout;
  const Json guess = test::DescriptorOf(kMediaTypeIndex, "no such content");
  const std::string text = test::IndexText({guess});
  Json liar = guess;
  liar["size"] = text.size();
  layout.files["blobs/sha256/" + guess["digest"].get<std::string>().substr(7)] = text;
  layout.SetIndex({liar});
  EXPECT_EQ(ResolveBuilt(layout).error().code(), ErrorCode::kCorrupt);
}

TEST(OciLayout, DocumentsTogetherAreBounded) {
  OciBuilder layout;
  const Json big = test::WithPlatform(test::DescriptorOf(kMediaTypeManifest, "x"), "linux", "arm64");
  std::vector<Json> indexes;
  for (int i = 0; i < 20; ++i) {
    Json index = {{"schemaVersion", 2},
                  {"manifests", {big}},
                  {"padding", std::string(4 << 20, 'a') + std::to_string(i)}};
    std::string text = index.dump();
    text.erase(text.find("aaaa"), text.size() - kMaxManifestBytes);
    indexes.push_back(layout.AddBlob(kMediaTypeIndex, text));
  }
  layout.SetIndex(indexes);
  const auto result = ResolveBuilt(layout);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code(), ErrorCode::kLimitExceeded);
  EXPECT_THAT(result.error().message(), HasSubstr("the documents of oci:"));
}

TEST(OciLayout, MediaTypeOfADescriptorBindsTheDocument) {
  OciBuilder layout;
  Json image = layout.AddImage("amd64", {"x"});
  image["mediaType"] = kMediaTypeDockerManifest;
  layout.SetIndex({image});
  EXPECT_THAT(ResolveBuilt(layout).error().message(), HasSubstr("its descriptor says"));
  image["mediaType"] = kMediaTypeIndex;
  layout.SetIndex({image});
  EXPECT_EQ(ResolveBuilt(layout).error().code(), ErrorCode::kCorrupt);
  image["mediaType"] = "application/octet-stream";
  layout.SetIndex({image});
  EXPECT_THAT(ResolveBuilt(layout).error().message(),
              HasSubstr("holds no image, only 'application/octet-stream'"));
}

class OciLayoutPlanted : public testing::Test {
 protected:
  void SetUp() override {
    const Json image = layout_.AddImage("amd64", {"layer"});
    layout_.SetIndex({image});
    layout_.WriteTo(dir_);
    manifest_ = "blobs/sha256/" + image["digest"].get<std::string>().substr(7);
    ASSERT_TRUE(ResolveIn(dir_).ok());
  }
  void Remove(const std::string& path) { ASSERT_TRUE(sys::UnlinkAt(dir_.fd(), path.c_str()).ok()); }

  TempDir dir_;
  OciBuilder layout_;
  std::string manifest_;
  const std::string layer_ = test::BlobPath("layer");
};

TEST_F(OciLayoutPlanted, SymlinksAreNotFollowed) {
  dir_.WriteFile("elsewhere", layout_.files[manifest_]);
  Remove(manifest_);
  ASSERT_TRUE(sys::SymlinkAt("../../elsewhere", dir_.fd(), manifest_.c_str()).ok());
  EXPECT_EQ(ResolveIn(dir_).error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(ResolveIn(dir_).error().message(), HasSubstr("a symlink"));
}

TEST_F(OciLayoutPlanted, SymlinkedBlobDirectoryIsNotFollowed) {
  ASSERT_TRUE(sys::RenameAt(dir_.fd(), "blobs/sha256", dir_.fd(), "moved").ok());
  ASSERT_TRUE(sys::SymlinkAt("../moved", dir_.fd(), "blobs/sha256").ok());
  EXPECT_EQ(ResolveIn(dir_).error().code(), ErrorCode::kCorrupt);
}

TEST_F(OciLayoutPlanted, FifoAsBlobDoesNotBlock) {
  Remove(manifest_);
  ASSERT_TRUE(sys::MknodAt(dir_.fd(), manifest_.c_str(), S_IFIFO | 0644, 0).ok());
  EXPECT_EQ(ResolveIn(dir_).error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(ResolveIn(dir_).error().message(), HasSubstr("not a regular file"));
}

TEST_F(OciLayoutPlanted, FifoAsLayerDoesNotBlock) {
  Remove(layer_);
  ASSERT_TRUE(sys::MknodAt(dir_.fd(), layer_.c_str(), S_IFIFO | 0644, 0).ok());
  EXPECT_EQ(ReadLayer(dir_, 0).error().code(), ErrorCode::kCorrupt);
}

TEST_F(OciLayoutPlanted, DirectoryAsBlobIsRefused) {
  Remove(manifest_);
  ASSERT_TRUE(sys::MkdirAt(dir_.fd(), manifest_.c_str(), 0755).ok());
  EXPECT_THAT(ResolveIn(dir_).error().message(), HasSubstr("not a regular file"));
}

TEST_F(OciLayoutPlanted, LayerOfAnotherSizeIsRefusedWhenOpened) {
  dir_.WriteFile(layer_, "longer than said");
  EXPECT_EQ(ReadLayer(dir_, 0).error().code(), ErrorCode::kCorrupt);
  Remove(layer_);
  EXPECT_EQ(ReadLayer(dir_, 0).error().code(), ErrorCode::kNotFound);
}

TEST_F(OciLayoutPlanted, LayerThatShrinksWhileReadIsCorrupt) {
  const auto source = *ImageSource::Open({SourceName::Transport::kOciLayout, dir_.path(), ""});
  const Image image = *source->Resolve(kAmd64);
  const auto bytes = *source->OpenLayer(image.layers[0]);
  dir_.WriteFile(layer_, "l");
  EXPECT_EQ(ReadToEnd(*bytes, 100, "layer").error().code(), ErrorCode::kCorrupt);
}

TEST_F(OciLayoutPlanted, LayoutFileDecidesWhatTheDirectoryIs) {
  for (const auto& [text, code] : std::map<std::string, ErrorCode>{
           {"", ErrorCode::kCorrupt},
           {"{}", ErrorCode::kCorrupt},
           {R"({"imageLayoutVersion":"2.0.0"})", ErrorCode::kUnsupported},
           {std::string(5000, ' '), ErrorCode::kLimitExceeded},
       }) {
    dir_.WriteFile("oci-layout", text);
    const auto image = ResolveIn(dir_);
    ASSERT_FALSE(image.ok()) << text;
    EXPECT_EQ(image.error().code(), code) << text;
  }
  Remove("oci-layout");
  EXPECT_EQ(ResolveIn(dir_).error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(ResolveIn(dir_).error().message(), HasSubstr("not an OCI image layout"));
}

TEST_F(OciLayoutPlanted, MissingOrOversizedIndexIsNamed) {
  dir_.WriteFile("index.json", std::string(kMaxManifestBytes + 1, ' '));
  EXPECT_EQ(ResolveIn(dir_).error().code(), ErrorCode::kLimitExceeded);
  Remove("index.json");
  EXPECT_EQ(ResolveIn(dir_).error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(ResolveIn(dir_).error().message(), HasSubstr("'index.json'"));
}

TEST(OciLayout, ForeignLayerIsNamedAndNeverFetched) {
  OciBuilder layout;
  Json layer = test::DescriptorOf("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "elsewhere");
  layer["urls"] = {"http://169.254.169.254/latest"};
  const Json manifest = {
      {"schemaVersion", 2},
      {"config", layout.AddBlob(kMediaTypeConfig, test::ConfigText("amd64", {"elsewhere"}))},
      {"layers", {layer}}};
  layout.SetIndex({layout.AddBlob(kMediaTypeManifest, manifest.dump())});
  TempDir dir;
  layout.WriteTo(dir);
  EXPECT_THAT(ReadLayer(dir, 0).error().message(), HasSubstr("its URLs are not fetched"));
  dir.WriteFile(test::BlobPath("elsewhere"), "elsewhere");
  EXPECT_EQ(*ReadLayer(dir, 0), "elsewhere");
}

TEST(OciLayout, WhatIsNoLayoutIsRefused) {
  const TempDir dir;
  dir.WriteFile("file", "");
  EXPECT_FALSE(ImageSource::Open({SourceName::Transport::kOciLayout, dir / "file", ""}).ok());
  EXPECT_EQ(ImageSource::Open({SourceName::Transport::kOciLayout, dir / "none", ""}).error().code(),
            ErrorCode::kNotFound);
}

TEST(OciLayout, MessagesCarryNoControlCharacters) {
  OciBuilder layout;
  layout.SetIndex({test::WithRef(layout.AddImage("amd64", {"a"}), "\x1b[31mred"),
                   test::WithRef(layout.AddImage("amd64", {"b"}), "b\n")});
  for (const char* ref : {"", "\x1b]0;title\x07"}) {
    EXPECT_THAT(ResolveBuilt(layout, ref).error().message(),
                AllOf(Not(HasSubstr("\x1b")), Not(HasSubstr("\n"))));
  }
}

}  // namespace
}  // namespace snap::oci
