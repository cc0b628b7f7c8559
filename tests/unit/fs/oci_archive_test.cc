#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "fs/archive_index.h"
#include "fs/base/sys_file.h"
#include "fs/oci_documents.h"
#include "fs/oci_image.h"
#include "tests/support/oci_builder.h"

namespace snap::oci {
namespace {

using test::OciBuilder;
using test::TarText;
using test::TempDir;
using testing::HasSubstr;
using Transport = SourceName::Transport;

const Platform kAmd64{.os = "linux", .architecture = "amd64", .variant = ""};

class OciArchive : public testing::Test {
 protected:
  Result<std::vector<std::string>> ReadImage(Transport transport, std::string_view archive,
                                             const std::string& ref = {}, const Platform& platform = kAmd64) {
    dir_.WriteFile("archive", archive);
    return ReadFile(transport, dir_ / "archive", ref, platform);
  }
  Result<std::vector<std::string>> ReadFile(Transport transport, const std::string& path,
                                            const std::string& ref = {}, const Platform& platform = kAmd64) {
    SNAP_TRY(const auto source, ImageSource::Open({transport, path, ref}));
    SNAP_TRY(image_, source->Resolve(platform));
    std::vector<std::string> layers;
    for (const LayerBlob& layer : image_.layers) {
      SNAP_TRY(const auto bytes, source->OpenLayer(layer));
      SNAP_TRY(std::string text, ReadToEnd(*bytes, 8 << 20, "layer"));
      layers.push_back(std::move(text));
    }
    return layers;
  }
  static std::string DockerManifest(const std::string& tag, const std::string& config,
                                    const std::vector<std::string>& layers) {
    Json entry = {{"Config", config}, {"RepoTags", nullptr}, {"Layers", layers}};
    if (!tag.empty()) entry["RepoTags"] = {tag};
    return Json::array({entry}).dump();
  }

