// Filters of containerd's List calls: which snapshots somebody wants to see.
//   filter := selector ("," selector)*        all must hold; of several filters one must
//   selector := path [("==" | "!=" | "~=") value]      without: is there such a field
//   path := part ("." part)*   part := quoted | [A-Za-z0-9_]+   value := quoted | graphic characters but ','
// Quoted is Go's string syntax in "", for values of ~= also in // and ||. Blanks may stand before a part,
// operator or value. Source: containerd pkg/filters; fields of a snapshot: core/snapshots/storage/bolt.go and
// core/metadata/adaptors.go.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "snapshotter/snapshots.h"

namespace snap {

/// One or more filters. Constant after construction. Threads: safe.
class SnapshotFilter {
 public:
  /// No text or an empty one among them selects everything. Errors: kInvalidArgument naming the place;
  /// kLimitExceeded.
  static Result<SnapshotFilter> Parse(std::span<const std::string> texts);
  SnapshotFilter(SnapshotFilter&&) noexcept;
  SnapshotFilter& operator=(SnapshotFilter&&) noexcept;
  ~SnapshotFilter();

  /// Fields: name, parent, kind (view, active, committed), labels.<key, dots allowed>. An unknown field is
  /// absent: neither there nor equal to anything, and unequal to all but "". A regular expression that RE2
  /// cannot compile matches nothing. Cost: linear in the sizes of filters and values.
  bool Matches(const SnapshotInfo& info) const;

 private:
  struct Selector;
  explicit SnapshotFilter(std::vector<std::vector<Selector>> alternatives);

  std::vector<std::vector<Selector>> alternatives_;  ///< empty: everything
};

}  // namespace snap
