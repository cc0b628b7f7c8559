// What an entry does to what is already there. Names are tried first and looked at only when the kernel says
// EEXIST, since nearly every name of a layer is new.
#include "fs/tree_writer.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/whiteout.h"

namespace snap {
namespace {

constexpr uint64_t kBlockBytes = 4096;
constexpr size_t kFastSymlinkBytes = 60;  // ext4 keeps shorter targets in the inode
constexpr mode_t kImpliedPermissions = 0755;
constexpr mode_t kOwnerAll = 0700;        // while staging: directories without them must still take entries
constexpr uint64_t kRecordOverhead = 64;  // a map node and its allocation, roughly
constexpr const char* kProbeName = ".snap-probe";

UniqueFd OpenRoot(FdRef root_dir, std::optional<Error>& failed) {
  auto root = sys::OpenAt(root_dir, ".", O_RDONLY | O_DIRECTORY);
  if (root.ok()) return std::move(*root);
  failed.emplace(root.error(), "open the root of a layer");
  return UniqueFd();
}

Error NotADirectory(std::string_view parent, const RelPath& path) {
  return MakeError(ErrorCode::kInvalidArgument, "create {}: {} is not a directory in this layer",
                   Quote(path.str()), Quote(parent));
}

// The name of a path as the kernel wants it: the end of a C string.
const char* CName(const RelPath& path) { return path.Name().data(); }

bool IsBelow(const RelPath& path, const RelPath& ancestor) {
  const std::string& p = path.str();
  const std::string& a = ancestor.str();
  return p.size() > a.size() && p.starts_with(a) && (a.empty() || p[a.size()] == '/');
}

std::pair<std::string_view, std::string_view> SplitFirst(std::string_view path) {
  const size_t slash = path.find('/');
  return {path.substr(0, slash),
          slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1)};
}

uint64_t Size(const Attributes& attributes) {
  uint64_t size = 0;
  for (const Xattr& xattr : attributes.xattrs) size += sizeof xattr + xattr.name.size() + xattr.value.size();
  return size;
}

}  // namespace

TreeWriter::TreeWriter(FdRef root_dir, std::unique_ptr<IoEngine> engine, const TreeWriterOptions& options)
    : options_(options),
      engine_(std::move(engine)),
      directories_(OpenRoot(root_dir, failed_), options.max_open_directories) {
  if (!failed_.has_value()) (void)Latch(Prepare());  // kept in failed_
}

TreeWriter::~TreeWriter() = default;

// Makes sure that what is created inherits nothing but the process' ids, and measures those.
Result<void> TreeWriter::Prepare() {
  TreeDirectory& root = directories_.root();
  SNAP_TRY(const FdRef fd, directories_.Open(root));
  SNAP_TRY_SYS_VOID(sys::FChmod(fd, kOwnerAll), "prepare the root of a layer");
  if (const auto removed = sys::FRemoveXattr(fd, "system.posix_acl_default");
      !removed.ok() && !(removed.error() == ENODATA) && !(removed.error() == EOPNOTSUPP)) {
    return Error(removed.error(), "remove the default ACL of the root of a layer");
  }
  SNAP_TRY_SYS(const struct stat root_stat, sys::FStat(fd), "stat the root of a layer");
  SNAP_TRY_SYS_VOID(sys::MkdirAt(fd, kProbeName, 0777), "create a directory in the root of a layer");
  SNAP_TRY_SYS(const struct stat probe, sys::StatAt(fd, kProbeName), "stat a new directory of a layer");
  SNAP_TRY_SYS_VOID(sys::UnlinkAt(fd, kProbeName, AT_REMOVEDIR), "remove a new directory of a layer");
  defaults_ = {probe.st_uid, probe.st_gid, 0777U & ~probe.st_mode};
  root_defaults_ = {root_stat.st_uid, root_stat.st_gid, 0};
  root.permissions_on_disk = kOwnerAll;
  root.attributes.permissions = kImpliedPermissions;
  return {};
}

Result<void> TreeWriter::Usable() const {
  if (failed_.has_value()) return *failed_;
  SNAP_CHECK(!finished_ && !file_.has_value());
  return {};
}

