// Opening a union: the root node over all layers, and what can be written here.
#include <fcntl.h>
#include <sys/resource.h>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "fuse/union_impl.h"

namespace snap::fuse {
namespace {

size_t DirectoryDescriptors(const UnionOptions& options) {
  if (options.directory_descriptors != 0) return options.directory_descriptors;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 256;
  return std::max<size_t>(16, std::min<size_t>(limit.rlim_cur, size_t{1} << 20U) / 4);
}

}  // namespace

UnionFs::Impl::Impl(const UnionOptions& options, std::shared_ptr<DirFds> fds, BackingFiles* backing)
    : options_(options), backing_(backing), fds_(std::move(fds)) {}

Result<void> UnionFs::Impl::Open(std::vector<Layer> layers_top_first, std::optional<UnionFs::Upper> upper) {
  layers_ = std::move(layers_top_first);
  if (layers_.empty() && !upper) return MakeError(ErrorCode::kInvalidArgument, "a union needs a layer");
  own_uid_ = sys::EffectiveUid();
  own_gid_ = sys::EffectiveGid();
  sys::FillRandom(std::as_writable_bytes(std::span(&listing_seed_, 1)));
  if (upper) {
    SNAP_TRY(upper_, UpperLayer::Open(std::move(upper->upper), std::move(upper->work), options_));
    SNAP_TRY_SYS(UniqueFd root, sys::OpenAt(upper_->root(), ".", O_PATH | O_DIRECTORY), "open the upper directory");
    root_pin_ = std::make_shared<const UniqueFd>(std::move(root));
  }
  const bool user_xattr = upper_ != nullptr ? upper_->user_xattr() : options_.user_xattr.value_or(own_uid_ != 0);
  xattrs_ = OverlayXattrs(user_xattr, options_.xattr_permissions);
  numbers_ = InodeNumbers(upper_ != nullptr ? upper_->device() : layers_.front().file_system);

  root_ = NewNode(S_IFDIR, 0);
  SNAP_CHECK(root_->id == kRootNode);
  for (const Layer& layer : layers_) {
    root_->directory->lowers.push_back(layer.root);
    SNAP_TRY_SYS(const bool opaque, IsOpaque(*layer.root), "look at the root of a layer");
    if (opaque) break;
  }
  if (upper_ != nullptr) {
    root_->upper = true;
    SNAP_TRY_SYS(const bool opaque, upper_->IsOpaque(root_pin_, "."), "look at the upper's root");
    if (opaque) root_->directory->lowers.clear();
    SNAP_TRY_SYS(const bool impure, upper_->IsImpure(UpperFile(root_pin_, ".")), "look at the upper's root");
    root_->directory->impure = impure;
  }
  if (!root_->directory->lowers.empty()) {
    const std::shared_ptr<LayerDir>& top = root_->directory->lowers.front();
    SNAP_TRY_SYS(const FileStat stat, top->StatSelf(), "look at the root of a layer");
    root_->inode = NumberOf(top->file_system(), stat.st.st_ino);
  } else {
    SNAP_TRY_SYS(const struct stat stat, sys::FStat(upper_->root()), "look at the upper directory");
    root_->inode = NumberOf(stat.st_dev, stat.st_ino);
  }
  table_.CountLookup(root_);

  traits_.writable = writable();
  traits_.user_xattr = user_xattr;
  traits_.whiteouts = upper_ != nullptr ? upper_->whiteouts() : WhiteoutForm::kDevice;
  traits_.has_acls = !options_.no_acl && !options_.no_xattrs;
  traits_.name_max = traits_.whiteouts == WhiteoutForm::kFile ? 251 : 255;
  return {};
}

UnionFs::UnionFs(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
UnionFs::~UnionFs() = default;

Result<std::unique_ptr<UnionFs>> UnionFs::Open(std::vector<Layer> layers_top_first, std::optional<Upper> upper,
                                               const UnionOptions& options, std::shared_ptr<DirFds> fds,
                                               BackingFiles* backing) {
  auto impl = std::make_unique<Impl>(options, std::move(fds), backing);
  SNAP_TRY_VOID(impl->Open(std::move(layers_top_first), std::move(upper)));
  return std::unique_ptr<UnionFs>(new UnionFs(std::move(impl)));
}

std::shared_ptr<DirFds> UnionFs::MakeDirFds(const UnionOptions& options) {
  return std::make_shared<DirFds>(DirectoryDescriptors(options));
}

const UnionTraits& UnionFs::traits() const { return impl_->traits_; }

SysResult<std::string> UnionFs::ReadLink(NodeId id) {
  SNAP_TRY(const NodeRef node, impl_->Get(id));
  if (!S_ISLNK(node->type)) return Errno(EINVAL);
  const std::lock_guard lock(node->mutex);
  if (!node->upper.load(std::memory_order_acquire)) return node->lower_directory->ReadLink(node->lower_name);
  SNAP_TRY(const UpperFile file, impl_->UpperOf(node));
  return file.ReadLink();
}

}  // namespace snap::fuse
