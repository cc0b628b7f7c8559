// What is written is read back by the transports that read everybody else's images, and by skopeo in
// tests/integration/save.sh.
#include "fs/oci_writer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>

#include "fs/base/sys_file.h"
#include "fs/oci_documents.h"
#include "fs/oci_image.h"
#include "fs/oci_writer_documents.h"
#include "tests/support/oci_builder.h"

namespace snap::oci {
namespace {

using test::ConfigText;
using test::TarText;
using test::TempDir;

std::string Layer(const std::string& name, size_t size) {
  std::string content;
  while (content.size() < size) content += name + std::to_string(content.size() % 977);
  content.resize(size);
  return TarText().File(name, content).Finish();
}

SavedLayer Saved(const std::string& tar) {
  return {.diff_id = DiffId{Digest::Of(tar)},
          .tar_bytes = tar.size(),
          .open = [&tar]() -> Result<std::unique_ptr<ByteSource>> {
            return MakeMemorySource(std::as_bytes(std::span(tar)));
          }};
}
SavedImage ImageOf(const std::vector<std::string>& tars, std::vector<std::string> names) {
  const std::string architecture = Platform::Host().architecture;
  SavedImage image{.config_json = ConfigText(architecture, tars), .names = std::move(names), .layers = {}};
  for (const std::string& tar : tars) image.layers.push_back(Saved(tar));
  return image;
}

std::string FileText(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

/// Config and layers of the image that the transport finds.
struct ReadBack {
  Image image;
  std::vector<std::string> tars;
};
ReadBack Read(const std::string& source_name) {
  ReadBack out;
  const auto name = SourceName::Parse(source_name);
  EXPECT_TRUE(name.ok());
  const auto source = ImageSource::Open(*name);
  EXPECT_TRUE(source.ok()) << source.error().message();
  if (!source.ok()) return out;
  Result<Image> image = (*source)->Resolve(Platform::Host());
  EXPECT_TRUE(image.ok()) << image.error().message();
  if (!image.ok()) return out;
  out.image = *image;
  for (const LayerBlob& layer : out.image.layers) {
    const auto stored = (*source)->OpenLayer(layer).value();
    DigestingSource digesting(*stored);
    const auto tar = MakeDetectingInflater(digesting, {}, "layer").value();
    out.tars.push_back(ReadToEnd(*tar, size_t{1} << 30U, "layer").value());
    if (layer.blob_id) {
      EXPECT_EQ(digesting.Finish()->ToString(), layer.blob_id->ToString());
      EXPECT_EQ(digesting.bytes(), layer.size_bytes);
      EXPECT_EQ(layer.media_type, LayerMediaType(*LayerCompression(layer.media_type)));
    }
  }
  return out;
}

std::string Prefix(SaveFormat format) {
  switch (format) {
    case SaveFormat::kOciLayout:
      return "oci:";
    case SaveFormat::kOciArchive:
      return "oci-archive:";
    case SaveFormat::kDockerArchive:
      return "docker-archive:";
  }
  return "";
}
constexpr SaveFormat kFormats[] = {SaveFormat::kOciLayout, SaveFormat::kOciArchive,
                                   SaveFormat::kDockerArchive};
constexpr Compression kCompressions[] = {Compression::kNone, Compression::kGzip, Compression::kZstd};

std::vector<std::string> Names(const TempDir& dir) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir.path())) {
    names.push_back(std::filesystem::relative(entry.path(), dir.path()));
  }
  std::sort(names.begin(), names.end());
  return names;
}

