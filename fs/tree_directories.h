// TreeDirectories: the directories a layer being written has so far, what is special about the names in them,
// and a bounded number of descriptors for them. Invariant: every directory in the tree on disk was made by
// the owner of this object and has its record here, so no path of the layer is ever resolved by the kernel
// through anything but these directories.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "fs/base/rel_path.h"
#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fs/layer_entry.h"

namespace snap {

struct TreeDirectory;

/// What is known about a name beyond "the layer made a file of it", which is not recorded: ten million files
/// must not cost memory.
struct TreeName {
  enum class State : uint8_t {
    kFileOrNothing,  ///< whatever is on disk is not a directory of ours
    kWhiteout,       ///< a whiteout is on disk
    kDirectory,
    kLowerLink,  ///< a hard link to a lower layer's file; nothing is on disk
  };
  State state = State::kFileOrNothing;
  bool whited_out = false;  ///< the layer removes the lower entry of this name, whatever else it puts there
  std::unique_ptr<TreeDirectory> directory;  // kDirectory
  std::unique_ptr<RelPath> link_target;      // kLowerLink
};

struct TreeDirectory {
  using Names = std::map<std::string, TreeName, std::less<>>;

  TreeDirectory* parent = nullptr;  // null: the root
  std::string_view name;            // the key in parent->names
  Names names;
  Attributes attributes;  // applied last: until then all may be created below it, and nothing is inherited
  mode_t permissions_on_disk = 0;
  bool named = false;     // by the layer itself; false: only implied by what lies in it
  bool opaque = false;    // the layer says so
  bool replaces = false;  // takes the place of something that is gone, so nothing lower may show through

  bool HidesLower() const { return opaque || replaces; }
  const char* c_name() const { return name.data(); }  // a std::string's

 private:
  friend class TreeDirectories;
  UniqueFd fd_;
  std::list<TreeDirectory*>::iterator open_position_;
};

class TreeDirectories {
 public:
  /// `max_open` descriptors besides the root's (at least 4).
  TreeDirectories(UniqueFd root, size_t max_open);
  TreeDirectories(const TreeDirectories&) = delete;
  TreeDirectories& operator=(const TreeDirectories&) = delete;
  ~TreeDirectories();

  TreeDirectory& root() { return root_; }
  /// The record of `name`, or null.
  static TreeName* Find(TreeDirectory& directory, std::string_view name);
  /// The record of `name`, made when missing.
  static TreeName& Record(TreeDirectory& directory, std::string_view name);
  /// Makes `name` a directory in the records; the caller has made it on disk.
  static TreeDirectory& Add(TreeDirectory& parent, std::string_view name);
  /// Forgets a directory and all below it; the caller has removed or removes it on disk.
  void Forget(TreeName& name);

  /// An O_PATH descriptor, valid for this and the next two calls of Open. Errors: the kernel's.
  Result<FdRef> Open(TreeDirectory& directory);
  /// Path from the root, "" for the root itself. Cost O(depth).
  static std::string PathOf(const TreeDirectory& directory);
  /// Path of a name in a directory.
  static std::string PathOf(const TreeDirectory& directory, std::string_view name);

 private:
  static std::string PathBetween(const TreeDirectory& ancestor, const TreeDirectory& directory);

  TreeDirectory root_;
  std::list<TreeDirectory*> open_;  // most recently used first, without the root
  const size_t max_open_;
};

}  // namespace snap
