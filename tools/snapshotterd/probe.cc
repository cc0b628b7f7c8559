// Every name is random and begins with "snap-probe-", so that what a killed probe leaves can be told from an
// engine's own. Invariant: what was made is noted before the call that makes it, and is removed in the
// opposite order.
#include "tools/snapshotterd/probe.h"

#include <fcntl.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "fs/base/digest.h"
#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"
#include "fs/base/sys_namespace.h"
#include "fs/base/sys_process.h"
#include "fs/base/sys_socket.h"
#include "fs/tar_writer.h"
#include "snapshotter/grpc/status.h"
#include "snapshotter/proto/content.grpc.pb.h"
#include "snapshotter/proto/diff.grpc.pb.h"
#include "snapshotter/proto/leases.grpc.pb.h"
#include "snapshotter/proto/snapshots.grpc.pb.h"
#include "tools/snap/human.h"
#include "tools/snap/json_output.h"
#include "tools/snap/table.h"

namespace snap::daemon {
namespace {

namespace snapshots = containerd::services::snapshots::v1;
namespace diff = containerd::services::diff::v1;
namespace content = containerd::services::content::v1;
namespace leases = containerd::services::leases::v1;
using Mounts = google::protobuf::RepeatedPtrField<containerd::types::Mount>;
using cli::Verdict;

constexpr std::chrono::seconds kCallDeadline{20};
constexpr std::chrono::hours kBlobLifetime{1};
constexpr const char* kNamespace = "default";
constexpr const char* kAskTheLog = "'journalctl -u snapshotterd' has the daemon's side of it";
constexpr const char* kCanary = "canary";
constexpr const char* kLayerMediaType = "application/vnd.oci.image.layer.v1.tar";

void Prepare(grpc::ClientContext& context, const std::string& lease) {
  context.set_deadline(std::chrono::system_clock::now() + kCallDeadline);
  context.AddMetadata("containerd-namespace", kNamespace);
  if (!lease.empty()) context.AddMetadata("containerd-lease", lease);
}

/// One call; `what` says it in errors.
template <typename Method, typename Stub, typename Request, typename Response>
Result<void> Call(Stub& stub, Method method, const Request& request, Response& response,
                  std::string_view what, const std::string& lease = {}) {
  grpc::ClientContext context;
  Prepare(context, lease);
  const grpc::Status status = (stub.*method)(&context, request, &response);
  if (!status.ok()) return FromStatus(status, what);
  return {};
}

struct MountFlag {
  std::string_view option;
  unsigned long flag;
};
// <sys/mount.h> cannot be included beside <linux/mount.h>: the kernel's numbers.
constexpr unsigned long kReadOnly = 1, kNoSuid = 2, kNoDev = 4, kNoExec = 8, kRemount = 32, kBind = 4096,
                        kRec = 16384;
constexpr MountFlag kFlags[] = {{"ro", kReadOnly},      {"rw", 0},           {"nosuid", kNoSuid},
                                {"nodev", kNoDev},      {"noexec", kNoExec}, {"bind", kBind},
                                {"rbind", kBind | kRec}};

/// As an engine mounts. At most a page of options: the probe's snapshots have two layers.
Result<void> MountOne(const containerd::types::Mount& mount, const char* target) {
  unsigned long flags = 0;
  std::string data;
  for (const std::string& option : mount.options()) {
    const auto* const known = std::find_if(std::begin(kFlags), std::end(kFlags),
                                           [&](const MountFlag& flag) { return flag.option == option; });
    if (known != std::end(kFlags)) {
      flags |= known->flag;
    } else {
      data += (data.empty() ? "" : ",") + option;
    }
  }
  SNAP_TRY_SYS_VOID(sys::Mount(mount.source().c_str(), target, mount.type().c_str(), flags, data.c_str()),
                    "mount {} {} with options {}", EscapeUnprintable(mount.type()), Quote(mount.source()),
                    Quote(data));
  if ((flags & kBind) != 0 && (flags & kReadOnly) != 0) {
    SNAP_TRY_SYS_VOID(sys::Mount("", target, "", flags | kRemount, ""), "make {} read-only",
                      Quote(mount.source()));
  }
  return {};
}

/// Mounts in a namespace of its own and runs `body` with the tree's root; the mounts go with the namespace.
Result<void> WithMounted(const Mounts& mounts, const std::function<Result<void>(FdRef root)>& body) {
  if (mounts.empty())
    return MakeError(ErrorCode::kCorrupt, "mount the snapshot: the daemon returned no mounts");
  SNAP_TRY_SYS(const UniqueFd context, sys::FsOpen("tmpfs"), "make a directory to mount on");
  SNAP_TRY_SYS_VOID(sys::FsConfigCreate(context), "make a directory to mount on");
  SNAP_TRY_SYS(const UniqueFd scratch, sys::FsMount(context, 0), "make a directory to mount on");
  const auto mounted = [&]() -> Result<void> {
    constexpr const char* kTarget = "m";  // below the scratch directory, which is the working one
    SNAP_TRY_SYS_VOID(sys::MkdirAt(FdRef::Cwd(), kTarget, 0700), "make a directory to mount on");
    for (const auto& mount : mounts) SNAP_TRY_VOID(MountOne(mount, kTarget));
    SNAP_TRY_SYS(const UniqueFd root, sys::OpenAt(FdRef::Cwd(), kTarget, O_RDONLY | O_DIRECTORY),
                 "open the mounted tree");
    return body(root);
  };
  Result<void> result;
  SNAP_TRY_SYS_VOID(sys::RunInPrivateMountNamespace(scratch, [&] { result = mounted(); }),
                    "enter a mount namespace");
  return result;
}

class Canary {
 public:
  explicit Canary(const ProbeOptions& options)
      : options_(options),
        prefix_("snap-probe-" + sys::RandomHex128()),
        text_("canary " + sys::RandomHex128() + "\n") {
    const auto channel = grpc::CreateChannel("unix:" + options.address, grpc::InsecureChannelCredentials());
    snapshots_ = snapshots::Snapshots::NewStub(channel);
    diff_ = diff::Diff::NewStub(channel);
  }

