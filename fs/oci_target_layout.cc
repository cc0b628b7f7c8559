// Layouts: a new one is made beside its name and renamed; one that exists gets blobs, which nobody sees
// before index.json, replaced last, names them.
#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <vector>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "fs/oci_documents.h"
#include "fs/oci_target.h"
#include "fs/oci_transports.h"

namespace snap::oci {
namespace {

constexpr mode_t kFileMode = 0600;  // as in archives: an image may hold secrets
constexpr mode_t kDirectoryMode = 0700;
constexpr char kVersionFile[] = "oci-layout";
constexpr char kVersionText[] = R"({"imageLayoutVersion":"1.0.0"})";
constexpr char kIndexFile[] = "index.json";

class LayoutTarget final : public Target {
 public:
  /// A layout that exists.
  LayoutTarget(UniqueFd dir, std::string path) : dir_(std::move(dir)), path_(std::move(path)) {}
  /// A new one, to be renamed from `temporary` to `name`, both in `parent`.
  LayoutTarget(UniqueFd dir, std::string path, UniqueFd parent, std::string temporary, std::string name)
      : dir_(std::move(dir)),
        path_(std::move(path)),
        parent_(std::move(parent)),
        temporary_(std::move(temporary)),
        name_(std::move(name)) {}

  ~LayoutTarget() override {
    // What cannot be taken back stays: a blob that nothing refers to, a directory with a name of ours.
    if (!temporary_.empty()) (void)sys::RemoveTree(parent_, temporary_.c_str());
    for (const std::string& name : added_) (void)sys::UnlinkAt(dir_, name.c_str());
  }
  LayoutTarget(const LayoutTarget&) = delete;
  LayoutTarget& operator=(const LayoutTarget&) = delete;

  Result<void> Add(const std::string& name, uint64_t size, ByteSource& bytes) override {
    SNAP_TRY(OutputFile file, Spool());
    std::vector<std::byte> buffer(std::min<uint64_t>(size + 1, size_t{1} << 20U));
    for (;;) {
      SNAP_TRY(const size_t got, bytes.Read(buffer));
      if (got == 0) break;
      SNAP_TRY_SYS_VOID(sys::WriteAll(file.fd(), std::span(buffer).first(got)), "write {}",
                        Quote(path_ + "/" + name));
    }
    return AddSpooled(name, std::move(file), size);
  }

  Result<OutputFile> Spool() override { return OutputFile::Create(dir_, kFileMode, path_); }

  Result<void> AddSpooled(const std::string& name, OutputFile file, uint64_t) override {
    for (size_t slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1)) {
      const std::string parent = name.substr(0, slash);
      const SysResult<void> made = sys::MkdirAt(dir_, parent.c_str(), kDirectoryMode);
      if (!made.ok() && made.error() != EEXIST)
        return Error(made.error(), fmt::format("make {}", Quote(path_ + "/" + parent)));
    }
    // A blob that is there already has this digest, or is damaged: either way this one is as good.
    const bool is_new = !sys::StatAt(dir_, name.c_str()).ok();
    SNAP_TRY_VOID(file.Publish(name, true));
    if (is_new) added_.push_back(name);
    return {};
  }

