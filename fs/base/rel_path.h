// RelPath: a path inside a root, made safe once at the edge; below it nobody parses path strings again.
// Invariant: no leading '/', no empty, '.' or '..' component, no NUL; within kMaxPath, kMaxName and kMaxDepth.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "fs/base/result.h"

namespace snap {

class RelPath {
 public:
  static constexpr size_t kMaxPath = 4096;  ///< bytes, Linux' PATH_MAX
  static constexpr size_t kMaxName = 255;   ///< bytes of one component, Linux' NAME_MAX
  static constexpr size_t kMaxDepth = 1024; ///< components

  /// The root itself.
  RelPath() = default;

  /// Parses bytes from outside. Leading '/' and './', doubled and trailing '/' are dropped, as tar and Docker do:
  /// an absolute name means the same place in the root.
  /// Errors: kInvalidArgument for '..' or NUL; kLimitExceeded when too long or too deep.
  static Result<RelPath> Parse(std::string_view bytes);

  bool IsRoot() const { return path_.empty(); }
  /// "usr/bin/env"; "" for the root.
  const std::string& str() const { return path_; }
  /// "usr/bin/env"; "." for the root: for *at calls.
  const char* c_str() const { return path_.empty() ? "." : path_.c_str(); }
  /// Last component; "" for the root.
  std::string_view Name() const;
  /// Everything before the last component; the root for a single component and for the root.
  RelPath Parent() const;
  std::string_view ParentView() const;
  /// This path with one more component. `name` must be a valid component (checked: our bug otherwise).
  RelPath Child(std::string_view name) const;
  size_t Depth() const;

  friend bool operator==(const RelPath&, const RelPath&) = default;
  friend auto operator<=>(const RelPath&, const RelPath&) = default;

 private:
  explicit RelPath(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

/// True for a single component that may be created: not empty, '.', '..', no '/' or NUL, at most kMaxName bytes.
bool IsValidName(std::string_view name);

}  // namespace snap
