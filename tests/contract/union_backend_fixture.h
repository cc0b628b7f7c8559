// What the contract tests of UnionBackend share: layers on disk, and a mount namespace of their own.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/unique_fd.h"
#include "fs/union_backend.h"

namespace snap {

/// Bytes of a text for the xattr calls.
inline std::span<const std::byte> AsBytes(std::string_view text) { return std::as_bytes(std::span(text)); }

/// Makes and reads trees on disk. Every failure is a failed expectation naming the path.
namespace tree {
/// "parent/name"
std::string Join(std::string_view parent, std::string_view name);
void MakeDir(FdRef dir, const std::string& path, mode_t mode = 0755);
/// Creates or replaces the content of a file.
void Write(FdRef dir, const std::string& path, std::string_view text, mode_t mode = 0644);
/// The content; "<errno text>" when it cannot be read.
std::string Read(FdRef dir, const std::string& path);
void MakeWhiteout(FdRef dir, const std::string& path);
void MakeOpaque(FdRef dir, const std::string& path, const char* xattr = "trusted.overlay.opaque");
/// Names in a directory.
std::set<std::string> Names(FdRef dir, const std::string& path = ".");
/// True when nothing is found under the name, by listing and by lookup.
bool IsGone(FdRef dir, const std::string& parent, const std::string& name);
UniqueFd Open(FdRef dir, const std::string& path);
/// One line for every entry below `dir`, sorted: path, type, mode, owner, size, nlink, mtime, target, xattrs,
/// content.
std::vector<std::string> Describe(FdRef dir);
}  // namespace tree

/// Lines of /proc/self/mountinfo.
std::vector<std::string> MountLines();
size_t OpenDescriptors();

/// What the stacks of a fixture are made of.
enum class Layers { kTrees, kPacked, kMixed };

struct BackendCase {
  std::string name;
  std::function<std::shared_ptr<UnionBackend>()> make;
  Layers layers = Layers::kTrees;
  // What the interface leaves open: a program must do without, a test must know.
  bool renames_lower_directories = true;  ///< otherwise EXDEV, and mv copies
  bool copies_up_metadata_alone = true;   ///< chmod of a lower file moves no data
  bool tells_spellings_apart = true;      ///< user_xattr decides which opaque marks count; otherwise all do
  bool knows_holes_of_packed = true;      ///< st_blocks
};
void PrintTo(const BackendCase& backend, std::ostream* out);

/// A scratch directory in /tmp with layers, upper and work. The process has its own mount namespace (an
/// environment in the .cc sees to it), so nothing that a test mounts is ever seen on the machine.
class UnionBackendTest : public testing::TestWithParam<BackendCase> {
 protected:
  void SetUp() override;
  void TearDown() override;

  /// A new empty layer directory.
  FdRef AddLayer() { return AddLayerNamed("layer" + std::to_string(layers_.size())); }
  FdRef AddLayerNamed(const std::string& name);
  /// A stack of all layers, the newest on top. Layers that the case wants packed are packed as they are now,
  /// into new images.
  MountStack ReadOnlyStack();
  /// The content of the layer with this index as an image called `name` in the scratch directory.
  UniqueFd Pack(size_t layer, const std::string& name);
  bool IsPacked(size_t layer) const {
    const Layers layers = GetParam().layers;
    return layers == Layers::kPacked || (layers == Layers::kMixed && layer % 2 == 0);
  }
  FdRef layer(size_t index) const { return layers_[index]; }
  FdRef objects();
  /// The same with `upper` and `work` in the scratch directory, made at the first call.
  MountStack WritableStack();
  /// A mount that must succeed.
  Mount MountOf(const MountStack& stack, const MountOptions& options = {});
  /// Mounts, expects failure, and gives the error.
  Error FailureOf(const MountStack& stack, const MountOptions& options = {});

  UnionBackend& backend() { return *backend_; }
  FdRef scratch() const { return scratch_; }
  const std::string& scratch_path() const { return scratch_path_; }
  FdRef upper() const { return upper_; }
  FdRef work() const { return work_; }
  void CloseLayers();

 private:
  std::shared_ptr<UnionBackend> backend_;
  std::string scratch_path_;
  UniqueFd scratch_;
  std::vector<UniqueFd> layers_;
  std::vector<UniqueFd> images_;
  size_t packed_ = 0;
  UniqueFd upper_, work_, objects_;
};

}  // namespace snap
