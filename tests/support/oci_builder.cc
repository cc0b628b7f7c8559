#include "tests/support/oci_builder.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "fs/base/sys_file.h"
#include "fs/oci_documents.h"

namespace snap::test {

TempDir::TempDir() {
  char path[] = "/tmp/snap-oci-XXXXXX";
  EXPECT_NE(mkdtemp(path), nullptr);
  path_ = path;
  dir_ = *sys::OpenAt(FdRef::Cwd(), path, O_RDONLY | O_DIRECTORY);
}

TempDir::~TempDir() { EXPECT_TRUE(sys::RemoveTree(FdRef::Cwd(), path_.c_str()).ok()); }

void TempDir::WriteFile(std::string_view name, std::string_view content) const {
  for (size_t slash = name.find('/'); slash != std::string_view::npos; slash = name.find('/', slash + 1)) {
    (void)sys::MkdirAt(dir_, std::string(name.substr(0, slash)).c_str(), 0755);  // may exist
  }
  const auto file = sys::OpenAt(dir_, std::string(name).c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  ASSERT_TRUE(file.ok()) << name;
  ASSERT_TRUE(sys::WriteAll(*file, content).ok()) << name;
}

Json DescriptorOf(std::string_view media_type, std::string_view content) {
  return {{"mediaType", media_type}, {"digest", Digest::Of(content).ToString()}, {"size", content.size()}};
}

Json WithRef(Json descriptor, std::string_view ref_name) {
  descriptor["annotations"]["org.opencontainers.image.ref.name"] = ref_name;
  return descriptor;
}

Json WithPlatform(Json descriptor, std::string_view os, std::string_view architecture,
                  std::string_view variant) {
  descriptor["platform"] = {{"os", os}, {"architecture", architecture}};
  if (!variant.empty()) descriptor["platform"]["variant"] = variant;
  return descriptor;
}

std::string IndexText(const std::vector<Json>& descriptors) {
  return Json{{"schemaVersion", 2}, {"mediaType", oci::kMediaTypeIndex}, {"manifests", descriptors}}.dump();
}

std::string ConfigText(std::string_view architecture, const std::vector<std::string>& layers) {
  Json diff_ids = Json::array();
  for (const std::string& layer : layers) diff_ids.push_back(Digest::Of(layer).ToString());
  Json config = {{"config", {{"Cmd", {"/bin/sh"}}}},
                 {"rootfs", {{"type", "layers"}, {"diff_ids", diff_ids}}}};
  if (!architecture.empty()) {
    config["os"] = "linux";
    config["architecture"] = architecture;
  }
  return config.dump();
}

std::string BlobPath(std::string_view content) { return "blobs/sha256/" + Digest::Of(content).Hex(); }

OciBuilder::OciBuilder() {
  files["oci-layout"] = R"({"imageLayoutVersion":"1.0.0"})";
  SetIndex({});
}

Json OciBuilder::AddBlob(std::string_view media_type, std::string_view content) {
  files[BlobPath(content)] = content;
  return DescriptorOf(media_type, content);
}

Json OciBuilder::AddImage(std::string_view architecture, const std::vector<std::string>& layers) {
  Json layer_list = Json::array();
  for (const std::string& layer : layers) layer_list.push_back(AddBlob(oci::kMediaTypeLayer, layer));
  const Json manifest = {{"schemaVersion", 2},
                         {"mediaType", oci::kMediaTypeManifest},
                         {"config", AddBlob(oci::kMediaTypeConfig, ConfigText(architecture, layers))},
                         {"layers", layer_list}};
  return AddBlob(oci::kMediaTypeManifest, manifest.dump());
}

Json OciBuilder::AddIndex(const std::vector<Json>& descriptors) {
  return AddBlob(oci::kMediaTypeIndex, IndexText(descriptors));
}

void OciBuilder::SetIndex(const std::vector<Json>& descriptors) {
  files["index.json"] = IndexText(descriptors);
}

void OciBuilder::WriteTo(const TempDir& dir) const {
  for (const auto& [path, content] : files) dir.WriteFile(path, content);
}

std::string OciBuilder::ToTar() const {
  TarText tar;
  for (const auto& [path, content] : files) tar.File(path, content);
  return tar.Finish();
}

TarText& TarText::Entry(const TarEntry& entry) {
  EXPECT_TRUE(tar::AppendHeader(entry, text_).ok());
  return *this;
}

TarText& TarText::File(std::string_view path, std::string_view content) {
  TarEntry entry;
  entry.path = path;
  entry.attributes.permissions = 0644;
  entry.size = content.size();
  Entry(entry);
  text_ += content;
  text_.resize(text_.size() + tar::Padding(content.size()));
  return *this;
}

TarText& TarText::Symlink(std::string_view path, std::string_view target) {
  TarEntry entry;
  entry.kind = TarEntry::Kind::kSymlink;
  entry.path = path;
  entry.link_target = target;
  return Entry(entry);
}

TarText& TarText::HardLink(std::string_view path, std::string_view target) {
  TarEntry entry;
  entry.kind = TarEntry::Kind::kHardLink;
  entry.path = path;
  entry.link_target = target;
  return Entry(entry);
}

std::string TarText::Finish() {
  text_.resize(text_.size() + tar::kTrailerBytes);
  return std::move(text_);
}

std::string Shell(const std::string& command) {
  std::FILE* const pipe = ::popen(command.c_str(), "re");
  EXPECT_NE(pipe, nullptr);
  std::string out;
  char buffer[4096];
  for (size_t got = 0; (got = std::fread(buffer, 1, sizeof buffer, pipe)) != 0;) out.append(buffer, got);
  EXPECT_EQ(::pclose(pipe), 0) << command << "\n" << out;
  return out;
}

}  // namespace snap::test