  TempDir dir_;
  Image image_;
};

const std::string kBig(300'000, 'b');  // larger than what the index reads over

TEST_F(OciArchive, OciArchiveIsReadInPlace) {
  OciBuilder layout;
  layout.SetIndex({test::WithRef(layout.AddImage("amd64", {"small", kBig, ""}), "a:1")});
  const auto layers = ReadImage(Transport::kOciArchive, layout.ToTar());
  ASSERT_TRUE(layers.ok()) << layers.error().message();
  EXPECT_EQ(*layers, (std::vector<std::string>{"small", kBig, ""}));
  EXPECT_EQ(image_.ref_name, "a:1");
}

TEST_F(OciArchive, CompressedArchivesAndPipesAreSpooled) {
  OciBuilder layout;
  layout.SetIndex({layout.AddImage("amd64", {"small", kBig})});
  dir_.WriteFile("archive", layout.ToTar());
  test::Shell("cd " + dir_.path() + " && gzip -k archive && zstd -q archive && mkfifo pipe zpipe");
  for (const char* name : {"archive.gz", "archive.zst"}) {
    const auto layers = ReadFile(Transport::kOciArchive, dir_ / name);
    ASSERT_TRUE(layers.ok()) << name << ": " << layers.error().message();
    EXPECT_EQ((*layers)[1], kBig) << name;
  }
  for (const char* const pair : {"archive pipe", "archive.gz zpipe"}) {
    const std::string files(pair);
    const std::string from = files.substr(0, files.find(' '));
    const std::string to = files.substr(files.find(' ') + 1);
    std::thread writer([&] { test::Shell("cat " + dir_ / from + " > " + dir_ / to); });
    const auto layers = ReadFile(Transport::kOciArchive, dir_ / to);
    writer.join();
    ASSERT_TRUE(layers.ok()) << layers.error().message();
    EXPECT_EQ((*layers)[1], kBig);
  }
  EXPECT_EQ(test::Shell("ls " + dir_.path()), "archive\narchive.gz\narchive.zst\npipe\nzpipe\n");
}

TEST_F(OciArchive, TruncationAtEveryBlockIsAnError) {
  OciBuilder layout;
  layout.SetIndex({layout.AddImage("amd64", {"small", std::string(70'000, 'x')})});
  const std::string tar = layout.ToTar();
  for (size_t size = 0; size + 1024 <= tar.size(); size += 512) {
    const auto layers = ReadImage(Transport::kOciArchive, std::string_view(tar).substr(0, size));
    ASSERT_FALSE(layers.ok()) << size;
    EXPECT_TRUE(layers.error().code() == ErrorCode::kCorrupt || size == 0)
        << size << layers.error().message();
  }
  EXPECT_TRUE(ReadImage(Transport::kOciArchive, tar).ok());
}

TEST_F(OciArchive, DamagedBlobInAnArchiveIsCorrupt) {
  OciBuilder layout;
  const Json image = layout.AddImage("amd64", {"x"});
  layout.SetIndex({image});
  layout.files["blobs/sha256/" + image["digest"].get<std::string>().substr(7)][0] = ' ';
  EXPECT_EQ(ReadImage(Transport::kOciArchive, layout.ToTar()).error().code(), ErrorCode::kCorrupt);
}

TEST_F(OciArchive, OldDockerSaveWithLinkedLayersIsRead) {
  const std::string config = test::ConfigText("amd64", {"one", kBig, "one"});
  const std::string tar =
      TarText()
          .File("aaa/VERSION", "1.0")
          .File("aaa/json", "{}")
          .File("aaa/layer.tar", "one")
          .File("bbb/layer.tar", kBig)
          .Symlink("ccc/layer.tar", "../aaa/layer.tar")
          .File(Digest::Of(config).Hex() + ".json", config)
          .File("manifest.json", DockerManifest("debian:12", Digest::Of(config).Hex() + ".json",
                                                {"aaa/layer.tar", "bbb/layer.tar", "ccc/layer.tar"}))
          .File("repositories", "not even json")
          .Finish();
  const auto layers = ReadImage(Transport::kDockerArchive, tar);
  ASSERT_TRUE(layers.ok()) << layers.error().message();
  EXPECT_EQ(*layers, (std::vector<std::string>{"one", kBig, "one"}));
  EXPECT_EQ(image_.ref_name, "debian:12");
  EXPECT_EQ(image_.config_json, config);
  EXPECT_EQ(*image_.config_digest, Digest::Of(config));
  EXPECT_TRUE(image_.manifest_json.empty());
  EXPECT_FALSE(image_.layers[0].blob_id);
  EXPECT_EQ(image_.layers[1].diff_id->digest, Digest::Of(kBig));
  EXPECT_EQ(image_.layers[1].size_bytes, kBig.size());
}

TEST_F(OciArchive, NewDockerSaveIsReadByEitherTransport) {
  OciBuilder layout;
  layout.SetIndex({test::WithRef(layout.AddImage("amd64", {"x"}), "12")});
  const std::string config = test::ConfigText("amd64", {"x"});
  layout.files["manifest.json"] = DockerManifest("debian:12", test::BlobPath(config), {test::BlobPath("x")});
  const std::string tar = layout.ToTar();
  for (const Transport transport : {Transport::kDockerArchive, Transport::kOciArchive}) {
    const auto layers = ReadImage(transport, tar, "12");
    ASSERT_TRUE(layers.ok()) << layers.error().message();
    EXPECT_EQ(layers->front(), "x");
    EXPECT_EQ(image_.layers[0].blob_id->digest, Digest::Of("x"));
  }
}

TEST_F(OciArchive, CompressedLayersAreSeenByTheirFirstBytes) {
  const std::string config = test::ConfigText("amd64", {"a", "b", "c"});
  const std::string tar = TarText()
                              .File("c.json", config)
                              .File("1", "\x1f\x8b\x08\x01 gzip")
                              .File("2", "\x28\xb5\x2f\xfd zstd")
                              .Symlink("3", "./1")
                              .File("manifest.json", DockerManifest("", "c.json", {"1", "2", "3"}))
                              .Finish();
  const auto layers = ReadImage(Transport::kDockerArchive, tar);
  ASSERT_TRUE(layers.ok()) << layers.error().message();
  EXPECT_EQ(LayerCompression(image_.layers[0].media_type), Compression::kGzip);
  EXPECT_EQ(LayerCompression(image_.layers[1].media_type), Compression::kZstd);
  EXPECT_EQ(LayerCompression(image_.layers[2].media_type), Compression::kGzip);
}

TEST_F(OciArchive, ReferenceChoosesAmongDockerImages) {
  const std::string a = test::ConfigText("amd64", {"a"});
  const std::string b = test::ConfigText("amd64", {"b"});
  const Json manifest = {
      {{"Config", "a.json"}, {"RepoTags", {"registry/x/a:1", "a:latest"}}, {"Layers", {"a.tar"}}},
      {{"Config", "b.json"}, {"RepoTags", nullptr}, {"Layers", {"b.tar"}}}};
  const std::string tar = TarText()
                              .File("a.json", a)
                              .File("b.json", b)
                              .File("a.tar", "a")
                              .File("b.tar", "b")
                              .File("manifest.json", manifest.dump())
                              .Finish();
  for (const char* ref : {"registry/x/a:1", "a:1", "1", "a", "@0"}) {
    EXPECT_EQ(ReadImage(Transport::kDockerArchive, tar, ref)->front(), "a") << ref;
  }
  EXPECT_EQ(ReadImage(Transport::kDockerArchive, tar, "@1")->front(), "b");
  const auto all = ReadImage(Transport::kDockerArchive, tar);
  EXPECT_EQ(all.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(all.error().message(), HasSubstr("'@1', 'a:latest' and 'registry/x/a:1'"));
  const auto none = ReadImage(Transport::kDockerArchive, tar, "c");
  EXPECT_EQ(none.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(none.error().message(), HasSubstr("'a:latest'"));
}

TEST_F(OciArchive, DockerImageForAnotherPlatformIsRefused) {
  const std::string tar = TarText()
                              .File("c.json", test::ConfigText("arm64", {}))
                              .File("manifest.json", DockerManifest("", "c.json", {}))
                              .Finish();
  const auto image = ReadImage(Transport::kDockerArchive, tar);
  ASSERT_FALSE(image.ok());
  EXPECT_EQ(image.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(image.error().message(), HasSubstr("no image for 'linux/amd64'"));
  EXPECT_THAT(image.error().message(), HasSubstr("'linux/arm64'"));
}

TEST_F(OciArchive, HostileDockerArchivesAreErrorsOfTheRightClass) {
  const std::string config = test::ConfigText("amd64", {"x"});
  const auto archive = [&](TarText tar, const std::string& layer = "layer",
                           const std::string& name = "c.json") {
    return tar.File(name, config).File("manifest.json", DockerManifest("", name, {layer})).Finish();
  };
  TarEntry fifo;
  fifo.kind = TarEntry::Kind::kFifo;
  fifo.path = "layer";
  TarEntry sparse;
  sparse.path = "layer";
  sparse.sparse = true;
  sparse.size = 1 << 20;
  const struct {
    std::string tar;
    ErrorCode code;
    const char* message;
  } kCases[] = {
      {archive(TarText().File("layer", "x").File("layer", "x")), ErrorCode::kCorrupt,
       "'layer' appears twice"},
      {archive(TarText().File("layer", "x").Symlink("./layer", "c.json")), ErrorCode::kCorrupt,
       "appears twice"},
      {archive(TarText().File("layer", "x").File("../evil", "x")), ErrorCode::kCorrupt, "contains '..'"},
      {archive(TarText().File("a/../../layer", "x")), ErrorCode::kCorrupt, "contains '..'"},
      {archive(TarText().Symlink("layer", "../etc/shadow")), ErrorCode::kCorrupt, "out of the archive"},
      {archive(TarText().Symlink("layer", "/etc/shadow")), ErrorCode::kCorrupt, "out of the archive"},
      {archive(TarText().Symlink("a/layer", "../../etc/shadow"), "a/layer"), ErrorCode::kCorrupt,
       "out of the archive"},
      {archive(TarText().HardLink("layer", "../etc/shadow")), ErrorCode::kCorrupt, "contains '..'"},
      {archive(TarText().Symlink("layer", "layer")), ErrorCode::kCorrupt, "a loop of links"},
      {archive(TarText().Symlink("layer", "b").HardLink("b", "layer")), ErrorCode::kCorrupt,
       "a loop of links"},
      {archive(TarText().Symlink("layer", "gone")), ErrorCode::kNotFound,
       "a link to 'gone', is not in the archive"},
      {archive(TarText()), ErrorCode::kNotFound, "member 'layer' is not in the archive"},
      {archive(TarText().File("layer", "x"), "../layer"), ErrorCode::kCorrupt, "contains '..'"},
      {archive(TarText().Entry(fifo)), ErrorCode::kCorrupt, "not a regular file"},
      {archive(TarText().Entry(sparse)), ErrorCode::kUnsupported, "stored sparse"},
      {archive(TarText().File("layer", "x"), "layer", std::string(64, 'a') + ".json"), ErrorCode::kCorrupt,
       "its content has the digest"},
      {TarText().File("manifest.json", DockerManifest("", "c.json", {})).Finish(), ErrorCode::kNotFound,
       "'c.json'"},
      {TarText().File("manifest.json", "[]").Finish(), ErrorCode::kNotFound, "holds no image"},
      {TarText().File("manifest.json", "{").Finish(), ErrorCode::kCorrupt, "malformed JSON"},
      {TarText().File("manifest.json", std::string(5 << 20, ' ')).Finish(), ErrorCode::kLimitExceeded,
       "at most"},
      {TarText().File("c.json", config).File("manifest.json", DockerManifest("", "c.json", {})).Finish(),
       ErrorCode::kCorrupt, "1 diff_ids, but manifest.json has 0 layers"},
      {TarText()
           .File("c.json", std::string(9 << 20, ' '))
           .File("manifest.json", DockerManifest("", "c.json", {}))
           .Finish(),
       ErrorCode::kLimitExceeded, "at most"},
  };
  for (const auto& test : kCases) {
    const auto layers = ReadImage(Transport::kDockerArchive, test.tar);
    ASSERT_FALSE(layers.ok()) << test.message;
    EXPECT_EQ(layers.error().code(), test.code) << layers.error().message();
    EXPECT_THAT(layers.error().message(), HasSubstr(test.message));
  }
  EXPECT_TRUE(ReadImage(Transport::kDockerArchive, archive(TarText().File("layer", "x"))).ok());
}

TEST_F(OciArchive, WrongKindOfArchiveNamesTheRightTransport) {
  OciBuilder layout;
  layout.SetIndex({layout.AddImage("amd64", {"x"})});
  EXPECT_THAT(ReadImage(Transport::kDockerArchive, layout.ToTar()).error().message(),
              HasSubstr("; try oci-archive:"));
  const std::string docker = TarText().File("manifest.json", "[]").Finish();
  EXPECT_THAT(ReadImage(Transport::kOciArchive, docker).error().message(),
              HasSubstr("; try docker-archive:"));
  EXPECT_EQ(ReadImage(Transport::kOciArchive, std::string(10240, '\0')).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(ReadImage(Transport::kOciArchive, std::string(10240, 'x')).error().code(), ErrorCode::kCorrupt);
  EXPECT_EQ(ReadFile(Transport::kOciArchive, dir_.path()).error().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(ReadFile(Transport::kOciArchive, dir_ / "none").error().code(), ErrorCode::kNotFound);
}

TEST_F(OciArchive, GzipBombIsStoppedByTheLimits) {
  test::Shell("head -c 200M /dev/zero | gzip -9 > " + dir_ / "bomb");
  const auto archive = OpenSeekableArchive(dir_ / "bomb", {.max_output = 1 << 20});
  ASSERT_FALSE(archive.ok());
  EXPECT_EQ(archive.error().code(), ErrorCode::kLimitExceeded);
}

TEST_F(OciArchive, MembersAndNamesAreBounded) {
  TarText tar;
  for (int i = 0; i < 20; ++i) tar.File("file" + std::to_string(i), "x");
  dir_.WriteFile("archive", tar.Finish());
  const auto archive = OpenSeekableArchive(dir_ / "archive");
  ASSERT_TRUE(archive.ok());
  const auto read = [&](const ArchiveIndexLimits& limits) {
    return ArchiveIndex::Read(archive->file, archive->size, "archive", limits);
  };
  EXPECT_TRUE(read({.max_members = 20, .max_name_bytes = 200}).ok());
  EXPECT_EQ(read({.max_members = 19, .max_name_bytes = 200}).error().code(), ErrorCode::kLimitExceeded);
  EXPECT_EQ(read({.max_members = 20, .max_name_bytes = 100}).error().code(), ErrorCode::kLimitExceeded);
}

TEST_F(OciArchive, ArchivesOfGnuTarAreIndexed) {
  OciBuilder layout;
  layout.SetIndex({layout.AddImage("amd64", {"small", kBig})});
  const TempDir tree;
  layout.WriteTo(tree);
  for (const char* format : {"gnu", "pax", "ustar"}) {
    test::Shell(std::string("tar --format=") + format + " -C " + tree.path() + " -cf " + dir_ / "gnu.tar" +
                " .");
    const auto layers = ReadFile(Transport::kOciArchive, dir_ / "gnu.tar");
    ASSERT_TRUE(layers.ok()) << format << ": " << layers.error().message();
    EXPECT_EQ(*layers, (std::vector<std::string>{"small", kBig})) << format;
  }
}

}  // namespace
}  // namespace snap::oci
