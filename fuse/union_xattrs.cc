// Xattrs: what is stored, less the union's own marks, which are hidden; a mark that belongs to somebody inside (an overlay in a container)
// is stored escaped and shown as it was set.
#include <sys/stat.h>
#include <sys/xattr.h>

#include "fuse/union_impl.h"

namespace snap::fuse {
namespace {

constexpr const char* kDefaultAclXattr = "system.posix_acl_default";

}  // namespace

SysResult<std::string> UnionFs::GetXattr(NodeId id, const std::string& name) {
  SNAP_TRY(const NodeRef node, impl_->Get(id));
  if (impl_->options_.no_xattrs) return Errno(EOPNOTSUPP);
  const std::optional<std::string> stored = impl_->xattrs_.Stored(name);
  if (!stored) return Errno(ENODATA);
  const std::lock_guard lock(node->mutex);
  if (node->upper.load(std::memory_order_acquire)) {
    SNAP_TRY(const UpperFile file, impl_->UpperOf(node));
    return file.GetXattr(*stored);
  }
  if (node->IsDirectory()) return node->directory->lowers.front()->GetXattrSelf(*stored);
  return node->lower_directory->GetXattr(node->lower_name, *stored);
}

SysResult<std::vector<std::string>> UnionFs::ListXattr(NodeId id) {
  SNAP_TRY(const NodeRef node, impl_->Get(id));
  if (impl_->options_.no_xattrs) return Errno(EOPNOTSUPP);
  const auto list = [&]() -> SysResult<std::vector<std::string>> {
    const std::lock_guard lock(node->mutex);
    if (node->upper.load(std::memory_order_acquire)) {
      SNAP_TRY(const UpperFile file, impl_->UpperOf(node));
      return file.ListXattr();
    }
    if (node->IsDirectory()) return node->directory->lowers.front()->ListXattrSelf();
    return node->lower_directory->ListXattr(node->lower_name);
  };
  SNAP_TRY(const std::vector<std::string> stored, list());
  std::vector<std::string> shown;
  shown.reserve(stored.size());
  for (const std::string& name : stored) {
    if (std::optional<std::string> outside = impl_->xattrs_.Shown(name)) shown.push_back(std::move(*outside));
  }
  return shown;
}

SysResult<void> UnionFs::SetXattr(NodeId id, const std::string& name, std::string_view value, int flags) {
  SNAP_TRY(const NodeRef node, impl_->Get(id));
  if (impl_->options_.no_xattrs) return Errno(EOPNOTSUPP);
  if (!impl_->writable()) return Errno(EROFS);
  const std::optional<std::string> stored = impl_->xattrs_.Stored(name);
  if (!stored) return Errno(EPERM);
  SNAP_TRY_VOID(impl_->EnsureUpper(node, Impl::kMetadata));
  const std::lock_guard lock(node->mutex);
  SNAP_TRY(const UpperFile file, impl_->UpperOf(node));
  SNAP_TRY_VOID(file.SetXattr(*stored, value, flags));
  if (node->IsDirectory() && name == kDefaultAclXattr) node->directory->default_acl.store(0, std::memory_order_release);
  return {};
}

SysResult<void> UnionFs::RemoveXattr(NodeId id, const std::string& name) {
  SNAP_TRY(const NodeRef node, impl_->Get(id));
  if (impl_->options_.no_xattrs) return Errno(EOPNOTSUPP);
  if (!impl_->writable()) return Errno(EROFS);
  const std::optional<std::string> stored = impl_->xattrs_.Stored(name);
  if (!stored) return Errno(ENODATA);
  // What is not there is not worth a copy.
  if (!node->upper.load(std::memory_order_acquire)) SNAP_TRY_VOID(GetXattr(id, name));
  SNAP_TRY_VOID(impl_->EnsureUpper(node, Impl::kMetadata));
  const std::lock_guard lock(node->mutex);
  SNAP_TRY(const UpperFile file, impl_->UpperOf(node));
  SNAP_TRY_VOID(file.RemoveXattr(*stored));
  if (node->IsDirectory() && name == kDefaultAclXattr) node->directory->default_acl.store(0, std::memory_order_release);
  return {};
}

}  // namespace snap::fuse