const std::vector<std::string>& Tars() {
  static const std::vector<std::string> tars = {Layer("one", 3 << 20), Layer("two", 100),
                                                Layer("three", 700'000)};
  return tars;
}

TEST(OciWriter, EveryFormatIsReadBackTheSame) {
  for (const SaveFormat format : kFormats) {
    for (const Compression compression : kCompressions) {
      const TempDir dir;
      const std::string name = compression == Compression::kGzip ? "app:1.4" : "host:5000/team/app:1.4";
      const SavedImage image = ImageOf(Tars(), {name});
      const auto report = SaveImages({image}, dir / "out", {.format = format, .compression = compression});
      ASSERT_TRUE(report.ok()) << report.error().message();
      const ReadBack back = Read(Prefix(format) + (dir / "out"));
      EXPECT_EQ(back.image.config_json, image.config_json);
      EXPECT_EQ(back.image.ref_name, name);
      EXPECT_EQ(back.tars, Tars());
      for (const LayerBlob& layer : back.image.layers) {
        const bool docker = format == SaveFormat::kDockerArchive;
        EXPECT_EQ(LayerCompression(layer.media_type), docker ? Compression::kNone : compression);
      }
      const std::vector<std::string> names = Names(dir);
      EXPECT_TRUE(std::none_of(names.begin(), names.end(),
                               [](const auto& entry) { return entry.find("tmp") != std::string::npos; }));
    }
  }
}

TEST(OciWriter, TheSameImagesGiveTheSameArchive) {
  for (const SaveFormat format : {SaveFormat::kOciArchive, SaveFormat::kDockerArchive}) {
    const TempDir dir;
    for (const char* const name : {"a", "b"}) {
      ASSERT_TRUE(
          SaveImages({ImageOf(Tars(), {"x:1"})}, dir / name, {.format = format, .parallel_layers = 3}).ok());
    }
    EXPECT_EQ(FileText(dir / "a"), FileText(dir / "b"));
  }
}

TEST(OciWriter, SharedLayersAreWrittenOnceAndAnImageWithSeveralNamesToo) {
  for (const SaveFormat format : kFormats) {
    const TempDir dir;
    const std::vector<std::string> more = {Tars()[0], Tars()[2], Tars()[0]};
    const std::vector<SavedImage> images = {ImageOf(Tars(), {"app:1"}), ImageOf(more, {"more:1"}),
                                            ImageOf(Tars(), {"app:2", "app:1"})};
    const auto report = SaveImages(images, dir / "out", {.format = format});
    ASSERT_TRUE(report.ok()) << report.error().message();
    EXPECT_EQ(report->images, 2U);
    EXPECT_EQ(report->layers, 3U);
    EXPECT_EQ(Read(Prefix(format) + (dir / "out") + ":app:1").tars, Tars());
    EXPECT_EQ(Read(Prefix(format) + (dir / "out") + ":app:2").tars, Tars());
    EXPECT_EQ(Read(Prefix(format) + (dir / "out") + ":more:1").tars, more);
  }
}

TEST(OciWriter, ToAStreamItIsTheSameArchive) {
  const TempDir dir;
  const SavedImage image = ImageOf(Tars(), {"x:1"});
  for (const SaveFormat format : {SaveFormat::kOciArchive, SaveFormat::kDockerArchive}) {
    ASSERT_TRUE(SaveImages({image}, dir / "file", {.format = format, .replace = true}).ok());
    const UniqueFd stream =
        sys::OpenAt(FdRef::Cwd(), (dir / "stream").c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600).value();
    ASSERT_TRUE(SaveImages({image}, stream, "standard output", {.format = format}).ok());
    EXPECT_EQ(FileText(dir / "stream"), FileText(dir / "file"));
  }
  EXPECT_EQ(SaveImages({image}, FdRef(1), "x", {.format = SaveFormat::kOciLayout}).error().code(),
            ErrorCode::kInvalidArgument);
}

TEST(OciWriter, AnArchiveIsPrivateAndDoesNotReplaceUnasked) {
  const TempDir dir;
  const SavedImage image = ImageOf(Tars(), {"x:1"});
  dir.WriteFile("out", "precious");
  const auto refused = SaveImages({image}, dir / "out", {.format = SaveFormat::kDockerArchive});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), ErrorCode::kExists);
  EXPECT_EQ(FileText(dir / "out"), "precious");
  ASSERT_TRUE(SaveImages({image}, dir / "out", {.format = SaveFormat::kDockerArchive, .replace = true}).ok());
  EXPECT_EQ(Read("docker-archive:" + (dir / "out")).tars, Tars());
  EXPECT_EQ(sys::StatAt(dir.fd(), "out")->st_mode & 07777U, 0600U);
  EXPECT_EQ(Names(dir), std::vector<std::string>{"out"});
}

