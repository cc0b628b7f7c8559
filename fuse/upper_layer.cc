// Every change of what is seen is one system call: a link, a rename over a whiteout, or an exchange after which the old thing lies in
// work/work. What a crash leaves there is removed when the upper is opened again.
#include "fuse/upper_layer.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <thread>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "fs/whiteout.h"

namespace snap::fuse {
namespace {

constexpr const char* kWorkName = "work";
constexpr std::string_view kNumberMark = "snap.ino";
constexpr int kLockTries = 100;
constexpr std::chrono::milliseconds kLockPause(10);

std::string FileWhiteoutName(const std::string& name) { return std::string(whiteout::kPrefix) + name; }

bool IsMissing(Errno error) { return error == ENODATA || error == EOPNOTSUPP || error == EPERM || error == EACCES; }

}  // namespace

bool IsReservedName(std::string_view name) { return name.starts_with(whiteout::kPrefix); }

Result<std::unique_ptr<UpperLayer>> UpperLayer::Open(UniqueFd upper, UniqueFd work, const UnionOptions& options) {
  if (options.read_only) {
    SNAP_TRY_SYS(const struct stat status, sys::FStat(upper), "look at the upper directory");
    std::unique_ptr<UpperLayer> layer(new UpperLayer(std::move(upper), UniqueFd()));
    layer->device_ = status.st_dev;
    layer->UseMarks(options.user_xattr.value_or(sys::EffectiveUid() != 0));
    return layer;
  }
  // The server of a mount that has just gone may be about to end: it is waited for.
  SysResult<void> locked = sys::Flock(work, LOCK_EX | LOCK_NB);
  for (int tries = 0; tries < kLockTries && !locked.ok() && locked.error() == EWOULDBLOCK; ++tries) {
    std::this_thread::sleep_for(kLockPause);
    locked = sys::Flock(work, LOCK_EX | LOCK_NB);
  }
  if (!locked.ok() && locked.error() == EWOULDBLOCK) {
    return MakeError(ErrorCode::kBusy, "work directory {} is in use by another union mount",
                     Quote(sys::DescribeFd(work)));
  }
  if (!locked.ok()) return Error(locked.error(), "lock the work directory");
  std::unique_ptr<UpperLayer> layer(new UpperLayer(std::move(upper), std::move(work)));
  SNAP_TRY_VOID(layer->Prepare(options));
  return layer;
}

Result<void> UpperLayer::Prepare(const UnionOptions& options) {
  SNAP_TRY_SYS(const struct stat upper_stat, sys::FStat(upper_), "look at the upper directory");
  SNAP_TRY_SYS(const struct stat work_stat, sys::FStat(lock_), "look at the work directory");
  if (upper_stat.st_dev != work_stat.st_dev) {
    return MakeError(ErrorCode::kInvalidArgument, "upper and work directory are not on the same file system");
  }
  device_ = upper_stat.st_dev;
  SNAP_TRY_SYS_VOID(sys::RemoveTree(lock_, kWorkName), "empty the work directory");
  SNAP_TRY_SYS_VOID(sys::MkdirAt(lock_, kWorkName, 0700), "make '{}' in the work directory", kWorkName);
  SNAP_TRY_SYS(UniqueFd opened, sys::OpenAt(lock_, kWorkName, O_RDONLY | O_DIRECTORY | O_NOFOLLOW),
               "open '{}' in the work directory", kWorkName);
  work_ = std::make_shared<const UniqueFd>(std::move(opened));

  UseMarks(options.user_xattr ? *options.user_xattr
                              : !sys::FSetXattr(work(), whiteout::kOpaqueXattr,
                                                std::as_bytes(std::span(whiteout::kOpaqueValue))).ok());

  const std::string probe = NewName();
  const SysResult<void> device = sys::MknodAt(work(), probe.c_str(), S_IFCHR | 0000, 0);
  if (device.ok()) (void)sys::UnlinkAt(work(), probe.c_str());  // the next mount would empty the directory
  whiteouts_ = options.whiteouts.value_or(device.ok() ? WhiteoutForm::kDevice : WhiteoutForm::kFile);
  if (whiteouts_ == WhiteoutForm::kDevice && !device.ok()) return Error(device.error(), "make a whiteout device");
  return {};
}

void UpperLayer::UseMarks(bool user_xattr) {
  user_xattr_ = user_xattr;
  prefix_ = user_xattr ? "user.overlay." : "trusted.overlay.";
}

std::string UpperLayer::NewName() { return "#" + std::to_string(next_name_.fetch_add(1, std::memory_order_relaxed)); }

SysResult<UpperLayer::Forms> UpperLayer::FindForms(FdRef directory) const {
  SNAP_TRY(const std::vector<sys::DirEntry> entries, sys::ListDir(directory));
  Forms forms;
  forms.files = whiteouts_ == WhiteoutForm::kFile;
  for (const sys::DirEntry& entry : entries) forms.files = forms.files || IsReservedName(entry.name);
  const SysResult<std::string> mark = sys::GetXattrAt(directory, ".", MarkName("opaque").c_str());
  forms.xattrs = mark.ok() && *mark == "x";
  return forms;
}

SysResult<UpperLayer::Name> UpperLayer::Look(const DirFds::Pin& directory, const std::string& name, Forms forms) const {
  if (IsReservedName(name)) return Name{};
  const UpperFile file(directory, name);
  SysResult<FileStat> stat = file.Stat();
  if (stat.ok()) {
    if (whiteout::IsOverlayWhiteout(stat->st.st_mode, stat->st.st_rdev)) return Name{Name::Kind::kWhiteout, {}};
    if (forms.xattrs && S_ISREG(stat->st.st_mode) && stat->st.st_size == 0 && file.GetXattr(MarkName("whiteout")).ok()) {
      return Name{Name::Kind::kWhiteout, {}};
    }
    return Name{Name::Kind::kPresent, *stat};
  }
  if (!(stat.error() == ENOENT)) return stat.error();
  if (forms.files && name.size() + whiteout::kPrefix.size() <= 255 &&
      sys::StatAt(*directory, FileWhiteoutName(name).c_str()).ok()) {
    return Name{Name::Kind::kWhiteout, {}};
  }
  return Name{};
}

// Whiteouts are links to one inode, as long as the file system lets it have more.
SysResult<void> UpperLayer::LinkWhiteout(FdRef directory, const std::string& name) {
  const std::lock_guard lock(whiteout_mutex_);
  for (bool fresh = false;; fresh = true) {
    if (whiteout_.empty()) {
      std::string made = NewName();
      SNAP_TRY_VOID(sys::MknodAt(work(), made.c_str(), S_IFCHR | 0000, 0));
      whiteout_ = std::move(made);
      fresh = true;
    }
    const SysResult<void> linked = sys::LinkAt(work(), whiteout_.c_str(), directory, name.c_str());
    if (linked.ok() || fresh || !(linked.error() == EMLINK)) return linked;
    (void)sys::UnlinkAt(work(), whiteout_.c_str());  // its other names stay
    whiteout_.clear();
  }
}

SysResult<void> UpperLayer::MakeWhiteout(FdRef directory, const std::string& name) {
  if (whiteouts_ == WhiteoutForm::kDevice) return LinkWhiteout(directory, name);
  SNAP_TRY(const UniqueFd made,
           sys::OpenAt(directory, FileWhiteoutName(name).c_str(), O_CREAT | O_WRONLY | O_NOFOLLOW, 0600));
  return {};
}

SysResult<void> UpperLayer::RemoveFileWhiteout(FdRef directory, const std::string& name) {
  return sys::UnlinkAt(directory, FileWhiteoutName(name).c_str());
}

SysResult<void> UpperLayer::ReplaceByWhiteout(FdRef directory, const std::string& name, bool is_directory) {
  if (whiteouts_ == WhiteoutForm::kFile) {
    // While both are there the name is seen, so the order is right.
    SNAP_TRY_VOID(MakeWhiteout(directory, name));
    return is_directory ? RemoveEmptyDirectory(directory, name) : sys::UnlinkAt(directory, name.c_str());
  }
  const std::string prepared = NewName();
  SNAP_TRY_VOID(LinkWhiteout(work(), prepared));
  // rename(2) of one link over another of the same inode does nothing: the old name may not be a whiteout, and is not.
  const SysResult<void> moved =
      sys::RenameAt(work(), prepared.c_str(), directory, name.c_str(), is_directory ? RENAME_EXCHANGE : 0);
  if (!moved.ok() || is_directory) {
    const SysResult<void> cleaned = sys::RemoveTree(work(), prepared.c_str());
    if (moved.ok()) return cleaned;
  }
  return moved;
}

SysResult<void> UpperLayer::RemoveEmptyDirectory(FdRef directory, const std::string& name) {
  const SysResult<void> removed = sys::UnlinkAt(directory, name.c_str(), AT_REMOVEDIR);
  if (removed.ok() || !(removed.error() == ENOTEMPTY || removed.error() == EEXIST)) return removed;
  const std::string aside = NewName();
  SNAP_TRY_VOID(sys::RenameAt(directory, name.c_str(), work(), aside.c_str()));
  return sys::RemoveTree(work(), aside.c_str());
}

SysResult<void> UpperLayer::ClearDirectory(FdRef directory, const std::string& name, const FileStat& stat) {
  const std::string prepared = NewName();
  SNAP_TRY_VOID(sys::MkdirAt(work(), prepared.c_str(), 0700));
  const auto swap = [&]() -> SysResult<void> {
    SNAP_TRY_VOID(sys::SetXattrAt(work(), prepared.c_str(), MarkName("opaque").c_str(),
                                  std::as_bytes(std::span(whiteout::kOpaqueValue))));
    SNAP_TRY_VOID(sys::FChownAt(work(), prepared.c_str(), stat.st.st_uid, stat.st.st_gid));
    SNAP_TRY_VOID(sys::FChmodAt(work(), prepared.c_str(), stat.st.st_mode & 07777U));
    return sys::RenameAt(work(), prepared.c_str(), directory, name.c_str(), RENAME_EXCHANGE);
  };
  const SysResult<void> swapped = swap();
  const SysResult<void> cleaned = sys::RemoveTree(work(), prepared.c_str());
  return swapped.ok() ? cleaned : swapped;
}

SysResult<void> UpperLayer::Place(FdRef from, const std::string& prepared, bool is_directory, FdRef directory,
                                  const std::string& name, bool over_whiteout) {
  if (!over_whiteout) return sys::RenameAt(from, prepared.c_str(), directory, name.c_str(), RENAME_NOREPLACE);
  const SysResult<struct stat> hidden_by = sys::StatAt(directory, name.c_str());
  if (hidden_by.ok()) {
    SNAP_TRY_VOID(sys::RenameAt(from, prepared.c_str(), directory, name.c_str(), is_directory ? RENAME_EXCHANGE : 0));
    if (is_directory) return sys::UnlinkAt(from, prepared.c_str());
    return {};
  }
  // A ".wh." file: while both are there the name is seen.
  SNAP_TRY_VOID(sys::RenameAt(from, prepared.c_str(), directory, name.c_str(), RENAME_NOREPLACE));
  return RemoveFileWhiteout(directory, name);
}

SysResult<void> UpperLayer::PlaceUnnamed(FdRef file, FdRef directory, const std::string& name, bool over_whiteout) {
  if (!over_whiteout) return sys::LinkFd(file, directory, name.c_str());
  const std::string prepared = NewName();
  SNAP_TRY_VOID(sys::LinkFd(file, work(), prepared.c_str()));
  const SysResult<void> placed = Place(work(), prepared, false, directory, name, true);
  if (!placed.ok()) (void)sys::UnlinkAt(work(), prepared.c_str());  // the first error counts
  return placed;
}

SysResult<void> UpperLayer::MarkOpaque(const UpperFile& directory) const {
  return directory.SetXattr(MarkName("opaque"), whiteout::kOpaqueValue);
}

SysResult<bool> UpperLayer::IsOpaque(const DirFds::Pin& parent, const std::string& name) const {
  const UpperFile directory(parent, name);
  for (const std::string& mark : {MarkName("opaque"), std::string("user.fuseoverlayfs.opaque")}) {
    const SysResult<std::string> value = directory.GetXattr(mark);
    if (value.ok() && *value == whiteout::kOpaqueValue) return true;
    if (!value.ok() && !IsMissing(value.error())) return value.error();
  }
  return sys::StatAt(*parent, (name + "/" + std::string(whiteout::kOpaqueName)).c_str()).ok();
}

SysResult<void> UpperLayer::MarkImpure(const UpperFile& directory) const {
  return directory.SetXattr(MarkName("impure"), whiteout::kOpaqueValue);
}

SysResult<bool> UpperLayer::IsImpure(const UpperFile& directory) const {
  const SysResult<std::string> value = directory.GetXattr(MarkName("impure"));
  if (!value.ok() && !IsMissing(value.error())) return value.error();
  return value.ok();
}

SysResult<void> UpperLayer::StoreNumber(const UpperFile& file, uint64_t number) const {
  return file.SetXattr(MarkName(kNumberMark), std::to_string(number));
}

SysResult<uint64_t> UpperLayer::LoadNumber(const UpperFile& file) const {
  const SysResult<std::string> text = file.GetXattr(MarkName(kNumberMark));
  if (!text.ok()) {
    if (IsMissing(text.error())) return uint64_t{0};
    return text.error();
  }
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), number);
  if (error != std::errc() || end != text->data() + text->size()) return uint64_t{0};  // not ours: as if there were none
  return number;
}

}  // namespace snap::fuse
