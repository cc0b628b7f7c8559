// Builds image layouts in memory, good ones and, by changing `files`, every kind of bad one.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/digest.h"
#include "fs/base/json.h"
#include "fs/base/unique_fd.h"
#include "fs/tar_writer.h"

namespace snap::test {

/// A directory that is deleted with everything in it.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }
  FdRef fd() const { return dir_; }
  /// Makes missing directories on the way.
  void WriteFile(std::string_view name, std::string_view content) const;

 private:
  std::string path_;
  UniqueFd dir_;
};

/// A descriptor's JSON; add "platform" or "annotations" as needed.
Json DescriptorOf(std::string_view media_type, std::string_view content);
Json WithRef(Json descriptor, std::string_view ref_name);
Json WithPlatform(Json descriptor, std::string_view os, std::string_view architecture,
                  std::string_view variant = "");

struct OciBuilder {
  std::map<std::string, std::string> files;  ///< path in the layout -> content

  /// Has "oci-layout" and an empty index.
  OciBuilder();
  /// Stores content under blobs/sha256 and describes it.
  Json AddBlob(std::string_view media_type, std::string_view content);
  /// A manifest, its config (for linux/`architecture`; none when empty) and uncompressed layers; its
  /// descriptor.
  Json AddImage(std::string_view architecture, const std::vector<std::string>& layers);
  Json AddIndex(const std::vector<Json>& descriptors);
  void SetIndex(const std::vector<Json>& descriptors);

  void WriteTo(const TempDir& dir) const;
  std::string ToTar() const;
};

/// The text of an index with these descriptors.
std::string IndexText(const std::vector<Json>& descriptors);
/// A config with the DiffIds of `layers`.
std::string ConfigText(std::string_view architecture, const std::vector<std::string>& layers);
std::string BlobPath(std::string_view content);

/// A tar of regular files, in the order given, and of whatever else is added.
class TarText {
 public:
  TarText& File(std::string_view path, std::string_view content);
  TarText& Symlink(std::string_view path, std::string_view target);
  TarText& HardLink(std::string_view path, std::string_view target);
  TarText& Entry(const TarEntry& entry);
  std::string Finish();

 private:
  std::string text_;
};

/// Runs a shell command; its standard output, or a test failure when it does not exit with 0.
std::string Shell(const std::string& command);

}  // namespace snap::test
