// make_image DIR REF OPTION...: adds an image to an OCI layout, for shell tests that need small images of
// every shape.
//   --layer FILE.tar     the next layer, bottom first; taken as it is (compressed or not)
//   --history TEXT       the created_by of the last layer; --empty TEXT adds a step without a layer
//   --entrypoint, --cmd, --env, --label NAME=VALUE: one item each; --user, --workdir, --created, --author:
//   one value
// Invariant: deterministic: the same arguments give the same digests.
#include <fcntl.h>
#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "fs/base/digest.h"
#include "fs/base/json.h"
#include "fs/byte_source.h"
#include "fs/oci_image.h"

namespace snap::test {
namespace {

[[noreturn]] void Die(const std::string& message) {
  fmt::print(stderr, "make_image: {}\n", message);
  std::exit(2);
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) Die("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << bytes;
  file.close();
  if (!file) Die("cannot write " + path);
}

class Layout {
 public:
  explicit Layout(std::string directory) : directory_(std::move(directory)) {
    std::filesystem::create_directories(directory_ + "/blobs/sha256");
    WriteFile(directory_ + "/oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
  }

  Json AddBlob(const std::string& bytes, const std::string& media_type) {
    const Digest digest = Digest::Of(bytes);
    WriteFile(directory_ + "/blobs/sha256/" + digest.Hex(), bytes);
    return {{"mediaType", media_type}, {"digest", digest.ToString()}, {"size", bytes.size()}};
  }

  void AddManifest(const Json& manifest, const std::string& ref) {
    const std::string index_path = directory_ + "/index.json";
    Json index = {{"schemaVersion", 2}, {"manifests", Json::array()}};
    if (std::filesystem::exists(index_path)) index = Json::parse(ReadFile(index_path));
    Json entry = AddBlob(manifest.dump(), "application/vnd.oci.image.manifest.v1+json");
    entry["annotations"] = {{"org.opencontainers.image.ref.name", ref}};
    index["manifests"].push_back(std::move(entry));
    WriteFile(index_path, index.dump());
  }

 private:
  std::string directory_;
};

/// Digest of the tar inside a blob.
Digest DiffIdOf(const std::string& blob) {
  const auto memory = MakeMemorySource(std::as_bytes(std::span(blob)));
  auto inflater = MakeDetectingInflater(*memory, {}, "layer");
  if (!inflater.ok()) Die(inflater.error().message());
  DigestingSource digesting(**inflater);
  auto digest = digesting.Finish();
  if (!digest.ok()) Die(digest.error().message());
  return *digest;
}

std::string MediaType(const std::string& blob) {
  std::string tar = "application/vnd.oci.image.layer.v1.tar";
  switch (DetectCompression(std::as_bytes(std::span(blob)))) {
    case Compression::kNone:
      return tar;
    case Compression::kGzip:
      return tar + "+gzip";
    case Compression::kZstd:
      return tar + "+zstd";
  }
  return tar;
}

int Main(const std::vector<std::string>& words) {
  if (words.size() < 2) Die("usage: make_image DIR REF OPTION...");
  Layout layout(words[0]);
  Json layers = Json::array();
  Json diff_ids = Json::array();
  Json history = Json::array();
  Json config = Json::object();
  const std::string host_architecture = oci::Platform::Host().architecture;
  Json image = {{"os", "linux"}, {"architecture", host_architecture}, {"created", "2024-02-29T12:00:00Z"}};
  for (size_t i = 2; i < words.size(); i += 2) {
    if (i + 1 == words.size()) Die(words[i] + " needs a value");
    const std::string& option = words[i];
    const std::string& value = words[i + 1];
    if (option == "--layer") {
      const std::string blob = ReadFile(value);
      layers.push_back(layout.AddBlob(blob, MediaType(blob)));
      diff_ids.push_back(DiffIdOf(blob).ToString());
      history.push_back({{"created", "2024-02-29T12:00:00Z"}, {"created_by", "layer"}});
    } else if (option == "--history") {
      if (history.empty()) Die("--history needs a layer before it");
      history.back()["created_by"] = value;
    } else if (option == "--empty") {
      history.push_back({{"created", "2024-02-29T12:00:00Z"}, {"created_by", value}, {"empty_layer", true}});
    } else if (option == "--entrypoint") {
      config["Entrypoint"].push_back(value);
    } else if (option == "--cmd") {
      config["Cmd"].push_back(value);
    } else if (option == "--env") {
      config["Env"].push_back(value);
    } else if (option == "--label") {
      config["Labels"][value.substr(0, value.find('='))] = value.substr(value.find('=') + 1);
    } else if (option == "--user") {
      config["User"] = value;
    } else if (option == "--workdir") {
      config["WorkingDir"] = value;
    } else if (option == "--created" || option == "--author" || option == "--architecture") {
      image[option.substr(2)] = value;
    } else {
      Die("unknown option " + option);
    }
  }
  image["config"] = config;
  image["rootfs"] = {{"type", "layers"}, {"diff_ids", diff_ids}};
  image["history"] = history;
  const Json manifest = {{"schemaVersion", 2},
                         {"mediaType", "application/vnd.oci.image.manifest.v1+json"},
                         {"config", layout.AddBlob(image.dump(), "application/vnd.oci.image.config.v1+json")},
                         {"layers", layers}};
  layout.AddManifest(manifest, words[1]);
  return 0;
}

}  // namespace
}  // namespace snap::test

int main(int argc, char** argv) {
  try {
    return snap::test::Main({argv + 1, argv + argc});
  } catch (const std::exception& exception) {
    snap::test::Die(exception.what());
  }
}
