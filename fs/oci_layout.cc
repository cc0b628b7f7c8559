// oci:DIR: blobs are files named by their digest. The directory may be somebody else's, so nothing in it is
// followed or waited for: no symlinks, and opening a fifo or device planted as a blob is refused without
// blocking.
// Source: OCI image-spec, image-layout.md.
#include <fcntl.h>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/oci_documents.h"
#include "fs/oci_transports.h"

namespace snap::oci {
namespace {

/// MakeRangeSource of a file that it owns.
class OwnedFileSource final : public ByteSource {
 public:
  OwnedFileSource(UniqueFd file, uint64_t size, std::string name)
      : file_(std::move(file)), bytes_(MakeRangeSource(file_, 0, size, std::move(name))) {}
  Result<size_t> Read(std::span<std::byte> buffer) override { return bytes_->Read(buffer); }

 private:
  UniqueFd file_;
  std::unique_ptr<ByteSource> bytes_;
};

Result<BlobProvider::Blob> OpenRegular(FdRef dir, const std::string& path) {
  SysResult<UniqueFd> file =
      sys::OpenBeneath(dir, path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  if (!file.ok()) {
    const int code = file.error().code();
    if (code == ELOOP) {
      return MakeError(ErrorCode::kCorrupt, "open {}: a symlink, which image layouts do not have",
                       Quote(path));
    }
    if (code == ENXIO)
      return MakeError(ErrorCode::kCorrupt, "open {}: not a regular file", Quote(path));  // a socket
    return Error(file.error(), fmt::format("open {}", Quote(path)));
  }
  SNAP_TRY_SYS(const struct stat stat, sys::FStat(*file), "stat {}", Quote(path));
  if (!S_ISREG(stat.st_mode)) {
    return MakeError(ErrorCode::kCorrupt, "open {}: not a regular file", Quote(path));
  }
  BlobProvider::Blob blob;
  blob.size_bytes = static_cast<uint64_t>(stat.st_size);
  blob.bytes = std::make_unique<OwnedFileSource>(std::move(*file), blob.size_bytes, path);
  return blob;
}

class DirectoryBlobs final : public BlobProvider {
 public:
  explicit DirectoryBlobs(UniqueFd dir) : dir_(std::move(dir)) {}
  Result<Blob> OpenBlob(const Digest& digest) const override {
    return OpenRegular(dir_, "blobs/sha256/" + digest.Hex());
  }

 private:
  const UniqueFd dir_;
};

Result<std::string> ReadSmall(FdRef dir, const std::string& path, size_t max_bytes) {
  SNAP_TRY(const BlobProvider::Blob file, OpenRegular(dir, path));
  return ReadToEnd(*file.bytes, max_bytes, Quote(path));
}

}  // namespace

Result<std::unique_ptr<ImageSource>> OpenOciLayout(const SourceName& name) {
  const std::string where = "oci:" + EscapeUnprintable(name.path);
  SNAP_TRY_SYS(UniqueFd dir, sys::OpenAt(FdRef::Cwd(), name.path.c_str(), O_PATH | O_DIRECTORY), "open {}",
               Quote(name.path));
  Result<std::string> version = ReadSmall(dir, "oci-layout", 4096);
  if (!version.ok()) {
    if (version.error().code() != ErrorCode::kNotFound) return std::move(version).error().Wrap(where);
    return MakeError(ErrorCode::kNotFound, "open {}: not an OCI image layout, it has no file 'oci-layout'",
                     Quote(name.path));
  }
  SNAP_TRY_VOID(CheckLayoutVersion(*version, where + " oci-layout"));
  Result<std::string> index = ReadSmall(dir, "index.json", kMaxManifestBytes);
  if (!index.ok()) return std::move(index).error().Wrap(where);
  return MakeLayoutSource(std::make_unique<DirectoryBlobs>(std::move(dir)), std::move(*index), name.ref,
                          where);
}

}  // namespace snap::oci