  Result<std::optional<std::string>> ExistingIndex() override {
    if (!temporary_.empty()) return std::optional<std::string>();
    const SysResult<UniqueFd> file = sys::OpenBeneath(dir_, kIndexFile, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (!file.ok()) return Error(file.error(), fmt::format("open {}", Quote(path_ + "/" + kIndexFile)));
    SNAP_TRY_SYS(std::string text, sys::ReadAll(*file, kMaxManifestBytes), "read {}",
                 Quote(path_ + "/" + kIndexFile));
    return std::optional<std::string>(std::move(text));
  }

  Result<void> Commit(const std::string& last_name, std::string_view last_content) override {
    SNAP_TRY(OutputFile last, Spool());
    SNAP_TRY_SYS_VOID(sys::WriteAll(last.fd(), last_content), "write {}", Quote(path_ + "/" + last_name));
    SNAP_TRY_SYS_VOID(sys::SyncFs(dir_), "flush {}", Quote(path_));
    SNAP_TRY_VOID(last.Publish(last_name, true));
    SNAP_TRY_SYS_VOID(sys::Fsync(dir_), "flush {}", Quote(path_));
    added_.clear();
    if (temporary_.empty()) return {};
    // Plain rename: it takes the place of nothing or of an empty directory.
    const SysResult<void> renamed = sys::RenameAt(parent_, temporary_.c_str(), parent_, name_.c_str());
    if (!renamed.ok()) {
      if (renamed.error() == ENOTEMPTY || renamed.error() == EEXIST || renamed.error() == ENOTDIR) {
        return MakeError(ErrorCode::kExists, "write {}: it exists already", Quote(path_));
      }
      return Error(renamed.error(), fmt::format("write {}", Quote(path_)));
    }
    temporary_.clear();
    SNAP_TRY_SYS_VOID(sys::Fsync(parent_), "flush the directory of {}", Quote(path_));
    return {};
  }

 private:
  const UniqueFd dir_;
  const std::string path_;
  const UniqueFd parent_;
  std::string temporary_;  // "" when the layout existed before, and once it has its name
  const std::string name_;
  std::vector<std::string> added_;  // to a layout that existed before
};

Result<std::unique_ptr<Target>> NewLayout(const std::string& path) {
  const size_t slash = path.rfind('/');
  std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  const std::string parent_path = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  if (name.empty() || name == "." || name == "..") {
    return MakeError(ErrorCode::kInvalidArgument, "write {}: it is no name of a directory", Quote(path));
  }
  SNAP_TRY_SYS(UniqueFd parent, sys::OpenAt(FdRef::Cwd(), parent_path.c_str(), O_RDONLY | O_DIRECTORY),
               "open {}", Quote(parent_path));
  std::string temporary = ".snap-" + sys::RandomHex128() + ".tmp";
  SNAP_TRY_SYS_VOID(sys::MkdirAt(parent, temporary.c_str(), kDirectoryMode), "make a directory in {}",
                    Quote(parent_path));
  SysResult<UniqueFd> dir = sys::OpenAt(parent, temporary.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!dir.ok()) {
    (void)sys::UnlinkAt(parent, temporary.c_str(), AT_REMOVEDIR);  // the error that matters is the one before
    return Error(dir.error(), fmt::format("make a directory in {}", Quote(parent_path)));
  }
  auto target = std::make_unique<LayoutTarget>(*std::move(dir), path, std::move(parent), std::move(temporary),
                                               std::move(name));
  const std::string_view version(kVersionText);
  const std::unique_ptr<ByteSource> bytes = MakeMemorySource(std::as_bytes(std::span(version)));
  SNAP_TRY_VOID(target->Add(kVersionFile, version.size(), *bytes));
  return std::unique_ptr<Target>(std::move(target));
}

}  // namespace

Result<std::unique_ptr<Target>> MakeLayoutTarget(const std::string& given) {
  std::string path = given;
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  SysResult<UniqueFd> dir = sys::OpenAt(FdRef::Cwd(), path.c_str(), O_RDONLY | O_DIRECTORY);
  if (!dir.ok()) {
    if (dir.error() == ENOENT) return NewLayout(path);
    if (dir.error() == ENOTDIR)
      return MakeError(ErrorCode::kExists, "write {}: it exists and is no directory", Quote(path));
    return Error(dir.error(), fmt::format("open {}", Quote(path)));
  }
  // Two that add at the same time must not both start from the same index.json.
  SNAP_TRY_SYS_VOID(sys::Flock(*dir, LOCK_EX), "lock {}", Quote(path));
  const SysResult<std::string> version = sys::ReadFileAt(*dir, kVersionFile, 4096);
  if (!version.ok()) {
    if (version.error() != ENOENT)
      return Error(version.error(), fmt::format("read {}", Quote(path + "/" + kVersionFile)));
    SNAP_TRY_SYS(const std::vector<sys::DirEntry> entries, sys::ListDir(*dir), "list {}", Quote(path));
    if (entries.empty()) return NewLayout(path);
    return MakeError(ErrorCode::kExists,
                     "write {}: it is a directory with something else than an OCI image layout", Quote(path));
  }
  SNAP_TRY_VOID(CheckLayoutVersion(*version, path + "/" + kVersionFile));
  return std::unique_ptr<Target>(std::make_unique<LayoutTarget>(*std::move(dir), std::move(path)));
}

}  // namespace snap::oci
