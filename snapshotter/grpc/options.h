// What a program decides about the services. Nothing of gRPC's is here, so that programs need not see it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "fs/tar_writer.h"
#include "snapshotter/snapshots.h"

namespace snap {

/// Writes what the snapshot `key` adds to its parent as a tar with whiteouts. Called on a thread of its own.
using TarMaker = std::function<Result<void>(Snapshots& snapshots, const std::string& key, ByteSink& sink)>;

struct DiffOptions {
  /// Where blobs are looked for before containerd is asked: <root>/blobs/sha256/<hex>.
  std::vector<std::string> content_roots = {
      "/var/lib/containerd/io.containerd.content.v1.content",
      "/var/lib/docker/containerd/daemon/io.containerd.content.v1.content"};
  std::string containerd_address = "/run/containerd/containerd.sock";
  std::chrono::milliseconds message_timeout{30'000};  ///< for each message to or from containerd
  TarMaker make_tar;                                  ///< empty: Diff is UNIMPLEMENTED
};

/// One call that ended.
struct FinishedCall {
  std::string_view service, method;  ///< "snapshots", "Prepare"
  std::string_view code;             ///< "OK", "NOT_FOUND", ...
  std::string message;               ///< of a failure
  std::string
      containerd_namespace;  ///< as the caller said; often "" (containerd's garbage collection says none)
  std::chrono::nanoseconds duration{};
};

/// Who wanted to connect and may not.
struct RefusedPeer {
  int64_t pid = 0;
  uint32_t uid = 0;
};

struct ServerOptions {
  DiffOptions diff;
  std::function<void(const FinishedCall& call)> on_call;      ///< on the call's thread; may be empty
  std::function<void(const RefusedPeer& peer)> on_refused;    ///< on the thread that accepts; may be empty
  std::function<void(const Error& error)> on_accept_failure;  ///< the same; it goes on after a pause
  std::function<bool(uint32_t uid)> may_connect;              ///< empty: root, and who this process runs as
};

}  // namespace snap
