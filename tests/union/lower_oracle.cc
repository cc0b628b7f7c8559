// Prints a fingerprint of whole trees that changes with anything that writing to one of its files would
// change: content, size, mode, owner, links, mtime, ctime, xattrs. Reading changes nothing. Before and after,
// so that scripts see that a lower was not written.
//   usage: lower_oracle DIR...
#include <cstdio>

#include "tests/union/tree.h"

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    std::printf("%s\n", argv[i]);
    for (const std::string& line : snap::test::Fingerprint(snap::test::ReadTree(argv[i])))
      std::printf("%s\n", line.c_str());
  }
  return argc > 1 ? 0 : 2;
}
