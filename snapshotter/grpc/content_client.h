// containerd's content store as its clients see it: blobs read and written through its socket, in somebody's
// name. Source: containerd api/services/content/v1, plugins/services/content/contentserver.
#pragma once

#include <grpcpp/server_context.h>

#include <chrono>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "fs/base/digest.h"
#include "fs/base/result.h"
#include "fs/byte_source.h"

namespace snap {

struct ContentInfo {
  uint64_t size = 0;
  std::map<std::string, std::string> labels;
};

/// A blob being written. Dropping it leaves what was written under its ref; see ContentClient::Abort.
/// Threads: one at a time.
class ContentWriter {
 public:
  static constexpr size_t kMaxAppendBytes = size_t{1} << 20U;
  virtual ~ContentWriter() = default;
  /// At most kMaxAppendBytes.
  virtual Result<void> Append(std::span<const std::byte> bytes) = 0;
  /// Errors: kExists when the store has that blob already (the ref is free again then); kCorrupt, kBusy from
  /// containerd when size or digest are not those of what was appended.
  virtual Result<void> Commit(const Digest& digest, const std::map<std::string, std::string>& labels) = 0;
};

/// Calls are made for a call of our own, `origin`: with its namespace and lease headers, cancelled with it,
/// and it must outlive what is returned. Each message has a deadline. Errors of all: kUnavailable (nobody
/// listens, no answer in time), kNotFound, what containerd says. Threads: safe.
class ContentClient {
 public:
  ContentClient(const std::string& address, std::chrono::milliseconds message_timeout);
  ~ContentClient();

  Result<ContentInfo> Info(const grpc::ServerContext& origin, const Digest& digest);
  Result<void> SetLabel(const grpc::ServerContext& origin, const Digest& digest, const std::string& key,
                        const std::string& value);
  /// `size` bytes from the start, 0 for all. Errors on Read: kCorrupt when more come than were asked for.
  /// Fewer are not an error.
  Result<std::unique_ptr<ByteSource>> Read(const grpc::ServerContext& origin, const Digest& digest,
                                           uint64_t size);
  /// A blob under the name `ref` from its first byte, whatever was written under that name before. containerd
  /// hands a caller's lease on to no plugin, so its garbage collection would be free to take the blob before
  /// the caller has read the answer: without one it is held by a lease of its own, for two minutes. Errors:
  /// kUnavailable when somebody else is writing it.
  Result<std::unique_ptr<ContentWriter>> Write(const grpc::ServerContext& origin, const std::string& ref);
  /// Forgets what was written under `ref`, also when `origin` is cancelled.
  Result<void> Abort(const grpc::ServerContext& origin, const std::string& ref);

 private:
  Result<std::string> TakeLease(const grpc::ServerContext& origin);

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace snap