TEST(OciWriter, ALayerThatDoesNotMatchLeavesNothing) {
  const std::string other = Layer("one", (3 << 20) - 1);  // of the same size as a tar
  for (const SaveFormat format : kFormats) {
    for (const Compression compression : kCompressions) {
      const auto save = [&](auto&& change, const std::string& path) {
        SavedImage image = ImageOf(Tars(), {"x:1"});
        change(image);
        return SaveImages({image}, path, {.format = format, .compression = compression});
      };
      const auto content = [&](SavedImage& image) { image.layers[0].open = Saved(other).open; };
      const auto longer = [](SavedImage& image) { image.layers[1].tar_bytes -= 512; };
      const auto shorter = [](SavedImage& image) { image.layers[2].tar_bytes += 512; };
      const auto config = [](SavedImage& image) { std::swap(image.layers[0], image.layers[1]); };
      const TempDir dir;
      ASSERT_EQ(other.size(), Tars()[0].size());
      for (const auto& result : {save(content, dir / "a"), save(longer, dir / "b"), save(shorter, dir / "c"),
                                 save(config, dir / "d")}) {
        ASSERT_FALSE(result.ok());
        EXPECT_EQ(result.error().code(), ErrorCode::kCorrupt) << result.error().message();
      }
      EXPECT_TRUE(Names(dir).empty());
    }
  }
}

TEST(OciWriter, TheErrorIsTheOneThatCameFirst) {
  SavedImage image = ImageOf(Tars(), {"x:1"});
  image.layers[2].open = []() -> Result<std::unique_ptr<ByteSource>> {
    return Error(ErrorCode::kUnsupported, "no index");
  };
  const TempDir dir;
  for (const unsigned parallel : {1U, 3U}) {
    const auto result = SaveImages({image}, dir / "out", {.parallel_layers = parallel});
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().message(), "no index");
  }
}

TEST(OciWriter, AddsToALayoutAndMovesNames) {
  const TempDir dir;
  const SaveOptions options{.format = SaveFormat::kOciLayout};
  const std::vector<std::string> old_tars = {Layer("old", 500)};
  ASSERT_TRUE(SaveImages({ImageOf(old_tars, {"app:1", "keep:1"})}, dir / "out", options).ok());
  // What others wrote into the index is kept, known or not.
  const Json index = ParseJson(FileText(dir / "out/index.json"), "index").value();
  Json changed = index;
  changed["annotations"] = {{"com.example.note", "ours"}};
  std::ofstream(dir / "out/index.json") << DumpJson(changed);

  ASSERT_TRUE(SaveImages({ImageOf(Tars(), {"app:1"})}, (dir / "out") + "/", options).ok());
  EXPECT_EQ(Read("oci:" + (dir / "out") + ":app:1").tars, Tars());
  EXPECT_EQ(Read("oci:" + (dir / "out") + ":keep:1").tars, old_tars);
  const Json after = ParseJson(FileText(dir / "out/index.json"), "index").value();
  EXPECT_EQ(after["annotations"]["com.example.note"], "ours");
  EXPECT_EQ(after["manifests"].size(), 2U);

  // A second time changes nothing.
  ASSERT_TRUE(SaveImages({ImageOf(Tars(), {"app:1"})}, dir / "out", options).ok());
  EXPECT_EQ(ParseJson(FileText(dir / "out/index.json"), "index")->at("manifests").size(), 2U);
}

TEST(OciWriter, AFailureLeavesAnExistingLayoutAsItWas) {
  const TempDir dir;
  const SaveOptions options{.format = SaveFormat::kOciLayout};
  ASSERT_TRUE(SaveImages({ImageOf({Tars()[0]}, {"app:1"})}, dir / "out", options).ok());
  const std::vector<std::string> before = Names(dir);
  const std::string index = FileText(dir / "out/index.json");
  SavedImage image = ImageOf(Tars(), {"app:1"});
  image.layers[2].tar_bytes += 1;
  ASSERT_FALSE(SaveImages({image}, dir / "out", options).ok());
  EXPECT_EQ(Names(dir), before);
  EXPECT_EQ(FileText(dir / "out/index.json"), index);
}

