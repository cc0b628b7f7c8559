// Node: what the kernel knows of one file of the union, and where that file is: in a lower layer until it is changed, in the upper
// from then on.
// Invariant: a node only ever moves from a lower to the upper, never back, and does so in one step under its mutex, after the copy has
// become visible in the upper.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "fs/base/unique_fd.h"
#include "fuse/dir_fds.h"
#include "fuse/directory_view.h"
#include "fuse/layer.h"
#include "fuse/union_fs.h"

namespace snap::fuse {

struct Node;
using NodeRef = std::shared_ptr<Node>;

/// Where a name is: a directory of the union and the name in it.
struct NamePlace {
  NodeRef directory;
  std::string name;
};

/// What a snapshot of a directory says about a name; see union_directories.cc for the cookies.
struct ListedName {
  uint64_t cookie = 0;
  std::string name;
};
using Listing = std::vector<ListedName>;

/// The part of a node that only directories have.
struct DirectoryState {
  explicit DirectoryState(DirFds& fds) : upper_fd(fds) {}

  /// Names: shared to look one up, exclusive to make, move or remove one.
  std::shared_mutex names;
  DirFds::Slot upper_fd;  ///< own synchronisation; opened through the parent

  /// What lies below, top first, cut where an opaque mark or another type ends the merge. Constant after construction.
  std::vector<std::shared_ptr<LayerDir>> lowers;

  /// The names of `lowers`. Built when first needed, then constant.
  std::mutex view_mutex;
  std::shared_ptr<const DirectoryView> view;

  /// Copied-up files are in it (overlay.impure): their numbers are those of their origins. Set once, never cleared.
  std::atomic<bool> impure{false};
  std::atomic<bool> removed{false};  ///< has no name any more
  /// Whether new files inherit an ACL: 0 not known, 1 no, 2 yes.
  std::atomic<int> default_acl{0};
  /// How the upper directory spells whiteouts beside devices; found when it is first looked at.
  std::atomic<bool> forms_known{false};
  std::atomic<bool> has_file_whiteouts{false}, has_xattr_whiteouts{false};

  std::mutex children_mutex;  ///< guards the rest
  std::unordered_map<std::string, std::weak_ptr<Node>> children;  ///< known to the kernel, by name
  std::shared_ptr<const Listing> listing;  ///< of a reading that is under way
  uint64_t changes = 0;                    ///< of its names
  uint64_t listing_changes = 0;            ///< `changes` when the listing was made
  uint64_t end_cookie = 0;                 ///< the last cookie of the last listing; 0: none
};

/// The part of a node that only regular files have. Guarded by the node's mutex.
struct FileState {
  uint32_t cached_opens = 0;       ///< handles whose I/O comes to us
  uint32_t passthrough_opens = 0;  ///< handles whose I/O goes to the file
  int32_t backing_id = 0;          ///< while passthrough_opens > 0
  bool was_passthrough = false;    ///< what the kernel had cached of it before may be old
};

struct Node {
  /// Takes itself out of the directories that know it: nobody may hold their children_mutex who lets go of a node.
  ~Node();
  Node(NodeId node_id, mode_t file_type, uint64_t number) : id(node_id), type(file_type), inode(number) {}
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  const NodeId id;
  const mode_t type;     ///< S_IF*
  uint64_t inode;  ///< st_ino as shown; constant once the node is known to others
  std::atomic<uint64_t> lookups{0};

  /// Guards the rest but `directory`'s own parts. Held over a copy-up: whoever wants the same file waits, nobody else does.
  std::mutex mutex;
  std::atomic<bool> upper{false};  ///< false -> true once; written under the mutex
  /// A lower file: its directory in the layer and what that lists it as. Constant after construction (the data of a copied-up file
  /// stays readable through it for handles that are older); of a file with `metacopy`, where its data is.
  std::shared_ptr<LayerDir> lower_directory;
  LayerName lower_name;
  /// The upper has the metadata alone (overlay.metacopy): data is the lower's until it is written. Under the mutex.
  bool metacopy = false;
  bool has_origin = false;  ///< its number is not the upper's own
  /// The names it is known by. A directory has one (changed under UnionFs' tree lock too); a removed file none.
  std::vector<NamePlace> places;
  /// Of an upper file that has no name any more: O_PATH.
  DirFds::Pin detached;

  std::unique_ptr<DirectoryState> directory;
  FileState file;

  bool IsDirectory() const { return S_ISDIR(type); }
};

}  // namespace snap::fuse