  cli::DoctorChecks Run() {
    if (Step("daemon.snapshots", "prepare, mount, write, read, commit, view, list and remove work",
             TrySnapshots())) {
      TryLayer();
    }
    CleanUp();
    return std::move(checks_);
  }

 private:
  void Say(std::string name, Verdict verdict, std::string detail, std::string advice = "") {
    checks_.push_back({std::move(name), verdict, std::move(detail), std::move(advice)});
  }
  bool Step(const char* name, const char* meaning, const Result<void>& result,
            const char* advice = kAskTheLog) {
    if (result.ok()) {
      Say(name, Verdict::kOk, meaning);
    } else {
      Say(name, Verdict::kProblem, result.error().message(), advice);
    }
    return result.ok();
  }

  Result<Mounts> PrepareSnapshot(const std::string& key, const std::string& parent) {
    made_.push_back(key);
    snapshots::PrepareSnapshotRequest request;
    request.set_key(key);
    request.set_parent(parent);
    snapshots::PrepareSnapshotResponse response;
    SNAP_TRY_VOID(
        Call(*snapshots_, &snapshots::Snapshots::Stub::Prepare, request, response, "prepare a snapshot"));
    return response.mounts();
  }
  Result<Mounts> ViewSnapshot(const std::string& key, const std::string& parent) {
    made_.push_back(key);
    snapshots::ViewSnapshotRequest request;
    request.set_key(key);
    request.set_parent(parent);
    snapshots::ViewSnapshotResponse response;
    SNAP_TRY_VOID(Call(*snapshots_, &snapshots::Snapshots::Stub::View, request, response, "view a snapshot"));
    return response.mounts();
  }
  Result<void> CommitSnapshot(const std::string& name, const std::string& key) {
    made_.push_back(name);
    snapshots::CommitSnapshotRequest request;
    request.set_name(name);
    request.set_key(key);
    google::protobuf::Empty response;
    return Call(*snapshots_, &snapshots::Snapshots::Stub::Commit, request, response, "commit a snapshot");
  }

  Result<void> WriteCanary(FdRef root) const {
    SNAP_TRY_SYS(const UniqueFd file, sys::OpenAt(root, kCanary, O_WRONLY | O_CREAT | O_TRUNC, 0644),
                 "create a file");
    SNAP_TRY_SYS_VOID(sys::WriteAll(file, text_), "write a file");
    return ReadCanary(root);
  }
  Result<void> ReadCanary(FdRef root) const {
    SNAP_TRY_SYS(const std::string text, sys::ReadFileAt(root, kCanary, text_.size()), "read the file again");
    if (text != text_) return MakeError(ErrorCode::kCorrupt, "read the file again: it holds something else");
    return {};
  }

