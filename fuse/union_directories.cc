// Reading directories without handles. The place in a listing is a cookie made of the name (a keyed hash), so that it means the same
// before and after changes, and whoever goes on behind it neither misses nor repeats a name that stays. Names are listed in the
// order of their cookies. The listing made at the beginning is kept for those who go on, until one of them reaches its end.
#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <unordered_set>

#include "fs/base/sys_file.h"
#include "fs/whiteout.h"
#include "fs/xxhash.h"
#include "fuse/union_impl.h"

namespace snap::fuse {
namespace {

constexpr uint64_t kDotCookie = 1, kDotDotCookie = 2, kFirstCookie = 3;
constexpr uint64_t kCookieMask = (uint64_t{1} << 62U) - 1;  // off_t is signed

// Cookies only have to be spread; the seed keeps names from being chosen to collide.
uint64_t CookieOf(uint64_t seed, std::string_view name) {
  return std::max(Xxh3Of64(name, seed) & kCookieMask, kFirstCookie);
}

}  // namespace

SysResult<std::shared_ptr<const Listing>> UnionFs::Impl::ListNames(const NodeRef& directory) {
  auto listing = std::make_shared<Listing>();
  std::unordered_set<std::string> hidden;  // of the layers below
  if (directory->upper.load(std::memory_order_acquire)) {
    SNAP_TRY(const DirFds::Pin pin, UpperPin(directory));
    SNAP_TRY(const UpperLayer::Forms forms, FormsOf(directory, pin));
    SNAP_TRY(const std::vector<sys::DirEntry> entries, sys::ListDir(*pin));
    listing->reserve(entries.size());
    for (const sys::DirEntry& entry : entries) {
      if (IsReservedName(entry.name)) {
        hidden.insert(entry.name.substr(whiteout::kPrefix.size()));
        continue;
      }
      hidden.insert(entry.name);
      const bool may_be_whiteout =
          entry.type == DT_CHR || entry.type == DT_UNKNOWN || (entry.type == DT_REG && forms.xattrs);
      if (may_be_whiteout) {
        SNAP_TRY(const UpperLayer::Name upper, upper_->Look(pin, entry.name, forms));
        if (upper.kind != UpperLayer::Name::Kind::kPresent) continue;
      }
      listing->push_back({CookieOf(listing_seed_, entry.name), entry.name});
    }
  }
  if (!directory->directory->lowers.empty()) {
    SNAP_TRY(const std::shared_ptr<const DirectoryView> view, ViewOf(directory));
    listing->reserve(listing->size() + view->size());
    view->ForEach([&](std::string_view name) {
      std::string text(name);
      if (!hidden.empty() && hidden.contains(text)) return;
      const uint64_t cookie = CookieOf(listing_seed_, text);
      listing->push_back({cookie, std::move(text)});
    });
  }
  std::sort(listing->begin(), listing->end(), [](const ListedName& a, const ListedName& b) {
    return a.cookie != b.cookie ? a.cookie < b.cookie : a.name < b.name;
  });
  // Two names with one cookie: the second takes the next number.
  for (size_t i = 1; i < listing->size(); ++i) {
    if ((*listing)[i].cookie <= (*listing)[i - 1].cookie) (*listing)[i].cookie = (*listing)[i - 1].cookie + 1;
  }
  return std::shared_ptr<const Listing>(std::move(listing));
}

SysResult<std::shared_ptr<const Listing>> UnionFs::Impl::ListingFor(const NodeRef& directory, uint64_t offset) {
  DirectoryState& state = *directory->directory;
  uint64_t changes = 0;
  {
    const std::lock_guard lock(state.children_mutex);
    const bool fresh = state.listing_changes == state.changes;
    if (offset >= kFirstCookie && offset >= state.end_cookie && state.end_cookie != 0) return std::shared_ptr<const Listing>();
    if (state.listing != nullptr && (offset != 0 || fresh)) return state.listing;
    changes = state.changes;
  }
  std::shared_ptr<const Listing> listing;
  if (state.removed.load(std::memory_order_acquire)) {
    listing = std::make_shared<const Listing>();
  } else {
    const std::shared_lock names(state.names);
    SNAP_TRY(listing, ListNames(directory));
  }
  const std::lock_guard lock(state.children_mutex);
  state.listing = listing;
  state.listing_changes = changes;
  state.end_cookie = listing->empty() ? kDotDotCookie : listing->back().cookie;
  return listing;
}

// --- operations

SysResult<void> UnionFs::ReadDirectoryPlus(NodeId id, uint64_t offset, const EntryPlusVisitor& visit) {
  SNAP_TRY(const NodeRef directory, impl_->GetDirectory(id));
  DirectoryState& state = *directory->directory;
  if (offset < kDotDotCookie) {
    NodeRef parent = directory;
    {
      const std::shared_lock tree(impl_->tree_mutex_);
      if (!directory->places.empty()) parent = directory->places.front().directory;
    }
    if (offset < kDotCookie && !visit({".", directory->inode, S_IFDIR, kDotCookie}, Entry{})) return {};
    if (!visit({"..", parent->inode, S_IFDIR, kDotDotCookie}, Entry{})) return {};
  }
  if (offset <= kDotDotCookie) offset = 0;
  SNAP_TRY(const std::shared_ptr<const Listing> listing, impl_->ListingFor(directory, offset));
  if (listing == nullptr) return {};
  auto next = std::upper_bound(listing->begin(), listing->end(), offset,
                               [](uint64_t at, const ListedName& name) { return at < name.cookie; });
  for (; next != listing->end(); ++next) {
    NodeRef node;  // outlives the lock
    {
      const std::shared_lock names(state.names);
      SNAP_TRY(node, impl_->FindChild(directory, next->name));
    }
    if (node == nullptr) continue;  // gone since it was listed
    SNAP_TRY(const Entry entry, impl_->EntryOf(node));
    if (!visit({next->name, entry.stat.st.st_ino, node->type, next->cookie}, entry)) {
      Forget(entry.node, 1);
      return {};
    }
  }
  const std::lock_guard lock(state.children_mutex);
  if (state.listing == listing) state.listing.reset();
  return {};
}

SysResult<void> UnionFs::ReadDirectory(NodeId id, uint64_t offset, const EntryVisitor& visit) {
  return ReadDirectoryPlus(id, offset, [&](const DirectoryEntry& entry, const Entry& looked_up) {
    const bool taken = visit(entry);
    if (taken && looked_up.node != 0) Forget(looked_up.node, 1);
    return taken;
  });
}

SysResult<void> UnionFs::FlushDirectory(NodeId id) {
  SNAP_TRY(const NodeRef directory, impl_->GetDirectory(id));
  if (impl_->options_.is_volatile || !directory->upper.load(std::memory_order_acquire)) return {};
  SNAP_TRY(const DirFds::Pin pin, impl_->UpperPin(directory));
  SNAP_TRY(const UniqueFd readable, sys::OpenAt(*pin, ".", O_RDONLY | O_DIRECTORY));
  return sys::Fsync(readable);
}

}  // namespace snap::fuse
