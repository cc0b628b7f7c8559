// Archives: members one behind the other, with nothing in their headers that changes from one time to the
// next.
#include <fcntl.h>

#include <cstdlib>
#include <vector>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/oci_target.h"
#include "fs/tar_writer.h"

namespace snap::oci {
namespace {

constexpr size_t kCopyBytes = size_t{1} << 20U;
constexpr mode_t kArchiveMode = 0600;  // an image may hold secrets; `docker save` does the same

class FdSink final : public ByteSink {
 public:
  FdSink(FdRef fd, std::string name) : fd_(fd), name_(std::move(name)) {}
  Result<void> Write(std::span<const std::byte> bytes) override {
    SNAP_TRY_SYS_VOID(sys::WriteAll(fd_, bytes), "write {}", Quote(name_));
    return {};
  }

 private:
  const FdRef fd_;
  const std::string name_;
};

struct Directory {
  UniqueFd fd;
  std::string name;
};

Result<Directory> OpenDirectory(std::string name) {
  SNAP_TRY_SYS(UniqueFd fd, sys::OpenAt(FdRef::Cwd(), name.c_str(), O_RDONLY | O_DIRECTORY), "open {}",
               Quote(name));
  return Directory{std::move(fd), std::move(name)};
}

class ArchiveTarget final : public Target {
 public:
  /// `file`: what gets the archive's name at last; none when it is a stream.
  ArchiveTarget(FdRef out, std::string name, Directory directory, std::optional<OutputFile> file,
                std::string file_name, UniqueFd owned, bool replace)
      : directory_(std::move(directory)),
        file_(std::move(file)),
        file_name_(std::move(file_name)),
        owned_(std::move(owned)),
        replace_(replace),
        sink_(out, std::move(name)),
        tar_(sink_),
        buffer_(kCopyBytes) {}

  Result<void> Add(const std::string& name, uint64_t size, ByteSource& bytes) override {
    SNAP_TRY_VOID(Begin(name, size));
    for (;;) {
      SNAP_TRY(const size_t got, bytes.Read(buffer_));
      if (got == 0) return {};
      SNAP_TRY_VOID(tar_.Data(std::span(buffer_).first(got)));
    }
  }
  Result<OutputFile> Spool() override {
    return OutputFile::Create(directory_.fd, kArchiveMode, directory_.name);
  }
  Result<void> AddSpooled(const std::string& name, OutputFile file, uint64_t size) override {
    const std::unique_ptr<ByteSource> bytes = MakeRangeSource(file.fd(), 0, size, "temporary file");
    return Add(name, size, *bytes);
  }
  Result<std::optional<std::string>> ExistingIndex() override { return std::optional<std::string>(); }

  Result<void> Commit(const std::string& last_name, std::string_view last_content) override {
    const std::unique_ptr<ByteSource> last = MakeMemorySource(std::as_bytes(std::span(last_content)));
    SNAP_TRY_VOID(Add(last_name, last_content.size(), *last));
    SNAP_TRY_VOID(tar_.Finish());
    if (!file_) return {};
    SNAP_TRY_SYS_VOID(sys::Fsync(file_->fd()), "flush {}", Quote(file_name_));
    SNAP_TRY_VOID(file_->Publish(file_name_, replace_));
    SNAP_TRY_SYS_VOID(sys::Fsync(directory_.fd), "flush {}", Quote(directory_.name));
    return {};
  }

 private:
  Result<void> Begin(const std::string& name, uint64_t size) {
    // Readers that extract want to see a directory before what is in it.
    for (size_t slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1)) {
      std::string parent = name.substr(0, slash);
      if (std::find(directories_.begin(), directories_.end(), parent) != directories_.end()) continue;
      TarEntry entry;
      entry.kind = TarEntry::Kind::kDirectory;
      entry.path = parent;
      entry.attributes.permissions = 0755;
      SNAP_TRY_VOID(tar_.Begin(entry));
      directories_.push_back(std::move(parent));
    }
    TarEntry entry;
    entry.path = name;
    entry.attributes.permissions = 0644;
    entry.size = size;
    return tar_.Begin(entry);
  }

  const Directory directory_;  // of the archive, or for temporary files
  std::optional<OutputFile> file_;
  const std::string file_name_;
  const UniqueFd owned_;
  const bool replace_;
  FdSink sink_;
  TarWriter tar_;
  std::vector<std::byte> buffer_;
  std::vector<std::string> directories_;  // that are in the archive
};

Result<Directory> TemporaryDirectory() {
  const char* const configured = std::getenv("TMPDIR");
  return OpenDirectory(configured != nullptr && *configured != '\0' ? configured : "/var/tmp");
}

}  // namespace

Result<std::unique_ptr<Target>> MakeArchiveFileTarget(const std::string& path, bool replace) {
  const size_t slash = path.rfind('/');
  const std::string file_name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (file_name.empty() || file_name == "." || file_name == "..") {
    return MakeError(ErrorCode::kInvalidArgument, "write {}: it is no name of a file", Quote(path));
  }
  const SysResult<struct stat> there = sys::StatAt(FdRef::Cwd(), path.c_str());
  if (there.ok() && S_ISDIR(there->st_mode)) {
    return MakeError(ErrorCode::kInvalidArgument, "write {}: it is a directory", Quote(path));
  }
  if (there.ok() && !S_ISREG(there->st_mode)) {  // a symlink too: /dev/stdout
    SNAP_TRY_SYS(UniqueFd out, sys::OpenAt(FdRef::Cwd(), path.c_str(), O_WRONLY | O_NOCTTY), "open {}",
                 Quote(path));
    SNAP_TRY_SYS(const struct stat opened, sys::FStat(out), "stat {}", Quote(path));
    if (S_ISREG(opened.st_mode)) {
      return MakeError(ErrorCode::kExists, "write {}: it is a link to a file", Quote(path));
    }
    SNAP_TRY(Directory directory, TemporaryDirectory());
    const FdRef borrowed = out;
    return std::unique_ptr<Target>(std::make_unique<ArchiveTarget>(borrowed, path, std::move(directory),
                                                                   std::nullopt, "", std::move(out), false));
  }
  if (there.ok() && !replace) {  // before the work, not after it
    return MakeError(ErrorCode::kExists, "write {}: it exists already", Quote(path));
  }
  SNAP_TRY(Directory directory, OpenDirectory(slash == std::string::npos ? "." : path.substr(0, slash + 1)));
  SNAP_TRY(OutputFile file, OutputFile::Create(directory.fd, kArchiveMode, directory.name));
  const FdRef borrowed = file.fd();
  return std::unique_ptr<Target>(std::make_unique<ArchiveTarget>(
      borrowed, path, std::move(directory), std::move(file), file_name, UniqueFd(), replace));
}

Result<std::unique_ptr<Target>> MakeArchiveStreamTarget(FdRef stream, const std::string& name) {
  SNAP_TRY(Directory directory, TemporaryDirectory());
  return std::unique_ptr<Target>(std::make_unique<ArchiveTarget>(stream, name, std::move(directory),
                                                                 std::nullopt, "", UniqueFd(), false));
}

}  // namespace snap::oci