  Result<void> TrySnapshots() {
    const std::string first = prefix_ + "-first";
    const std::string base = prefix_ + "-base";
    const std::string second = prefix_ + "-second";
    const std::string view = prefix_ + "-view";
    SNAP_TRY(const Mounts bottom, PrepareSnapshot(first, ""));
    SNAP_TRY_VOID(WithMounted(bottom, [&](FdRef root) { return WriteCanary(root); }));
    SNAP_TRY_VOID(CommitSnapshot(base, first));
    SNAP_TRY(const Mounts viewed, ViewSnapshot(view, base));
    SNAP_TRY_VOID(WithMounted(viewed, [&](FdRef root) { return ReadCanary(root); }));
    SNAP_TRY(const Mounts above, PrepareSnapshot(second, base));
    const auto change = [&](FdRef root) -> Result<void> {
      SNAP_TRY_VOID(ReadCanary(root));
      return WriteCanary(root);
    };
    SNAP_TRY_VOID(WithMounted(above, change));
    SNAP_TRY_VOID(ExpectStat(base));
    SNAP_TRY_VOID(ExpectUsage(base));
    return ExpectListed(base);
  }

  Result<void> ExpectStat(const std::string& name) {
    snapshots::StatSnapshotRequest request;
    request.set_key(name);
    snapshots::StatSnapshotResponse response;
    SNAP_TRY_VOID(
        Call(*snapshots_, &snapshots::Snapshots::Stub::Stat, request, response, "look at a snapshot"));
    if (response.info().kind() != snapshots::COMMITTED || response.info().name() != name) {
      return MakeError(ErrorCode::kCorrupt, "look at a snapshot: it is not what was committed");
    }
    return {};
  }
  Result<void> ExpectUsage(const std::string& name) {
    snapshots::UsageRequest request;
    request.set_key(name);
    snapshots::UsageResponse response;
    SNAP_TRY_VOID(Call(*snapshots_, &snapshots::Snapshots::Stub::Usage, request, response,
                       "ask for a snapshot's size"));
    if (response.inodes() < 1)
      return MakeError(ErrorCode::kCorrupt, "ask for a snapshot's size: it has no files");
    return {};
  }
  Result<void> ExpectListed(const std::string& name) {
    snapshots::ListSnapshotsRequest request;
    request.add_filters("name==" + name);
    grpc::ClientContext context;
    Prepare(context, "");
    const auto reader = snapshots_->List(&context, request);
    snapshots::ListSnapshotsResponse response;
    int count = 0;
    while (reader->Read(&response)) count += response.info_size();
    if (const grpc::Status status = reader->Finish(); !status.ok())
      return FromStatus(status, "list snapshots");
    if (count != 1) return MakeError(ErrorCode::kCorrupt, "list snapshots: {} of one name", count);
    return {};
  }

  /// A layer of one file, as a tar.
  Result<std::string> LayerTar() const {
    TarEntry entry;
    entry.path = kCanary;
    entry.kind = TarEntry::Kind::kRegular;
    entry.size = text_.size();
    entry.attributes.permissions = 0644;
    std::string tar;
    SNAP_TRY_VOID(tar::AppendHeader(entry, tar));
    tar += text_;
    tar.append(tar::Padding(text_.size()) + tar::kTrailerBytes, '\0');
    return tar;
  }

  void TryLayer() {
    constexpr const char* kName = "daemon.apply";
    if (const SysResult<UniqueFd> reachable = sys::ConnectUnix(options_.containerd_address);
        !reachable.ok()) {
      Say(kName, Verdict::kNote,
          fmt::format("not tried: containerd does not answer at {} ({})", options_.containerd_address,
                      reachable.error().Message()),
          "--containerd-address names another socket");
      return;
    }
    const auto channel =
        grpc::CreateChannel("unix:" + options_.containerd_address, grpc::InsecureChannelCredentials());
    content_ = content::Content::NewStub(channel);
    leases_ = leases::Leases::NewStub(channel);
    const Result<void> applied = ApplyLayer();
    const bool unreached = !applied.ok() && applied.error().code() == ErrorCode::kUnavailable;
    (void)Step(kName, "a layer of containerd's is extracted, and has the right digest", applied,
               unreached ? "daemon.containerd_address in the daemon's settings must name containerd's socket"
                         : kAskTheLog);
  }

  Result<void> ApplyLayer() {
    SNAP_TRY(const std::string tar, LayerTar());
    const std::string digest = Digest::Of(tar).ToString();
    SNAP_TRY_VOID(TakeLease());
    SNAP_TRY_VOID(LendBlob(tar, digest));
    const std::string key = prefix_ + "-layer";
    SNAP_TRY(const Mounts mounts, PrepareSnapshot(key, ""));
    diff::ApplyRequest request;
    request.mutable_diff()->set_media_type(kLayerMediaType);
    request.mutable_diff()->set_digest(digest);
    request.mutable_diff()->set_size(static_cast<int64_t>(tar.size()));
    *request.mutable_mounts() = mounts;
    diff::ApplyResponse response;
    SNAP_TRY_VOID(Call(*diff_, &diff::Diff::Stub::Apply, request, response, "apply a layer", prefix_));
    if (response.applied().digest() != digest) {
      return MakeError(ErrorCode::kCorrupt, "apply a layer: its digest is {} instead of {}",
                       Quote(response.applied().digest()), digest);
    }
    const std::string name = prefix_ + "-applied";
    SNAP_TRY_VOID(CommitSnapshot(name, key));
    SNAP_TRY(const Mounts viewed, ViewSnapshot(prefix_ + "-layer-view", name));
    return WithMounted(viewed, [&](FdRef root) { return ReadCanary(root); });
  }

