// The mount is made here, detached, as any file system's; its server is a program that gets the layers and the connection as
// descriptors. Invariant: when MountStacked fails there is no server; when it succeeds this process holds no end of the connection,
// so that a server's death is seen as such.
#include "fuse/fuse_backend.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/mount.h>
#include <sys/stat.h>

#include <cerrno>
#include <chrono>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "fs/base/fault.h"
#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"
#include "fs/base/sys_process.h"
#include "fs/base/sys_program.h"

namespace snap {
namespace {

constexpr size_t kMaxLowers = 500;
constexpr std::chrono::seconds kPatience(60);  // to read the metadata of every packed layer from a slow disk
constexpr size_t kMaxOutput = 4096;
constexpr const char* kDevice = "/dev/fuse";

/// What the server is given, and under which name it finds it.
class Handover {
 public:
  std::string Add(FdRef fd) {
    fds_.push_back(fd);
    return fmt::format("/proc/self/fd/{}", sys::kFirstInherited + static_cast<int>(fds_.size()) - 1);
  }
  std::span<const FdRef> fds() const { return fds_; }

 private:
  std::vector<FdRef> fds_;
};

/// Sees the server's end: a pipe that nobody but the server can write. Who drops a tree that nobody else has may take its layers
/// away next, so the drop waits until the server is done with them.
class ServerHold final : public MountHolds {
 public:
  explicit ServerHold(UniqueFd pipe) : pipe_(std::move(pipe)) {}
  ~ServerHold() override {
    if (!pipe_.valid()) return;
    const FdRef pipe(pipe_);
    (void)sys::PollReadable(std::span(&pipe, 1), kEndPatience);  // one that hangs is not ours to wait for
  }
  std::vector<UniqueFd> Release() override {
    pipe_.Reset();
    return {};
  }
  void Outlived() override { pipe_.Reset(); }

