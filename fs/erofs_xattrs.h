// ErofsXattrs: the xattrs of an image that is being written. Inodes have sets of name and value pairs; a pair
// that several inodes have is stored once, in the image's shared area, when that is smaller. Invariant: what
// is written depends on the sets and the order of AddSet calls alone.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "fs/base/result.h"
#include "fs/layer_entry.h"

namespace snap {

/// Add all sets, Settle once, then ask. Threads: one at a time.
class ErofsXattrs {
 public:
  using SetId = uint32_t;
  static constexpr SetId kEmpty = 0;

  ErofsXattrs() : bodies_(1), uses_(1) {}

  /// The set's number; equal sets, in any order, have one. Names must differ.
  /// Errors: kUnsupported for a name outside the format's namespaces; kLimitExceeded for a name or value that
  /// is too long.
  Result<SetId> AddSet(const std::vector<Xattr>& xattrs);
  /// One more inode has this set.
  void Use(SetId set) { ++uses_[set]; }
  /// Decides what is shared. Errors: kLimitExceeded for a set or a shared area beyond the format.
  Result<void> Settle();

  /// What follows the inode; "" for the empty set.
  const std::string& Body(SetId set) const { return bodies_[set]; }
  /// i_xattr_icount.
  uint16_t Count(SetId set) const;
  const std::string& SharedArea() const { return shared_area_; }

 private:
  using PairId = uint32_t;
  using Members = std::vector<PairId>;
  struct Pair {
    std::string entry;  // as stored
    uint32_t filter_bit = 0;
    uint64_t uses = 0;
    uint32_t shared_id = 0;
    bool shared = false;
  };
  Result<PairId> AddPair(const Xattr& xattr);
  Result<std::string> Encode(const Members& members) const;

  std::map<std::string, PairId> pair_ids_;  // by stored entry; no hash table, since layers choose the keys
  std::vector<Pair> pairs_;
  std::map<Members, SetId> set_ids_;
  std::vector<std::string> bodies_;  // by SetId
  std::vector<uint64_t> uses_;       // by SetId
  std::string shared_area_;
};

}  // namespace snap