  /// What containerd keeps the blob for: nothing else refers to it. It ends by itself, should this be killed.
  Result<void> TakeLease() {
    leased_ = true;
    leases::CreateRequest request;
    request.set_id(prefix_);
    (*request.mutable_labels())["containerd.io/gc.expire"] =
        cli::FormatRfc3339(std::chrono::system_clock::now() + kBlobLifetime);
    leases::CreateResponse response;
    return Call(*leases_, &leases::Leases::Stub::Create, request, response, "take a lease of containerd");
  }

  Result<void> LendBlob(const std::string& tar, const std::string& digest) {
    blob_ = digest;
    grpc::ClientContext context;
    Prepare(context, prefix_);
    const auto stream = content_->Write(&context);
    content::WriteContentRequest request;
    request.set_action(content::COMMIT);
    request.set_ref(prefix_);
    request.set_total(static_cast<int64_t>(tar.size()));
    request.set_expected(digest);
    request.set_data(tar);
    content::WriteContentResponse response;
    (void)stream->Write(request);  // Finish says why not
    (void)stream->WritesDone();
    bool answered = false;
    while (stream->Read(&response)) answered = true;  // to the end: Finish would wait for what is not read
    if (const grpc::Status status = stream->Finish(); !status.ok()) {
      return FromStatus(status, "lend a layer to containerd");
    }
    if (!answered || response.digest() != digest) {
      return MakeError(ErrorCode::kCorrupt, "lend a layer to containerd: it did not take it");
    }
    return {};
  }

  void CleanUp() {
    std::string left;
    const auto remember = [&](const Result<void>& removed, const std::string& name) {
      // Commit takes the active snapshot's name away, and a failed call may have made nothing.
      if (removed.ok() || removed.error().code() == ErrorCode::kNotFound) return;
      left += fmt::format("{}{}: {}", left.empty() ? "" : "; ", name, removed.error().message());
    };
    for (auto name = made_.rbegin(); name != made_.rend(); ++name) {
      snapshots::RemoveSnapshotRequest request;
      request.set_key(*name);
      google::protobuf::Empty response;
      remember(Call(*snapshots_, &snapshots::Snapshots::Stub::Remove, request, response, "remove"), *name);
    }
    if (!blob_.empty()) {
      content::DeleteContentRequest request;
      request.set_digest(blob_);
      google::protobuf::Empty response;
      remember(Call(*content_, &content::Content::Stub::Delete, request, response, "delete"), blob_);
    }
    if (leased_) {
      leases::DeleteRequest request;
      request.set_id(prefix_);
      google::protobuf::Empty response;
      remember(Call(*leases_, &leases::Leases::Stub::Delete, request, response, "delete"),
               "lease " + prefix_);
    }
    if (left.empty()) return;
    Say("daemon.clean-up", Verdict::kProblem, "left behind: " + left,
        "'snap why' explains a snapshot; the blob goes by itself within an hour");
  }

  const ProbeOptions& options_;
  const std::string prefix_, text_;
  std::unique_ptr<snapshots::Snapshots::Stub> snapshots_;
  std::unique_ptr<diff::Diff::Stub> diff_;
  std::unique_ptr<content::Content::Stub> content_;  // once containerd answered
  std::unique_ptr<leases::Leases::Stub> leases_;     // with it
  std::vector<std::string> made_;                    // snapshots, in order
  std::string blob_;
  bool leased_ = false;
  cli::DoctorChecks checks_;
};

}  // namespace

cli::DoctorChecks Probe(const ProbeOptions& options) { return Canary(options).Run(); }

std::string ProbeText(const cli::DoctorChecks& checks, bool json) {
  if (json) return cli::RenderJson(cli::DoctorJson(checks));
  cli::Table table({{"RESULT"}, {"CHECK"}, {"WHY, AND WHAT TO DO"}});
  for (const cli::DoctorCheck& check : checks) {
    table.AddRow({std::string(cli::VerdictName(check.verdict)), check.name, check.detail});
    if (!check.advice.empty()) table.AddRow({"", "", "-> " + check.advice});
  }
  return table.Render();
}

}  // namespace snap::daemon
