// UnionFs from the inside: what its parts share. union_open.cc opens it; union_nodes.cc finds and makes nodes; copy_up.cc moves them to
// the upper; union_names.cc, union_rename.cc, union_attributes.cc, union_files.cc, union_directories.cc and union_xattrs.cc are the
// operations.
// Locks, in this order (docs/locking.md):
//   1 DirectoryState::names     of two directories: together (std::lock); a third is only tried
//   2 Node::mutex               of two nodes: together
//   3 tree_mutex_               shared to go from a directory to its parent, exclusive to give a directory another place
//   4 DirectoryState::view_mutex, DirFds' slots (a parent's inside its child's)
//   5 DirectoryState::children_mutex, then NodeTable's
// Copy-up of parents happens before any of them is taken.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "fs/base/check.h"
#include "fuse/directory_view.h"
#include "fuse/inode_numbers.h"
#include "fuse/node.h"
#include "fuse/node_table.h"
#include "fuse/overlay_xattrs.h"
#include "fuse/union_fs.h"
#include "fuse/upper_layer.h"

namespace snap::fuse {

/// A file that was opened: the upper's, or a layer's until the node is copied up.
struct OpenedFile {
  NodeRef node;
  int flags = 0;
  bool passthrough = false;

  std::mutex mutex;                  ///< guards the rest
  UniqueFd upper;                    ///< open in the upper
  std::shared_ptr<LayerFile> lower;  ///< else this
};
using OpenFileRef = std::shared_ptr<OpenedFile>;

class UnionFs::Impl {
 public:
  Impl(const UnionOptions& options, std::shared_ptr<DirFds> fds, BackingFiles* backing);
  Result<void> Open(std::vector<Layer> layers_top_first, std::optional<UnionFs::Upper> upper);

  // --- union_nodes.cc
  /// ESTALE for a number that is not known.
  SysResult<NodeRef> Get(NodeId id) const;
  SysResult<NodeRef> GetDirectory(NodeId id) const;
  /// The node of a name, nullptr when there is none. The caller holds names of the directory.
  SysResult<NodeRef> FindChild(const NodeRef& directory, const std::string& name);
  /// Puts a node that is new in the place of a name. The caller holds names.
  NodeRef Adopt(const NodeRef& directory, const std::string& name, const NodeRef& node);
  /// Counts a lookup and answers with the attributes.
  SysResult<Entry> EntryOf(const NodeRef& node);
  /// What the layers below say about the name. The caller holds nothing special.
  SysResult<std::optional<DirectoryView::Found>> FindLower(const NodeRef& directory, const std::string& name);
  SysResult<std::shared_ptr<const DirectoryView>> ViewOf(const NodeRef& directory);
  /// How the upper directory spells whiteouts; found out at the first call.
  SysResult<UpperLayer::Forms> FormsOf(const NodeRef& directory, const DirFds::Pin& pin);
  SysResult<UpperLayer::Name> LookUpper(const NodeRef& directory, const std::string& name);
  /// The node of what the upper has (`stat`). The caller holds names of the directory.
  SysResult<NodeRef> MakeUpperNode(const NodeRef& directory, const std::string& name, const FileStat& stat);
  SysResult<NodeRef> MakeLowerNode(const NodeRef& directory, const std::string& name, const DirectoryView::Found& found);

  // --- union_redirects.cc
  /// A name in the layers: the directory's parts that have it, and what they say together.
  struct LowerPlace {
    std::vector<std::shared_ptr<LayerDir>> parents;
    std::shared_ptr<const DirectoryView> view;  // keeps what `found` points into
    DirectoryView::Found found;
  };
  /// The redirect of an upper file or directory, if it has one.
  SysResult<std::optional<std::string>> RedirectOf(const UpperFile& file) const;
  /// Where the redirect of a name in `directory` leads; nullopt: nowhere. Cost of an absolute one: the entries of every directory on
  /// the way. Errors: EIO for a redirect that is none.
  SysResult<std::optional<LowerPlace>> FollowRedirect(const NodeRef& directory, std::string_view redirect);
  NodeRef NewNode(mode_t type, uint64_t inode);
  uint64_t NumberOf(uint64_t file_system, uint64_t inode) const { return numbers_.Shown(file_system, inode); }
  /// Exclusive over every change of a directory's place, and over the system call that makes it.
  using TreeLock = std::unique_lock<std::shared_mutex>;
  /// Takes a name away from a node; the last one makes it a file that is only held by a descriptor. The caller holds names of the
  /// directory and the node's mutex, and has opened `held` (an upper file's O_PATH) before the name went.
  void RemovePlace(const TreeLock& tree, const NodeRef& directory, const std::string& name, const NodeRef& node, UniqueFd held);
  /// The file is held by a descriptor from now on: it has no name. The caller holds the node's mutex.
  void Detach(const NodeRef& node, UniqueFd file);
  void MovePlace(const TreeLock& tree, const NodeRef& node, const NodeRef& from, const std::string& old_name, const NodeRef& to,
                 const std::string& new_name);
  void CountChange(const NodeRef& directory);

  // --- where upper files are. A directory must be in the upper already.
  SysResult<DirFds::Pin> UpperPin(const NodeRef& directory);
  /// The caller holds the node's mutex (so that it stays where it is).
  SysResult<UpperFile> UpperOf(const NodeRef& node);

  // --- copy_up.cc
  static constexpr uint64_t kWhole = UINT64_MAX;
  static constexpr uint64_t kMetadata = UINT64_MAX - 1;  ///< the data may stay below if it is there already (metacopy)
  /// Afterwards the node is in the upper, with the first `data` bytes of its content at least. The caller holds no lock.
  SysResult<void> EnsureUpper(const NodeRef& node, uint64_t data = kWhole);
  SysResult<void> EnsureUpperLocked(const NodeRef& node, uint64_t data);

