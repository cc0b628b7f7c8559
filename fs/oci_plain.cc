// tar: and dir: are images of one layer and no config: its DiffId is not known before it has been read.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "fs/archive_index.h"
#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/directory_tar.h"
#include "fs/oci_documents.h"
#include "fs/oci_transports.h"

namespace snap::oci {
namespace {

Image OneLayer(const Platform& platform, std::string media_type, uint64_t size_bytes) {
  Image image;
  image.config.platform = NormalizePlatform(platform);
  image.layers.push_back({.blob_id = std::nullopt,
                          .diff_id = std::nullopt,
                          .size_bytes = size_bytes,
                          .media_type = std::move(media_type),
                          .index = 0});
  return image;
}

/// A regular file: any number of layers can be opened.
class TarFileSource final : public ImageSource {
 public:
  TarFileSource(UniqueFd file, uint64_t size, Compression compression, std::string path)
      : file_(std::move(file)), size_(size), compression_(compression), path_(std::move(path)) {}
  Result<Image> Resolve(const Platform& platform) override {
    return OneLayer(platform, LayerMediaType(compression_), size_);
  }
  Result<std::unique_ptr<ByteSource>> OpenLayer(const LayerBlob&) override {
    return MakeRangeSource(file_, 0, size_, path_);
  }

 private:
  const UniqueFd file_;
  const uint64_t size_;
  const Compression compression_;
  const std::string path_;
};

/// Gives bytes that were read ahead, then the rest.
class PrefixedSource final : public ByteSource {
 public:
  PrefixedSource(std::vector<std::byte> prefix, std::unique_ptr<ByteSource> rest)
      : prefix_(std::move(prefix)), rest_(std::move(rest)) {}
  Result<size_t> Read(std::span<std::byte> buffer) override {
    if (offset_ == prefix_.size()) return rest_->Read(buffer);
    const size_t size = std::min(buffer.size(), prefix_.size() - offset_);
    std::memcpy(buffer.data(), prefix_.data() + offset_, size);
    offset_ += size;
    return size;
  }

 private:
  const std::vector<std::byte> prefix_;
  const std::unique_ptr<ByteSource> rest_;
  size_t offset_ = 0;
};

/// Standard input or a pipe: read once, with its first bytes looked at on the way.
class TarStreamSource final : public ImageSource {
 public:
  TarStreamSource(std::unique_ptr<ByteSource> stream, std::string path)
      : stream_(std::move(stream)), path_(std::move(path)) {}

  Result<Image> Resolve(const Platform& platform) override {
    constexpr size_t kMagicBytes = 8;
    while (stream_ != nullptr && first_.size() < kMagicBytes) {
      std::byte buffer[kMagicBytes];
      SNAP_TRY(const size_t got, stream_->Read(std::span(buffer).first(kMagicBytes - first_.size())));
      if (got == 0) break;
      first_.insert(first_.end(), buffer, buffer + got);
    }
    return OneLayer(platform, LayerMediaType(DetectCompression(first_)), 0);
  }

  Result<std::unique_ptr<ByteSource>> OpenLayer(const LayerBlob&) override {
    if (opened_.exchange(true)) {
      return MakeError(ErrorCode::kInvalidArgument, "open {}: a stream can be read only once", Quote(path_));
    }
    return std::unique_ptr<ByteSource>(std::make_unique<PrefixedSource>(first_, std::move(stream_)));
  }

 private:
  std::unique_ptr<ByteSource> stream_;
  std::vector<std::byte> first_;
  std::atomic<bool> opened_ = false;
  const std::string path_;
};

class DirectorySource final : public ImageSource {
 public:
  DirectorySource(UniqueFd dir, std::string path) : dir_(std::move(dir)), path_(std::move(path)) {}
  Result<Image> Resolve(const Platform& platform) override {
    return OneLayer(platform, LayerMediaType(Compression::kNone), 0);
  }
  Result<std::unique_ptr<ByteSource>> OpenLayer(const LayerBlob&) override {
    SNAP_TRY_SYS(UniqueFd dir, sys::Dup(dir_), "open {}", Quote(path_));
    // The point of dir: is the same tree again, so holes are kept.
    return MakeDirectoryTarSource(std::move(dir), path_, {.keep_holes = true});
  }

 private:
  const UniqueFd dir_;
  const std::string path_;
};

}  // namespace

Result<std::unique_ptr<ImageSource>> OpenPlainTar(const SourceName& name) {
  UniqueFd file;
  const bool standard_input = name.path == "-";
  if (standard_input) {
    SNAP_TRY_SYS(file, sys::Dup(FdRef(STDIN_FILENO)), "read standard input");
  } else {
    SNAP_TRY_SYS(file, sys::OpenAt(FdRef::Cwd(), name.path.c_str(), O_RDONLY | O_NOCTTY), "open {}",
                 Quote(name.path));
  }
  SNAP_TRY_SYS(const struct stat stat, sys::FStat(file), "stat {}", Quote(name.path));
  if (S_ISDIR(stat.st_mode)) {
    return MakeError(ErrorCode::kInvalidArgument, "open {}: is a directory; try dir:{}", Quote(name.path),
                     EscapeUnprintable(name.path));
  }
  if (standard_input || !S_ISREG(stat.st_mode)) {
    return std::unique_ptr<ImageSource>(
        std::make_unique<TarStreamSource>(MakeFdSource(std::move(file), name.path), name.path));
  }
  const auto size = static_cast<uint64_t>(stat.st_size);
  SNAP_TRY(const Compression compression, DetectCompressionAt(file, 0, size, name.path));
  return std::unique_ptr<ImageSource>(
      std::make_unique<TarFileSource>(std::move(file), size, compression, name.path));
}

Result<std::unique_ptr<ImageSource>> OpenPlainDirectory(const SourceName& name) {
  SNAP_TRY_SYS(UniqueFd dir, sys::OpenAt(FdRef::Cwd(), name.path.c_str(), O_RDONLY | O_DIRECTORY), "open {}",
               Quote(name.path));
  return std::unique_ptr<ImageSource>(std::make_unique<DirectorySource>(std::move(dir), name.path));
}

Result<std::unique_ptr<ImageSource>> ImageSource::Open(const SourceName& name) {
  switch (name.transport) {
    case SourceName::Transport::kOciLayout:
      return OpenOciLayout(name);
    case SourceName::Transport::kOciArchive:
      return OpenOciArchive(name);
    case SourceName::Transport::kDockerArchive:
      return OpenDockerArchive(name);
    case SourceName::Transport::kTar:
      return OpenPlainTar(name);
    case SourceName::Transport::kDirectory:
      return OpenPlainDirectory(name);
  }
  return MakeError(ErrorCode::kInternal, "open {}: unknown transport", Quote(name.path));
}

}  // namespace snap::oci