TEST(OciWriter, ADamagedBlobOfAnExistingLayoutIsReplaced) {
  const TempDir dir;
  const SaveOptions options{.format = SaveFormat::kOciLayout, .compression = Compression::kNone};
  const SavedImage image = ImageOf(Tars(), {"app:1"});
  ASSERT_TRUE(SaveImages({image}, dir / "out", options).ok());
  dir.WriteFile("out/blobs/sha256/" + image.layers[1].diff_id.Hex(), "rotten");
  ASSERT_TRUE(SaveImages({image}, dir / "out", options).ok());
  EXPECT_EQ(Read("oci:" + (dir / "out")).tars, Tars());
}

TEST(OciWriter, ALayoutTakesAnEmptyDirectoryButNoOther) {
  const TempDir dir;
  const SaveOptions options{.format = SaveFormat::kOciLayout};
  ASSERT_TRUE(sys::MkdirAt(dir.fd(), "empty", 0755).ok());
  ASSERT_TRUE(SaveImages({ImageOf(Tars(), {"x:1"})}, dir / "empty", options).ok());
  EXPECT_EQ(Read("oci:" + (dir / "empty")).tars, Tars());
  dir.WriteFile("other/file", "precious");
  dir.WriteFile("file", "precious");
  for (const char* const name : {"other", "file"}) {
    const auto refused = SaveImages({ImageOf(Tars(), {"x:1"})}, dir / name, options);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), ErrorCode::kExists) << refused.error().message();
  }
  EXPECT_EQ(FileText(dir / "other/file"), "precious");
  EXPECT_EQ(SaveImages({ImageOf(Tars(), {"x:1"})}, dir / "no/such", options).error().code(),
            ErrorCode::kNotFound);
}

TEST(OciWriter, TheIndexSaysNamesAsOthersLookForThem) {
  EXPECT_EQ(FullImageName("debian:12"), "docker.io/library/debian:12");
  EXPECT_EQ(FullImageName("team/app:1"), "docker.io/team/app:1");
  EXPECT_EQ(FullImageName("localhost/app:1"), "localhost/app:1");
  EXPECT_EQ(FullImageName("host:5000/app:1"), "host:5000/app:1");
  const auto descriptors = MakeIndexDescriptors({}, {"linux", "arm64", "v8"}, {"debian:12"});
  ASSERT_EQ(descriptors.size(), 1U);
  EXPECT_EQ(descriptors[0]["annotations"]["org.opencontainers.image.ref.name"], "debian:12");
  EXPECT_EQ(descriptors[0]["annotations"]["io.containerd.image.name"], "docker.io/library/debian:12");
  EXPECT_EQ(descriptors[0]["platform"]["variant"], "v8");
  EXPECT_FALSE(MakeIndexDescriptors({}, {}, {})[0].contains("annotations"));
}

TEST(OciWriter, ProgressEndsWithEveryLayerDone) {
  const TempDir dir;
  for (const Compression compression : kCompressions) {
    std::map<size_t, SaveOptions::Progress> last;
    SaveOptions options{.compression = compression, .replace = true};
    options.on_progress = [&](const SaveOptions::Progress& progress) { last[progress.layer] = progress; };
    ASSERT_TRUE(SaveImages({ImageOf(Tars(), {})}, dir / "out", options).ok());
    ASSERT_EQ(last.size(), 3U);
    for (const auto& [layer, progress] : last) {
      EXPECT_TRUE(progress.done);
      EXPECT_EQ(progress.bytes, Tars()[layer].size());
      EXPECT_EQ(progress.total_bytes, Tars()[layer].size());
      EXPECT_EQ(progress.layer_count, 3U);
    }
  }
}

}  // namespace
}  // namespace snap::oci