Result<void> TreeWriter::Charge(uint64_t bytes) {
  memory_bytes_ += bytes;
  if (memory_bytes_ <= options_.max_memory_bytes) return {};
  return MakeError(
      ErrorCode::kLimitExceeded,
      "layer has more directories, whiteouts and links into lower layers than fit {} bytes of memory",
      options_.max_memory_bytes);
}

// --- names ---

Result<TreeName*> TreeWriter::RecordOf(TreeDirectory& parent, std::string_view name) {
  if (TreeName* record = TreeDirectories::Find(parent, name)) return record;
  SNAP_TRY_VOID(Charge(sizeof(TreeName) + name.size() + kRecordOverhead));
  return &TreeDirectories::Record(parent, name);
}

Result<TreeDirectory*> TreeWriter::ParentOf(const RelPath& path) {
  const std::string_view parent_path = path.ParentView();
  if (last_parent_ != nullptr && parent_path == last_parent_path_) return last_parent_;
  TreeDirectory* at = &directories_.root();
  for (std::string_view rest = parent_path; !rest.empty();) {
    const auto [name, below] = SplitFirst(rest);
    SNAP_TRY(at, Enter(*at, name, path));
    rest = below;
  }
  last_parent_path_ = parent_path;
  last_parent_ = at;
  return at;
}

// The directory `name`, made when neither the layer named it nor an entry before implied it.
Result<TreeDirectory*> TreeWriter::Enter(TreeDirectory& parent, std::string_view name, const RelPath& path) {
  bool replaces = false;
  if (const TreeName* record = TreeDirectories::Find(parent, name)) {
    switch (record->state) {
      case TreeName::State::kDirectory:
        return record->directory.get();
      case TreeName::State::kWhiteout:
        SNAP_TRY_VOID(Vacate(parent, std::string(name).c_str()));
        replaces = true;
        break;
      case TreeName::State::kLowerLink:
        return NotADirectory(TreeDirectories::PathOf(parent, name), path);
      case TreeName::State::kFileOrNothing:
        break;
    }
  }
  Result<TreeDirectory*> made = MakeDirectory(parent, name, kImpliedPermissions, replaces);
  if (!made.ok() && made.error().code() == ErrorCode::kExists) {
    return NotADirectory(TreeDirectories::PathOf(parent, name), path);
  }
  return made;
}

Result<TreeDirectory*> TreeWriter::MakeDirectory(TreeDirectory& parent, std::string_view name,
                                                 mode_t permissions, bool replaces) {
  const std::string c_name(name);
  const mode_t mode = (permissions & 0777U) | kOwnerAll;
  SNAP_TRY(const FdRef dir, directories_.Open(parent));
  SNAP_TRY_SYS_VOID(sys::MkdirAt(dir, c_name.c_str(), mode), "create directory {}",
                    Quote(TreeDirectories::PathOf(parent, name)));
  SNAP_TRY_VOID(Charge(sizeof(TreeDirectory) + sizeof(TreeName) + name.size() + 2 * kRecordOverhead));
  TreeDirectory& made = TreeDirectories::Add(parent, name);
  made.attributes.permissions = kImpliedPermissions;
  made.permissions_on_disk = mode & ~defaults_.cleared;
  made.replaces = replaces;
  ++usage_.entries;
  usage_.disk_bytes += kBlockBytes;
  return &made;
}

// Removes what the records know to be at `name`. A plain file is not known; creating says EEXIST then.
Result<void> TreeWriter::Vacate(TreeDirectory& parent, const char* name) {
  TreeName* record = TreeDirectories::Find(parent, name);
  if (record == nullptr) return {};
  SNAP_TRY(const FdRef dir, directories_.Open(parent));
  switch (record->state) {
    case TreeName::State::kFileOrNothing:
      return {};
    case TreeName::State::kWhiteout:
      SNAP_TRY_SYS_VOID(sys::UnlinkAt(dir, name), "replace whiteout {}", Quote(name));
      --usage_.entries;
      break;
    case TreeName::State::kLowerLink:
      record->link_target.reset();
      --usage_.entries;
      break;
    case TreeName::State::kDirectory:
      last_parent_ = nullptr;  // no caller leaves it below the name today, but it would dangle
      directories_.Forget(*record);
      recount_ = true;
      SNAP_TRY_SYS_VOID(sys::RemoveTree(dir, name), "replace directory {}", Quote(name));
      break;
  }
  record->state = TreeName::State::kFileOrNothing;
  return {};
}