  // --- union_attributes.cc
  /// The caller holds the node's mutex.
  SysResult<FileStat> StatLocked(const NodeRef& node);
  SysResult<FileStat> Stat(const NodeRef& node);
  /// Turns what is on disk into what is shown.
  SysResult<FileStat> Show(const NodeRef& node, FileStat on_disk, const UpperFile* upper);
  SysResult<void> ChangeAttributes(const NodeRef& node, const UpperFile& file, const AttributeChange& change,
                                   const OpenFileRef& open);
  /// Gives a new file its owner and the bits of `mode` that making it did not set.
  SysResult<void> GiveOwner(const UpperFile& file, mode_t mode, uint32_t uid, uint32_t gid, dev_t device);
  bool UsesOverride() const { return options_.xattr_permissions != XattrPermissions::kOff; }

  // --- union_names.cc
  /// A name that is being made: its directory is in the upper, its names are held exclusively and it is free.
  struct Creation {
    NodeRef directory;
    std::string name;
    DirFds::Pin pin;             ///< of the directory
    bool over_whiteout = false;  ///< something below is hidden here
    bool inherits_acl = false;   ///< the directory has a default ACL: the umask does not count
    uint32_t uid = 0, gid = 0;   ///< on disk
    mode_t mode = 0;             ///< with the type, and the umask taken off
    std::unique_lock<std::shared_mutex> names;
  };
  SysResult<Creation> BeginCreation(NodeId directory, std::string_view name, mode_t mode, const Caller& caller);
  SysResult<void> ChooseOwner(Creation& creation, mode_t mode, const Caller& caller);
  using Maker = std::function<SysResult<void>(FdRef directory, const std::string& name)>;
  /// Makes it with `make`, complete before it is seen when anything beside `make` is needed.
  SysResult<void> MakeInPlace(const Creation& creation, const Maker& make, dev_t device = 0);
  /// The node of what was made.
  SysResult<Entry> EntryOfMade(const Creation& creation);
  SysResult<bool> InheritsAcl(const NodeRef& directory);
  /// Errors: ENOTEMPTY.
  SysResult<void> CheckEmpty(const NodeRef& directory);
  SysResult<void> MarkImpure(const NodeRef& directory);
  /// The upper file that is about to lose its last name that we know; invalid when it has others or is not in the upper.
  SysResult<UniqueFd> HoldBeforeRemoval(const NodeRef& node);
  /// The existing node of a name, to be removed or moved. Errors: ENOENT.
  SysResult<NodeRef> FindExisting(const NodeRef& directory, const std::string& name);

  // --- union_rename.cc
  struct RenameEnd;
  SysResult<void> FillEnd(RenameEnd& end);
  /// What has to be true of a node before it appears at `to`.
  SysResult<void> PrepareArrival(const NodeRef& node, const RenameEnd& from, const RenameEnd& to);
  SysResult<void> Exchange(RenameEnd& from, RenameEnd& to);
  SysResult<void> MoveOver(RenameEnd& from, RenameEnd& to);

  // --- union_files.cc
  SysResult<OpenFileRef> HandleOf(HandleId handle);
  /// Set-id bits or capabilities.
  static SysResult<bool> CarriesRights(FdRef file);
  /// Decides who does the I/O of a file that was opened. The caller holds the node's mutex.
  SysResult<Opened> FinishOpen(const NodeRef& node, OpenFileRef file);
  /// What I/O on a node is done on: the handle's file, or (0) one opened for this call. `for_writing`: it is in the upper afterwards.
  struct Target {
    OpenFileRef file;
    FdRef upper{-1};                   ///< valid: use it
    std::shared_ptr<LayerFile> lower;  ///< else this
  };
  SysResult<Target> TargetOf(NodeId id, HandleId handle, bool for_writing);
  /// The caller holds the node's mutex, and the node is in the upper.
  SysResult<UniqueFd> OpenUpper(const NodeRef& node, int flags);

  // --- union_directories.cc
  /// What is seen in the directory now, in the order of the cookies. The caller holds names.
  SysResult<std::shared_ptr<const Listing>> ListNames(const NodeRef& directory);
  /// For a reading that is at `offset`: what was listed at its beginning, if that is still there. nullptr: it is at the end.
  SysResult<std::shared_ptr<const Listing>> ListingFor(const NodeRef& directory, uint64_t offset);

  bool writable() const { return upper_ != nullptr && !options_.read_only; }

  // Constant after Open.
  UnionOptions options_;
  UnionTraits traits_;
  BackingFiles* backing_;
  std::vector<Layer> layers_;
  std::unique_ptr<UpperLayer> upper_;
  InodeNumbers numbers_;
  OverlayXattrs xattrs_;
  DirFds::Pin root_pin_;  // the upper's root
  uint32_t own_uid_ = 0, own_gid_ = 0;  // of this process
  uint64_t listing_seed_ = 0;

  // Own synchronisation.
  std::shared_ptr<DirFds> fds_;  // before what has slots in it
  NodeTable table_;
  std::shared_mutex tree_mutex_;
  NodeRef root_;

  struct HandleShard {
    std::mutex mutex;
    std::unordered_map<HandleId, OpenFileRef> files;  // guarded by mutex
  };
  static constexpr size_t kHandleShards = 16;
  std::array<HandleShard, kHandleShards> handles_;
  std::atomic<HandleId> next_handle_{1};
  std::atomic<uint64_t> detached_{0};
};

}  // namespace snap::fuse
