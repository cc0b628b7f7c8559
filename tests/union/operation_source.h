// OperationSource: random operations that mostly make sense: on names that exist, next to them, on what is
// open. Invariant: its choices depend on its random numbers and on what it was told, so the same seed against
// the same oracle gives the same operations.
#pragma once

#include <string>
#include <vector>

#include "tests/union/layers.h"
#include "tests/union/operation.h"
#include "tests/union/tree.h"

namespace snap::test {

class OperationSource {
 public:
  /// `removes_directories`: false leaves out what removes a directory that shows nothing (see
  /// known_differences.h).
  OperationSource(Random& random, bool removes_directories)
      : random_(random), removes_directories_(removes_directories) {}
  /// What exists now, from the oracle.
  void Refresh(const Tree& tree);
  Operation Next();
  /// Tells the oracle's answer.
  void Note(const Operation& operation, const Outcome& outcome);

 private:
  struct Known {
    std::string path;
    mode_t mode;
  };
  uint64_t Below(uint64_t limit) { return random_() % limit; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }
  const Known& Any();
  std::string Existing();  ///< mostly of a file that exists
  std::string ExistingDirectory();
  std::string Fresh();  ///< a name in a directory that exists
  std::string Either() { return OneIn(2) ? Existing() : Fresh(); }
  mode_t Mode();
  int64_t Offset();
  uint64_t Length();
  timespec Time();
  void Xattr(Operation& operation);
  void Opening(Operation& operation);
  Operation OnFile();
  Operation OnName();

  Random& random_;
  bool removes_directories_;
  std::vector<Known> known_{{"", S_IFDIR}};
  std::vector<std::string> directories_{""};
};

}  // namespace snap::test