 private:
  static constexpr std::chrono::milliseconds kEndPatience{5000};
  UniqueFd pipe_;
};

Result<UniqueFd> OpenDevice() {
  SysResult<UniqueFd> device = sys::OpenAt(FdRef::Cwd(), kDevice, O_RDWR);
  if (device.ok()) return *std::move(device);
  if (device.error() == ENOENT || device.error() == ENODEV || device.error() == ENXIO) {
    return MakeError(ErrorCode::kUnsupported, "mount by FUSE: there is no {} here", Quote(kDevice));
  }
  return Error(device.error(), fmt::format("open {}", Quote(kDevice)));
}

uint64_t Attributes(const MountStack& stack, const MountOptions& options) {
  uint64_t attributes = MOUNT_ATTR_NOATIME;
  if (options.read_only || !stack.upper) attributes |= MOUNT_ATTR_RDONLY;
  if (options.no_suid) attributes |= MOUNT_ATTR_NOSUID;
  if (options.no_dev) attributes |= MOUNT_ATTR_NODEV;
  if (options.no_exec) attributes |= MOUNT_ATTR_NOEXEC;
  return attributes;
}

SysResult<UniqueFd> MakeMount(FdRef device, uint64_t attributes) {
  SNAP_TRY(const UniqueFd context, sys::FsOpen("fuse"));
  SNAP_TRY_VOID(sys::FsConfigString(context, "source", "snap-fuse"));
  SNAP_TRY_VOID(sys::FsConfigString(context, "subtype", "snap-fuse"));
  SNAP_TRY_VOID(sys::FsConfigString(context, "fd", std::to_string(device.get()).c_str()));
  SNAP_TRY_VOID(sys::FsConfigString(context, "rootmode", "40000"));
  SNAP_TRY_VOID(sys::FsConfigString(context, "user_id", std::to_string(sys::EffectiveUid()).c_str()));
  SNAP_TRY_VOID(sys::FsConfigString(context, "group_id", std::to_string(sys::EffectiveGid()).c_str()));
  SNAP_TRY_VOID(sys::FsConfigFlag(context, "default_permissions"));
  SNAP_TRY_VOID(sys::FsConfigFlag(context, "allow_other"));
  if ((attributes & MOUNT_ATTR_RDONLY) != 0) SNAP_TRY_VOID(sys::FsConfigFlag(context, "ro"));
  SNAP_TRY_VOID(sys::FsConfigCreate(context));
  return sys::FsMount(context, attributes);
}

struct Place {
  dev_t device = 0;
  ino_t inode = 0;
  uint64_t mount = 0;
  auto operator<=>(const Place&) const = default;
};
Result<Place> PlaceOfDirectory(FdRef directory, std::string_view what) {
  SNAP_TRY_SYS(const struct stat status, sys::FStat(directory), "mount by FUSE: stat {}", what);
  if (!S_ISDIR(status.st_mode)) {
    return Error(Errno(ENOTDIR), fmt::format("mount by FUSE: use {} as {}", Quote(sys::DescribeFd(directory)), what));
  }
  const auto more = sys::StatX(directory, "", AT_EMPTY_PATH, STATX_MNT_ID);
  return Place{status.st_dev, status.st_ino, more.ok() ? more->stx_mnt_id : 0};
}

Result<void> CheckStack(const MountStack& stack, const MountOptions& options) {
  const size_t lowers = stack.lowers_top_first.size();
  if (lowers == 0) return MakeError(ErrorCode::kInvalidArgument, "mount by FUSE: there is no lower layer");
  if (lowers > kMaxLowers) {
    return MakeError(ErrorCode::kInvalidArgument, "mount by FUSE: {} lower layers, at most {} can be stacked", lowers, kMaxLowers);
  }
  std::set<Place> places;
  for (const MountStack::Lower& lower : stack.lowers_top_first) {
    if (lower.packed) continue;
    SNAP_TRY(Place place, PlaceOfDirectory(lower.fd, "lower layer"));
    place.mount = 0;
    if (places.insert(place).second) continue;
    return MakeError(ErrorCode::kInvalidArgument, "mount by FUSE: {} is there twice", Quote(sys::DescribeFd(lower.fd)));
  }
  if (!stack.upper) return {};
  SNAP_TRY(const Place upper, PlaceOfDirectory(stack.upper->upper, "upper"));
  SNAP_TRY(const Place work, PlaceOfDirectory(stack.upper->work, "work"));
  if (options.read_only || (upper.device == work.device && upper.mount == work.mount)) return {};
  return MakeError(ErrorCode::kInvalidArgument, "mount by FUSE: work {} is not on the file system of upper {}",
                   Quote(sys::DescribeFd(stack.upper->work)), Quote(sys::DescribeFd(stack.upper->upper)));
}

/// The server's option list. The work directory of an upper that is only read may be in use.
std::string ServerOptions(const MountStack& stack, const MountOptions& options, Handover& handover) {
  std::string lowers, more;
  size_t number = 0;
  for (const MountStack::Lower& lower : stack.lowers_top_first) {
    ++number;
    if (!lowers.empty()) lowers += ':';
    lowers += handover.Add(lower.fd);
    if (lower.devices.empty()) continue;
    more += fmt::format(",devices={}", number);
    for (const FdRef device : lower.devices) more += ":" + handover.Add(device);
  }
  if (stack.objects) more += ",objects=" + handover.Add(*stack.objects);
  if (options.read_only) more += ",ro";
  if (stack.upper) {
    more += ",upperdir=" + handover.Add(stack.upper->upper);
    if (!options.read_only) more += ",workdir=" + handover.Add(stack.upper->work);
    if (options.volatile_upper) more += ",volatile";
  }
  if (options.user_xattr) more += ",userxattr";
  return "lowerdir=" + lowers + more;
}

std::string FirstLine(std::string_view text) {
  if (constexpr std::string_view kName = "snap-fuse: "; text.starts_with(kName)) text.remove_prefix(kName.size());
  return std::string(text.substr(0, text.find('\n')));
}

class FuseBackend final : public UnionBackend {
 public:
  explicit FuseBackend(FuseBackendOptions options) : server_(std::move(options.server)) {}

  std::string_view name() const override { return "fuse"; }