// Puts something that is not a directory at `path`. `create` gets the directory's descriptor and the name; it
// is called again after the file of an earlier entry was removed.
template <typename Create>
Result<void> TreeWriter::Put(const RelPath& path, Create create) {
  if (path.IsRoot())
    return MakeError(ErrorCode::kInvalidArgument, "the root of a layer can only be a directory");
  SNAP_TRY(TreeDirectory * parent, ParentOf(path));
  const char* const name = CName(path);
  SNAP_TRY_VOID(Vacate(*parent, name));
  SNAP_TRY(const FdRef dir, directories_.Open(*parent));
  Result<void> created = create(dir, name);
  if (!created.ok() && created.error().code() == ErrorCode::kExists) {
    SNAP_TRY_SYS_VOID(sys::UnlinkAt(dir, name), "replace {}", Quote(path.str()));
    recount_ = true;
    created = create(dir, name);
  }
  if (created.ok()) ++usage_.entries;
  return created;
}

// --- entries ---

Result<void> TreeWriter::Directory(const RelPath& path, const Attributes& attributes) {
  SNAP_TRY_VOID(Usable());
  return Latch(PutDirectory(path, attributes));
}

Result<void> TreeWriter::PutDirectory(const RelPath& path, const Attributes& attributes) {
  SNAP_TRY_VOID(Charge(Size(attributes)));
  TreeDirectory* directory = &directories_.root();
  if (!path.IsRoot()) {
    SNAP_TRY(TreeDirectory * parent, ParentOf(path));
    const char* const name = CName(path);
    const TreeName* record = TreeDirectories::Find(*parent, name);
    if (record != nullptr && record->state == TreeName::State::kDirectory) {
      directory = record->directory.get();
    } else {
      const bool replaces = record != nullptr && record->state != TreeName::State::kFileOrNothing;
      SNAP_TRY_VOID(Vacate(*parent, name));
      auto made = MakeDirectory(*parent, name, CreationMode(attributes), replaces);
      if (!made.ok() && made.error().code() == ErrorCode::kExists) {
        SNAP_TRY(const FdRef dir, directories_.Open(*parent));
        SNAP_TRY_SYS_VOID(sys::UnlinkAt(dir, name), "replace {}", Quote(path.str()));
        recount_ = true;
        made = MakeDirectory(*parent, name, CreationMode(attributes), true);
      }
      SNAP_TRY(directory, std::move(made));
    }
  }
  directory->attributes = attributes;
  directory->named = true;
  return {};
}

Result<void> TreeWriter::Symlink(const RelPath& path, std::string_view target, const Attributes& attributes) {
  SNAP_TRY_VOID(Usable());
  if (target.find('\0') != std::string_view::npos) {
    return Latch(Result<void>(MakeError(ErrorCode::kInvalidArgument,
                                        "symlink {} has a NUL byte in its target", Quote(path.str()))));
  }
  if (target.size() >= kFastSymlinkBytes) usage_.disk_bytes += kBlockBytes;
  const std::string c_target(target);
  return Latch(Put(path, [&](FdRef dir, const char* name) -> Result<void> {
    SNAP_TRY_SYS_VOID(sys::SymlinkAt(c_target.c_str(), dir, name), "create symlink {}", Quote(path.str()));
    return ApplyAttributesAt(dir, name, FileType::kSymlink, attributes, defaults_);
  }));
}

Result<void> TreeWriter::Node(const RelPath& path, FileType type, dev_t device,
                              const Attributes& attributes) {
  SNAP_TRY_VOID(Usable());
  return Latch(PutNode(path, type, device, attributes));
}

