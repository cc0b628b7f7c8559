#include "fs/oci_documents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/oci_builder.h"

namespace snap::oci {
namespace {

using testing::HasSubstr;

Json GoodManifest() {
  return {{"schemaVersion", 2},
          {"config", test::DescriptorOf(kMediaTypeConfig, "config")},
          {"layers", {test::DescriptorOf(kMediaTypeLayer, "layer")}}};
}
Json GoodIndex() {
  return {{"schemaVersion", 2}, {"manifests", {test::DescriptorOf(kMediaTypeManifest, "manifest")}}};
}

TEST(OciDocuments, LayerTypesSayTheirCompression) {
  const struct {
    const char* type;
    std::optional<Compression> compression;
  } kCases[] = {
      {"application/vnd.oci.image.layer.v1.tar", Compression::kNone},
      {"application/vnd.oci.image.layer.v1.tar+gzip", Compression::kGzip},
      {"application/vnd.oci.image.layer.v1.tar+zstd", Compression::kZstd},
      {"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", Compression::kGzip},
      {"application/vnd.docker.image.rootfs.diff.tar", Compression::kNone},
      {"application/vnd.docker.image.rootfs.diff.tar.gzip", Compression::kGzip},
      {"application/vnd.docker.image.rootfs.diff.tar.zstd", Compression::kZstd},
      {"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Compression::kGzip},
      {"application/vnd.oci.image.layer.v1.tar+xz", std::nullopt},
      {"application/vnd.oci.image.layer.v1.tar+encrypted", std::nullopt},
      {"application/vnd.oci.image.layer.v1.tarball", std::nullopt},
      {"application/vnd.oci.image.config.v1+json", std::nullopt},
      {"", std::nullopt},
  };
  for (const auto& test : kCases) EXPECT_EQ(LayerCompression(test.type), test.compression) << test.type;
  for (const auto compression : {Compression::kNone, Compression::kGzip, Compression::kZstd}) {
    EXPECT_EQ(LayerCompression(LayerMediaType(compression)), compression);
  }
}

TEST(OciDocuments, ReferencesMatchExactlyOrByTheirLastPart) {
  const std::string name = "docker.io/library/debian:12";
  EXPECT_EQ(ReferenceScore(name, name), 2U);
  EXPECT_EQ(ReferenceScore("debian:12", name), 1U);
  EXPECT_EQ(ReferenceScore("12", name), 1U);
  EXPECT_EQ(ReferenceScore("debian", name), 0U);
  EXPECT_EQ(ReferenceScore("library/debian:12", name), 0U);
  EXPECT_EQ(ReferenceScore("", name), 0U);
  EXPECT_EQ(ReferenceScore("debian", "docker.io/library/debian:latest"), 1U);
  EXPECT_EQ(ReferenceScore("docker.io/library/debian", "docker.io/library/debian:latest"), 1U);
  EXPECT_EQ(ReferenceScore("localhost", "localhost:5000/x"), 0U);
  EXPECT_EQ(ReferenceScore("x", "localhost:5000/x"), 1U);
  EXPECT_EQ(ReferenceScore("base", "base"), 2U);
  EXPECT_EQ(ReferenceScore("base", ""), 0U);
}

TEST(OciDocuments, ChoicesAreSortedUniqueQuotedAndBounded) {
  EXPECT_EQ(ListChoices({}), "none");
  EXPECT_EQ(ListChoices({"b", "a", "b"}), "'a' and 'b'");
  EXPECT_EQ(ListChoices({"\x1b[31m"}), "'\\x1b[31m'");
  std::vector<std::string> many;
  for (int i = 100; i < 200; ++i) many.push_back(std::to_string(i));
  EXPECT_THAT(ListChoices(many), HasSubstr("'119' and 80 more"));
}

TEST(OciDocuments, DescriptorsCarryNamesPlatformAndAttestations) {
  Json named = test::WithPlatform(test::DescriptorOf(kMediaTypeManifest, "a"), "linux", "arm64", "v8");
  named["annotations"] = {{"org.opencontainers.image.ref.name", "12"},
                          {"io.containerd.image.name", "docker.io/library/debian:12"}};
  Json attestation = test::DescriptorOf(kMediaTypeManifest, "b");
  attestation["annotations"] = {{"vnd.docker.reference.type", "attestation-manifest"}};
  const std::string text = test::IndexText(
      {named, attestation,
       test::WithPlatform(test::DescriptorOf(kMediaTypeManifest, "c"), "unknown", "unknown")});
  const auto index = ParseIndex(text, kMediaTypeIndex, "index");
  ASSERT_TRUE(index.ok()) << index.error().message();
  ASSERT_EQ(index->manifests.size(), 3U);
  EXPECT_EQ(index->manifests[0].ref_name, "12");
  EXPECT_EQ(index->manifests[0].image_name, "docker.io/library/debian:12");
  EXPECT_EQ(index->manifests[0].platform->ToString(), "linux/arm64");
  EXPECT_EQ(index->manifests[0].digest, Digest::Of("a"));
  EXPECT_FALSE(index->manifests[0].attestation);
  EXPECT_TRUE(index->manifests[1].attestation);
  EXPECT_TRUE(index->manifests[2].attestation);
}

TEST(OciDocuments, DockerDocumentsAreRead) {
  Json index = GoodIndex();
  index["mediaType"] = kMediaTypeDockerIndex;
  EXPECT_TRUE(ParseIndex(index.dump(), kMediaTypeDockerIndex, "x").ok());
  Json manifest = GoodManifest();
  manifest["mediaType"] = kMediaTypeDockerManifest;
  manifest["config"]["mediaType"] = kMediaTypeDockerConfig;
  manifest["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip";
  EXPECT_TRUE(ParseManifest(manifest.dump(), kMediaTypeDockerManifest, "x").ok());
}

struct BadCase {
  const char* name;
  std::function<void(Json&)> change;
  ErrorCode code;
  const char* message;
};

TEST(OciDocuments, HostileManifestsAreErrorsOfTheRightClass) {
  const BadCase kCases[] = {
      {"schema 1", [](Json& m) { m["schemaVersion"] = 1; }, ErrorCode::kUnsupported, "schema version 1"},
      {"schema 1 fields", [](Json& m) { m["fsLayers"] = Json::array(); }, ErrorCode::kUnsupported,
       "schema 1"},
      {"no schema", [](Json& m) { m.erase("schemaVersion"); }, ErrorCode::kCorrupt,
       "'schemaVersion' is missing"},
      {"schema as text", [](Json& m) { m["schemaVersion"] = "2"; }, ErrorCode::kCorrupt,
       "non-negative integer"},
      {"index as well", [](Json& m) { m["manifests"] = Json::array(); }, ErrorCode::kCorrupt,
       "both as an index"},
      {"other own type", [](Json& m) { m["mediaType"] = kMediaTypeIndex; }, ErrorCode::kCorrupt,
       "its descriptor says"},
      {"no config", [](Json& m) { m.erase("config"); }, ErrorCode::kCorrupt, "'config' is missing"},
      {"no layers", [](Json& m) { m.erase("layers"); }, ErrorCode::kCorrupt, "'layers' is missing"},
      {"layers object", [](Json& m) { m["layers"] = Json::object(); }, ErrorCode::kCorrupt, "not an array"},
      {"layer number", [](Json& m) { m["layers"][0] = 1; }, ErrorCode::kCorrupt,
       "descriptor is not an object"},
      {"negative size", [](Json& m) { m["layers"][0]["size"] = -1; }, ErrorCode::kCorrupt,
       "non-negative integer"},
      {"float size", [](Json& m) { m["layers"][0]["size"] = 1.5; }, ErrorCode::kCorrupt,
       "non-negative integer"},
      {"no digest", [](Json& m) { m["layers"][0].erase("digest"); }, ErrorCode::kCorrupt,
       "'digest' is missing"},
      {"path as digest", [](Json& m) { m["layers"][0]["digest"] = "sha256:../../../etc/passwd"; },
       ErrorCode::kCorrupt, "64 hex digits"},
      {"upper-case digest", [](Json& m) { m["layers"][0]["digest"] = "sha256:" + std::string(64, 'A'); },
       ErrorCode::kCorrupt, "lower-case"},
      {"sha512", [](Json& m) { m["layers"][0]["digest"] = "sha512:" + std::string(128, 'a'); },
       ErrorCode::kUnsupported, "'sha512' is not supported"},
      {"chart", [](Json& m) { m["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json"; },
       ErrorCode::kUnsupported, "not a container image"},
      {"unknown layer", [](Json& m) { m["layers"][0]["mediaType"] = "text/plain"; }, ErrorCode::kUnsupported,
       "layer 1 has the unsupported media type 'text/plain'"},
      {"config of 9 MiB", [](Json& m) { m["config"]["size"] = 9 << 20; }, ErrorCode::kLimitExceeded,
       "config of"},
      {"2000 layers", [](Json& m) { m["layers"] = std::vector<Json>(2000, m["layers"][0]); },
       ErrorCode::kLimitExceeded, "2000 layers, at most 1024"},
      {"long media type", [](Json& m) { m["layers"][0]["mediaType"] = std::string(1000, 'a'); },
       ErrorCode::kLimitExceeded, "media type of 1000 bytes"},
  };
  ASSERT_TRUE(ParseManifest(GoodManifest().dump(), kMediaTypeManifest, "m").ok());
  for (const BadCase& test : kCases) {
    Json manifest = GoodManifest();
    test.change(manifest);
    const auto result = ParseManifest(manifest.dump(), kMediaTypeManifest, "m");
    ASSERT_FALSE(result.ok()) << test.name;
    EXPECT_EQ(result.error().code(), test.code) << test.name << ": " << result.error().message();
    EXPECT_THAT(result.error().message(), HasSubstr(test.message)) << test.name;
  }
  EXPECT_EQ(ParseManifest(GoodIndex().dump(), kMediaTypeManifest, "m").error().message(),
            "m: is an index where a manifest belongs");
  EXPECT_EQ(
      ParseManifest("{}", "application/vnd.docker.distribution.manifest.v1+prettyjws", "m").error().code(),
      ErrorCode::kUnsupported);
}

TEST(OciDocuments, HostileIndexesAreErrorsOfTheRightClass) {
  const BadCase kCases[] = {
      {"manifest as well", [](Json& i) { i["layers"] = Json::array(); }, ErrorCode::kCorrupt,
       "both as an index"},
      {"config as well", [](Json& i) { i["config"] = nullptr; }, ErrorCode::kCorrupt, "both as an index"},
      {"no manifests", [](Json& i) { i.erase("manifests"); }, ErrorCode::kCorrupt, "'manifests' is missing"},
      {"other own type", [](Json& i) { i["mediaType"] = kMediaTypeManifest; }, ErrorCode::kCorrupt,
       "media type"},
      {"number as platform", [](Json& i) { i["manifests"][0]["platform"] = 1; }, ErrorCode::kCorrupt,
       "'platform'"},
      {"number as name",
       [](Json& i) { i["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] = 1; },
       ErrorCode::kCorrupt, "is not a string"},
      {"many", [](Json& i) { i["manifests"] = std::vector<Json>(10001, i["manifests"][0]); },
       ErrorCode::kLimitExceeded, "10001 manifests"},
  };
  ASSERT_TRUE(ParseIndex(GoodIndex().dump(), {}, "i").ok());
  for (const BadCase& test : kCases) {
    Json index = GoodIndex();
    test.change(index);
    const auto result = ParseIndex(index.dump(), {}, "i");
    ASSERT_FALSE(result.ok()) << test.name;
    EXPECT_EQ(result.error().code(), test.code) << test.name << ": " << result.error().message();
    EXPECT_THAT(result.error().message(), HasSubstr(test.message)) << test.name;
  }
  EXPECT_EQ(ParseIndex(GoodManifest().dump(), {}, "i").error().message(),
            "i: is a manifest where an index belongs");
  EXPECT_THAT(ParseIndex(R"({"schemaVersion":2,"manifests":[],"manifests":[]})", {}, "i").error().message(),
              HasSubstr("duplicate key"));
}

TEST(OciDocuments, DockerSaveManifestIsChecked) {
  const auto good = ParseDockerManifest(
      R"([{"Config":"c.json","RepoTags":["a:1"],"Layers":["x/layer.tar"],"Parent":"ignored"},
          {"Config":"d.json","RepoTags":null,"Layers":null}])",
      "m");
  ASSERT_TRUE(good.ok()) << good.error().message();
  EXPECT_EQ((*good)[0].layers.front(), "x/layer.tar");
  EXPECT_TRUE((*good)[1].repo_tags.empty());
  for (const char* text : {"{}", "[1]", "[{}]", R"([{"Config":1}])", R"([{"Config":"c","Layers":[1]}])",
                           R"([{"Config":"c","RepoTags":"a"}])", "["}) {
    const auto bad = ParseDockerManifest(text, "m");
    ASSERT_FALSE(bad.ok()) << text;
    EXPECT_EQ(bad.error().code(), ErrorCode::kCorrupt) << text;
  }
  const Json many = {{{"Config", "c"}, {"Layers", std::vector<std::string>(2000, "l")}}};
  EXPECT_EQ(ParseDockerManifest(many.dump(), "m").error().code(), ErrorCode::kLimitExceeded);
}

}  // namespace
}  // namespace snap::oci
