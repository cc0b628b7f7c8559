#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "fs/base/sys_file.h"
#include "fs/oci_image.h"
#include "fs/tar_reader.h"
#include "tests/support/oci_builder.h"

namespace snap::oci {
namespace {

using test::TempDir;
using testing::ElementsAre;
using Transport = SourceName::Transport;

const Platform kArm{.os = "linux", .architecture = "arm64", .variant = "v8"};

struct Read {
  Image image;
  std::string layer;
};
Result<Read> ReadAll(Transport transport, const std::string& path) {
  SNAP_TRY(const auto source, ImageSource::Open({transport, path, ""}));
  Read out;
  SNAP_TRY(out.image, source->Resolve(kArm));
  SNAP_TRY(const auto bytes, source->OpenLayer(out.image.layers.at(0)));
  SNAP_TRY(out.layer, ReadToEnd(*bytes, 64 << 20, "layer"));
  return out;
}

TEST(OciPlain, TarIsOneLayerOfItsBytes) {
  const TempDir dir;
  const std::string tar = test::TarText().File("etc/hostname", "x").Finish();
  dir.WriteFile("x.tar", tar);
  test::Shell("cd " + dir.path() + " && gzip -k x.tar && zstd -q x.tar");
  const struct {
    const char* name;
    Compression compression;
  } kCases[] = {
      {"x.tar", Compression::kNone}, {"x.tar.gz", Compression::kGzip}, {"x.tar.zst", Compression::kZstd}};
  for (const auto& test : kCases) {
    const auto read = ReadAll(Transport::kTar, dir / test.name);
    ASSERT_TRUE(read.ok()) << read.error().message();
    ASSERT_EQ(read->image.layers.size(), 1U);
    const LayerBlob& layer = read->image.layers[0];
    EXPECT_FALSE(layer.blob_id);
    EXPECT_FALSE(layer.diff_id);
    EXPECT_EQ(LayerCompression(layer.media_type), test.compression);
    EXPECT_EQ(layer.size_bytes, read->layer.size());
    EXPECT_EQ(read->layer, test::Shell("cat " + dir / test.name));
    EXPECT_TRUE(read->image.config_json.empty());
    EXPECT_EQ(read->image.config.platform.ToString(), "linux/arm64");
    EXPECT_TRUE(read->image.config.diff_ids.empty());
  }
}

TEST(OciPlain, PipeIsStreamedOnceAndItsFirstBytesAreKept) {
  const TempDir dir;
  const std::string tar = test::TarText().File("etc/hostname", std::string(200'000, 'x')).Finish();
  dir.WriteFile("x.tar", tar);
  test::Shell("mkfifo " + dir / "pipe");
  std::thread writer([&] { test::Shell("dd bs=5 status=none if=" + dir / "x.tar" + " of=" + dir / "pipe"); });
  const auto source = *ImageSource::Open({Transport::kTar, dir / "pipe", ""});
  const Image image = *source->Resolve(kArm);
  EXPECT_EQ(image.layers[0].size_bytes, 0U);
  EXPECT_EQ(LayerCompression(image.layers[0].media_type), Compression::kNone);
  EXPECT_TRUE(source->Resolve(kArm).ok());
  const auto bytes = *source->OpenLayer(image.layers[0]);
  EXPECT_EQ(*ReadToEnd(*bytes, 1 << 20, "layer"), tar);
  writer.join();
  EXPECT_EQ(source->OpenLayer(image.layers[0]).error().code(), ErrorCode::kInvalidArgument);
}

TEST(OciPlain, ShortAndEmptyFilesAreLayersForTheReaderToJudge) {
  const TempDir dir;
  for (const char* text : {"", "a", "\x1f\x8b"}) {
    dir.WriteFile("x.tar", text);
    const auto read = ReadAll(Transport::kTar, dir / "x.tar");
    ASSERT_TRUE(read.ok());
    EXPECT_EQ(read->layer, text);
  }
}

TEST(OciPlain, DirectoryIsALayerThatOpensAgainAndAgain) {
  const TempDir dir;
  dir.WriteFile("etc/hostname", "x");
  const auto first = ReadAll(Transport::kDirectory, dir.path());
  ASSERT_TRUE(first.ok()) << first.error().message();
  EXPECT_EQ(first->layer, ReadAll(Transport::kDirectory, dir.path())->layer);
  const auto memory = MakeMemorySource(std::as_bytes(std::span(first->layer)));
  ChunkedSource chunks(*memory);
  TarReader reader(chunks);
  std::vector<std::string> paths;
  for (;;) {
    const auto entry = reader.Next();
    ASSERT_TRUE(entry.ok()) << entry.error().message();
    if (*entry == nullptr) break;
    paths.push_back((*entry)->path);
  }
  EXPECT_THAT(paths, ElementsAre("./", "etc/", "etc/hostname"));
}

TEST(OciPlain, WrongKindsOfFileAreRefused) {
  const TempDir dir;
  dir.WriteFile("file", "");
  EXPECT_EQ(ReadAll(Transport::kTar, dir.path()).error().code(), ErrorCode::kInvalidArgument);
  EXPECT_FALSE(ReadAll(Transport::kDirectory, dir / "file").ok());
  EXPECT_EQ(ReadAll(Transport::kTar, dir / "none").error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(ReadAll(Transport::kDirectory, dir / "none").error().code(), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace snap::oci