Result<void> TreeWriter::PutNode(const RelPath& path, FileType type, dev_t device,
                                 const Attributes& attributes) {
  mode_t format = 0;
  switch (type) {
    case FileType::kCharDevice:
      format = S_IFCHR;
      break;
    case FileType::kBlockDevice:
      format = S_IFBLK;
      break;
    case FileType::kFifo:
      format = S_IFIFO;
      device = 0;
      break;
    default:
      return MakeError(ErrorCode::kInvalidArgument, "node {} is neither a device nor a fifo",
                       Quote(path.str()));
  }
  if (type == FileType::kCharDevice && device == 0) {
    return MakeError(ErrorCode::kInvalidArgument, "device {} is 0:0, which is overlayfs' whiteout",
                     Quote(path.str()));
  }
  return Put(path, [&](FdRef dir, const char* name) -> Result<void> {
    SNAP_TRY_SYS_VOID(sys::MknodAt(dir, name, format | CreationMode(attributes), device), "create node {}",
                      Quote(path.str()));
    return ApplyAttributesAt(dir, name, type, attributes, defaults_);
  });
}

Result<void> TreeWriter::BeginFile(const RelPath& path, const Attributes& attributes, uint64_t size) {
  SNAP_TRY_VOID(Usable());
  SNAP_TRY_VOID(Latch(Put(path, [&](FdRef dir, const char*) -> Result<void> {
    SNAP_TRY(file_, engine_->Create(dir, path.Name(), attributes, size));
    return {};
  })));
  file_blocks_end_ = 0;
  usage_.data_bytes += size;
  return {};
}

Result<void> TreeWriter::WriteData(uint64_t offset, std::span<const std::byte> data) {
  if (failed_.has_value()) return *failed_;
  SNAP_CHECK(file_.has_value());
  SNAP_TRY_VOID(Latch(engine_->Write(*file_, offset, data)));
  const uint64_t end = (offset + data.size() + kBlockBytes - 1) / kBlockBytes;
  const uint64_t begin = std::max(offset / kBlockBytes, file_blocks_end_);
  if (end > begin && !data.empty()) {
    usage_.disk_bytes += (end - begin) * kBlockBytes;
    file_blocks_end_ = end;
  }
  return {};
}

Result<void> TreeWriter::EndFile() {
  if (failed_.has_value()) return *failed_;
  SNAP_CHECK(file_.has_value());
  return Latch(engine_->Close(*std::exchange(file_, std::nullopt)));
}

// --- hard links ---

Result<void> TreeWriter::HardLink(const RelPath& path, const RelPath& target) {
  SNAP_TRY_VOID(Usable());
  return Latch(PutHardLink(path, target));
}

Result<void> TreeWriter::PutHardLink(const RelPath& path, const RelPath& target) {
  const auto refuse = [&](std::string_view why) {
    return MakeError(ErrorCode::kInvalidArgument, "hard link {} to {}, {}", Quote(path.str()),
                     Quote(target.str()), why);
  };
  if (path.IsRoot()) return refuse("but the root of a layer can only be a directory");
  if (target.IsRoot()) return refuse("which is a directory");
  if (IsBelow(target, path)) return refuse("which lies below it");
  SNAP_TRY(const Target found, FindTarget(target, path));
  if (found.record != nullptr) {
    switch (found.record->state) {
      case TreeName::State::kDirectory:
        return refuse("which is a directory");
      case TreeName::State::kWhiteout:
        return refuse("which this layer removes");
      case TreeName::State::kLowerLink: {
        if (path == target) return {};
        const RelPath lower_target = *found.record->link_target;
        return PutLowerLink(path, lower_target);
      }
      case TreeName::State::kFileOrNothing:
        break;
    }
  }
  const char* const target_name = CName(target);
  if (found.parent != nullptr) {
    SNAP_TRY(const FdRef target_dir, directories_.Open(*found.parent));
    const auto exists = sys::StatAt(target_dir, target_name);
    if (exists.ok()) {
      if (path == target) return {};  // as GNU tar: a link to itself is there already
      return Put(path, [&](FdRef, const char* name) -> Result<void> {
        // Opened again: entering the link's directory may have used up the cache.
        SNAP_TRY(const FdRef old_dir, directories_.Open(*found.parent));
        SNAP_TRY(TreeDirectory * new_parent, ParentOf(path));
        SNAP_TRY(const FdRef new_dir, directories_.Open(*new_parent));
        SNAP_TRY_SYS_VOID(sys::LinkAt(old_dir, target_name, new_dir, name), "create hard link {} to {}",
                          Quote(path.str()), Quote(target.str()));
        return {};
      });
    }
    if (!(exists.error() == ENOENT))
      return Error(exists.error(), fmt::format("stat {}", Quote(target.str())));
  }
  if (path == target) return refuse("which is itself and does not exist");
  return PutLowerLink(path, target);
}

