// /etc/hostname, /etc/hosts and /etc/resolv.conf: generated per container, as Docker does, and bound over the image's.
#pragma once

#include <string>
#include <string_view>

#include "fs/base/result.h"
#include "runtime/container.h"

namespace snap::runtime {

struct EtcFiles {
  std::string hostname, hosts, resolv_conf;
};

/// Without a network: localhost and the own name, no name servers. With the host's: copies of the host's two files, and
/// the own name when the host's file does not have it. A host without them is none to fail on.
EtcFiles MakeEtcFiles(std::string_view hostname, Network network);

/// Letters, digits, '-' and '.', 1 to 64 bytes (the kernel's limit), no '-' or '.' at either end: the name is written
/// into files, so it must not be able to hold a line end. Errors: kInvalidArgument.
Result<void> CheckHostname(std::string_view hostname);

}  // namespace snap::runtime