  Result<Mount> MountStacked(const MountStack& stack, const MountOptions& options) override {
    SNAP_TRY_VOID(CheckStack(stack, options));
    SNAP_TRY(const UniqueFd device, OpenDevice());
    SysResult<UniqueFd> mount = MakeMount(device, Attributes(stack, options));
    if (!mount.ok()) {
      if (mount.error() == ENODEV) return MakeError(ErrorCode::kUnsupported, "mount by FUSE: this kernel has no FUSE");
      return Error(mount.error(), "mount by FUSE");
    }
    SNAP_FAULT_POINT("fuse.backend.before_server");
    SNAP_TRY_SYS(sys::Pipe pipe, sys::MakePipe(), "make a pipe");
    SNAP_TRY_VOID(StartServer(stack, options, device, pipe.write_end));
    return Mount(std::move(*mount), std::make_unique<ServerHold>(std::move(pipe.read_end)));
  }

  Result<Mount> MountPackedLayer(const MountStack::Lower&, const MountOptions&) override {
    return MakeError(ErrorCode::kUnsupported, "a packed layer as it is stored can only be shown by EROFS, not by FUSE");
  }

  Result<void> CanMountPacked() override { return {}; }

  std::vector<Feature> Features() override {
    std::vector<Feature> features;
    const auto add = [&](std::string name, bool available, std::string why_not) {
      features.push_back({std::move(name), available, available ? "" : std::move(why_not)});
    };
    const Result<UniqueFd> device = OpenDevice();
    add("fuse", device.ok(), device.ok() ? "" : device.error().message());
    const SysResult<sys::ProgramResult> said = sys::RunProgram({server_, "--features"}, kPatience, kMaxOutput);
    const bool there = said.ok() && said->status.ShellCode() == 0;
    add("fuse_server", there, said.ok() ? FirstLine(said->err) : fmt::format("run {}: {}", Quote(server_), said.error().Message()));
    // "passthrough: yes (why)"
    std::string_view rest = there ? std::string_view(said->out) : std::string_view();
    while (!rest.empty()) {
      const std::string_view line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(rest.size(), line.size() + 1));
      const size_t colon = line.find(": "), open = line.find(" (");
      if (colon == std::string_view::npos || open == std::string_view::npos || open < colon || !line.ends_with(')')) continue;
      add("fuse_" + std::string(line.substr(0, colon)), line.substr(colon + 2, open - colon - 2) == "yes",
          std::string(line.substr(open + 2, line.size() - open - 3)));
    }
    return features;
  }

 private:
  /// Returns when it serves, or has said why it cannot.
  Result<void> StartServer(const MountStack& stack, const MountOptions& options, FdRef device, FdRef alive) {
    Handover handover;
    const std::string list = ServerOptions(stack, options, handover);
    handover.Add(device);
    const std::string target = fmt::format("/dev/fd/{}", sys::kFirstInherited + static_cast<int>(handover.fds().size()) - 1);
    handover.Add(alive);
    SysResult<sys::ProgramResult> run = sys::RunProgramWith(sys::ProgramCall{.words = {server_, "-o", list, target}, .inherited = handover.fds()}, kPatience, kMaxOutput);
    if (!run.ok()) {
      if (run.error() == ENOENT) {
        return MakeError(ErrorCode::kUnsupported, "mount by FUSE: there is no program {}", Quote(server_));
      }
      return Error(run.error(), fmt::format("mount by FUSE: run {}", Quote(server_)));
    }
    if (run->timed_out) {
      return MakeError(ErrorCode::kUnavailable, "mount by FUSE: {} did not start to serve within {} seconds", Quote(server_),
                       kPatience.count());
    }
    if (run->status.ShellCode() == 0) return {};
    const std::string said = FirstLine(run->err);
    return MakeError(ErrorCode::kIo, "mount by FUSE: {}",
                     said.empty() ? fmt::format("{} ended with status {}", Quote(server_), run->status.ShellCode()) : said);
  }

  const std::string server_;
};

}  // namespace

std::shared_ptr<UnionBackend> MakeFuseBackend(FuseBackendOptions options) {
  return std::make_shared<FuseBackend>(std::move(options));
}

}  // namespace snap