Result<TreeWriter::Target> TreeWriter::FindTarget(const RelPath& target, const RelPath& path) {
  TreeDirectory* at = &directories_.root();
  std::string_view rest = target.str();
  for (;;) {
    const auto [name, below] = SplitFirst(rest);
    TreeName* record = TreeDirectories::Find(*at, name);
    if (below.empty()) return Target{at, record};
    if (record == nullptr || record->state == TreeName::State::kFileOrNothing) {
      SNAP_TRY(const FdRef dir, directories_.Open(*at));
      const auto found = sys::StatAt(dir, std::string(name).c_str());
      if (!found.ok() && found.error() == ENOENT) return Target{};
      return NotADirectory(TreeDirectories::PathOf(*at, name), path);
    }
    if (record->state == TreeName::State::kWhiteout) return Target{};  // refused by Finish
    if (record->state == TreeName::State::kLowerLink) return NotADirectory(target.ParentView(), path);
    at = record->directory.get();
    rest = below;
  }
}

Result<void> TreeWriter::PutLowerLink(const RelPath& path, const RelPath& target) {
  SNAP_TRY_VOID(Charge(target.str().size() + path.str().size() + sizeof(LowerLink)));
  SNAP_TRY_VOID(Put(path, [&](FdRef dir, const char* name) -> Result<void> {
    const auto there = sys::StatAt(dir, name);
    if (!there.ok() && there.error() == ENOENT) return {};
    return Error(there.ok() ? Errno(EEXIST) : there.error(),
                 fmt::format("create hard link {}", Quote(path.str())));
  }));
  SNAP_TRY(TreeDirectory * parent, ParentOf(path));
  SNAP_TRY(TreeName * record, RecordOf(*parent, path.Name()));
  record->state = TreeName::State::kLowerLink;
  record->link_target = std::make_unique<RelPath>(target);
  return {};
}

// --- whiteouts ---

Result<void> TreeWriter::Whiteout(const RelPath& path) {
  SNAP_TRY_VOID(Usable());
  return Latch(PutWhiteout(path));
}

Result<void> TreeWriter::PutWhiteout(const RelPath& path) {
  if (path.IsRoot())
    return MakeError(ErrorCode::kInvalidArgument, "the root of a layer cannot be whited out");
  SNAP_TRY(TreeDirectory * parent, ParentOf(path));
  SNAP_TRY(TreeName * record, RecordOf(*parent, path.Name()));
  record->whited_out = true;
  if (record->state == TreeName::State::kDirectory) record->directory->replaces = true;
  if (record->state != TreeName::State::kFileOrNothing) return {};
  SNAP_TRY(const FdRef dir, directories_.Open(*parent));
  const char* const name = CName(path);
  const auto made = sys::MknodAt(dir, name, S_IFCHR, makedev(0, 0));
  if (!made.ok()) {
    if (made.error() == EEXIST) return {};  // the layer's own file: it stays
    return Error(made.error(), fmt::format("create whiteout {}", Quote(path.str())));
  }
  record->state = TreeName::State::kWhiteout;
  ++usage_.entries;
  SNAP_TRY_SYS_VOID(sys::SetTimesAt(dir, name, {}), "set the times of whiteout {}", Quote(path.str()));
  return {};
}

Result<void> TreeWriter::OpaqueDirectory(const RelPath& path) {
  SNAP_TRY_VOID(Usable());
  if (path.IsRoot()) {
    directories_.root().opaque = true;
    return {};
  }
  auto parent = Latch(ParentOf(path));
  if (!parent.ok()) return std::move(parent).error();
  auto directory = Latch(Enter(**parent, path.Name(), path));
  if (!directory.ok()) return std::move(directory).error();
  (*directory)->opaque = true;
  return {};
}

}  // namespace snap
