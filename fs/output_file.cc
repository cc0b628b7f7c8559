#include "fs/output_file.h"

#include <fcntl.h>
#include <linux/fs.h>

#include <cerrno>
#include <utility>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"

namespace snap {
namespace {

std::string TemporaryName() { return ".snap-" + sys::RandomHex128() + ".tmp"; }

}  // namespace

Result<OutputFile> OutputFile::Create(FdRef dir, mode_t mode, std::string where) {
  SysResult<UniqueFd> file = sys::OpenAt(dir, ".", O_TMPFILE | O_RDWR, mode);
  if (file.ok()) return OutputFile(dir, *std::move(file), std::move(where), "");
  const int code = file.error().code();
  // FALLBACK: file systems without O_TMPFILE (NFS, FUSE, vfat).
  if (code != EOPNOTSUPP && code != EISDIR && code != EINVAL) {
    return Error(file.error(), fmt::format("make a file in {}", Quote(where)));
  }
  std::string temporary = TemporaryName();
  SNAP_TRY_SYS(UniqueFd named,
               sys::OpenAt(dir, temporary.c_str(), O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW, mode),
               "make a file in {}", Quote(where));
  return OutputFile(dir, std::move(named), std::move(where), std::move(temporary));
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : dir_(other.dir_),
      file_(std::move(other.file_)),
      where_(std::move(other.where_)),
      temporary_(std::exchange(other.temporary_, {})) {}

OutputFile& OutputFile::operator=(OutputFile&& other) noexcept {
  if (this == &other) return *this;
  Discard();
  dir_ = other.dir_;
  file_ = std::move(other.file_);
  where_ = std::move(other.where_);
  temporary_ = std::exchange(other.temporary_, {});
  return *this;
}

OutputFile::~OutputFile() { Discard(); }

void OutputFile::Discard() {
  if (!temporary_.empty()) (void)sys::UnlinkAt(dir_, temporary_.c_str());  // nobody to tell
  temporary_.clear();
}

Result<void> OutputFile::Publish(const std::string& name, bool replace) {
  const auto failed = [&](Errno e) {
    if (e.code() == EEXIST) {
      return MakeError(ErrorCode::kExists, "write {}: it exists already", Quote(where_ + "/" + name));
    }
    return Error(e, fmt::format("write {}", Quote(where_ + "/" + name)));
  };
  if (temporary_.empty()) {
    if (!replace) {
      const SysResult<void> linked = sys::LinkFd(file_, dir_, name.c_str());
      if (!linked.ok()) return failed(linked.error());
      return {};
    }
    // A link cannot replace: it gets a name that can.
    std::string temporary = TemporaryName();
    const SysResult<void> linked = sys::LinkFd(file_, dir_, temporary.c_str());
    if (!linked.ok()) return failed(linked.error());
    temporary_ = std::move(temporary);
  }
  const SysResult<void> renamed =
      sys::RenameAt(dir_, temporary_.c_str(), dir_, name.c_str(), replace ? 0 : RENAME_NOREPLACE);
  if (!renamed.ok()) return failed(renamed.error());
  temporary_.clear();
  return {};
}

}  // namespace snap
