// The life of a FUSE connection. What is asked of the kernel is decided in Init, the first request, where it says what it can do.
#include "fuse/session.h"

#include <fmt/format.h>
#include <linux/capability.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <system_error>
#include <thread>

#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_fuse.h"
#include "fuse/operations.h"

namespace snap::fuse {
namespace {

constexpr unsigned kMaxWrite = 1U << 20U;
constexpr const char* kUringParameter = "/sys/module/fuse/parameters/enable_uring";

bool SystemEnablesUring() {
  const SysResult<std::string> value = sys::ReadFileAt(FdRef::Cwd(), kUringParameter, 16);
  return value.ok() && value->starts_with('Y');
}

/// CAP_SYS_ADMIN that the first user namespace honours: what BACKING_OPEN wants.
bool IsFirstNamespaceAdmin() {
  const SysResult<std::string> map = sys::ReadFileAt(FdRef::Cwd(), "/proc/self/uid_map", 4096);
  if (!map.ok()) return false;
  uint64_t inside = 1, outside = 1, size = 0;
  if (std::sscanf(map->c_str(), "%lu %lu %lu", &inside, &outside, &size) != 3 || inside != 0 || outside != 0 ||
      size != 4294967295U) {
    return false;
  }
  const SysResult<std::string> status = sys::ReadFileAt(FdRef::Cwd(), "/proc/self/status", size_t{64} << 10U);
  if (!status.ok()) return false;
  const size_t at = status->find("CapEff:\t");
  uint64_t effective = 0;
  if (at == std::string::npos || std::sscanf(status->c_str() + at, "CapEff:\t%lx", &effective) != 1) return false;
  return (effective & (uint64_t{1} << CAP_SYS_ADMIN)) != 0;
}

constexpr bool kLibraryHasPassthrough = FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17);
constexpr bool kLibraryHasUring = FUSE_VERSION >= FUSE_MAKE_VERSION(3, 18);

bool WantsUring(const SessionOptions& options) {
  return kLibraryHasUring && options.io_uring != Use::kOff && SystemEnablesUring();
}

/// The difference between libfuse's two ways to say what is wanted.
void Want(fuse_conn_info* connection, uint64_t capability, bool wanted) {
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
  if (wanted) {
    (void)fuse_set_feature_flag(connection, capability);  // false where the kernel cannot
  } else {
    fuse_unset_feature_flag(connection, capability);
  }
#else
  const auto flag = static_cast<unsigned>(capability);
  if (!wanted) {
    connection->want &= ~flag;
  } else if ((connection->capable & flag) != 0) {
    connection->want |= flag;
  }
#endif
}

/// Files for passthrough. Nothing is registered before the kernel has agreed to it.
class KernelBacking final : public BackingFiles {
 public:
  void Begin(int connection) { connection_.store(connection, std::memory_order_release); }
  SysResult<int32_t> Register(FdRef file) override {
    const int connection = connection_.load(std::memory_order_acquire);
    if (connection < 0) return Errno(EOPNOTSUPP);
    return sys::FuseBackingOpen(FdRef(connection), file);
  }
  void Unregister(int32_t id) override {
    // The only failure is an id that is not known, which is one that is not registered.
    (void)sys::FuseBackingClose(FdRef(connection_.load(std::memory_order_acquire)), id);
  }

 private:
  std::atomic<int> connection_{-1};
};

}  // namespace

class Session::Impl {
 public:
  ~Impl() {
    if (session_ != nullptr) {
      if (mounted_) fuse_session_unmount(session_);
      fuse_session_destroy(session_);
    }
  }

  Result<void> Mount(const std::string& target, const SessionOptions& options, const Opener& open) {
    options_ = options;
    std::string mount_point = target;
    if (!target.starts_with("/dev/fd/")) {
      // libfuse unmounts by the path, which may be long after the working directory has changed.
      std::error_code failed;
      mount_point = std::filesystem::canonical(target, failed).string();
      if (failed) return Error(Errno(failed.value()), fmt::format("find the mount point {}", Quote(target)));
    }
    if (!options.stats_path.empty()) options_.stats_path = std::filesystem::absolute(options.stats_path).string();
    const bool may_pass = kLibraryHasPassthrough && options.passthrough != Use::kOff && options.no_open != Use::kOn &&
                          IsFirstNamespaceAdmin();
    SNAP_TRY(union_, open(may_pass ? &backing_ : nullptr));
    may_pass_ = may_pass;
    serving_.fs = union_.get();
    serving_.timeout_seconds = options.timeout_seconds;
    serving_.session = this;
    serving_.init = [](void* self, fuse_conn_info* connection) { static_cast<Impl*>(self)->Init(connection); };

    std::vector<std::string> words = {"snap-fuse"};
    std::string mount_options = "fsname=" + options.source + ",subtype=snap-fuse";
    for (const std::string& option : options.mount_options) mount_options += "," + option;
    if (WantsUring(options)) mount_options += ",io_uring";
    words.insert(words.end(), {"-o", mount_options});
    if (options.debug) words.emplace_back("-d");
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    fuse_args args = FUSE_ARGS_INIT(static_cast<int>(argv.size()), argv.data());
    session_ = fuse_session_new(&args, &Operations(), sizeof(fuse_lowlevel_ops), &serving_);
    fuse_opt_free_args(&args);
    if (session_ == nullptr) return MakeError(ErrorCode::kInvalidArgument, "mount options {} are refused", Quote(mount_options));
    if (fuse_session_mount(session_, mount_point.c_str()) != 0) {
      return Error(errno != 0 ? Errno(errno) : Errno(EIO), fmt::format("mount at {}", Quote(target)));
    }
    mounted_ = true;
    return {};
  }

  Result<void> Serve() {
    fuse_loop_config* config = fuse_loop_cfg_create();
    if (config == nullptr) return MakeError(ErrorCode::kIo, "no memory for the session");
    const unsigned threads = options_.threads != 0 ? options_.threads : std::max(2U, std::thread::hardware_concurrency());
    fuse_loop_cfg_set_clone_fd(config, 1);
    fuse_loop_cfg_set_max_threads(config, threads);
    fuse_loop_cfg_set_idle_threads(config, threads);
    const int ended = fuse_session_loop_mt(session_, config);
    fuse_loop_cfg_destroy(config);
    fuse_session_unmount(session_);
    mounted_ = false;
    if (ended < 0) return Error(Errno(-ended), "serve the union");
    return {};
  }

  void Stop() {
    fuse_session_exit(session_);
    fuse_session_unmount(session_);  // wakes the threads that wait for requests
  }

  Result<void> WriteStats() const {
    if (options_.stats_path.empty()) return {};
    std::string text;
    for (size_t i = 0; i < serving_.requests.size(); ++i) {
      const uint64_t count = serving_.requests[i].load(std::memory_order_relaxed);
      if (count != 0) text += fmt::format("{} {}\n", OperationName(static_cast<Operation>(i)), count);
    }
    const UnionFs::Counts counts = union_->counts();
    text += fmt::format("held_nodes {}\nheld_handles {}\nheld_directory_descriptors {}\nheld_detached_files {}\n", counts.nodes,
                        counts.handles, counts.directory_descriptors, counts.detached_descriptors);
    SNAP_TRY_SYS(const UniqueFd file, sys::OpenAt(FdRef::Cwd(), options_.stats_path.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0644),
                 "open {}", Quote(options_.stats_path));
    SNAP_TRY_SYS_VOID(sys::WriteAll(file, text), "write {}", Quote(options_.stats_path));
    return {};
  }

 private:
  void Init(fuse_conn_info* connection) {
    connection->max_write = kMaxWrite;
    connection->max_readahead = std::max(connection->max_readahead, 1U << 17U);
    connection->max_background = 64;
    connection->congestion_threshold = 48;
    connection->time_gran = 1;
    const bool acls = union_->traits().has_acls;
    Want(connection, FUSE_CAP_ASYNC_READ, true);
    Want(connection, FUSE_CAP_PARALLEL_DIROPS, true);
    Want(connection, FUSE_CAP_READDIRPLUS, true);
    Want(connection, FUSE_CAP_READDIRPLUS_AUTO, false);  // would go back to READDIR and a LOOKUP for each name
    Want(connection, FUSE_CAP_CACHE_SYMLINKS, true);
    Want(connection, FUSE_CAP_ATOMIC_O_TRUNC, true);
    Want(connection, FUSE_CAP_POSIX_ACL, acls);
    Want(connection, FUSE_CAP_DONT_MASK, true);
    Want(connection, FUSE_CAP_AUTO_INVAL_DATA, false);  // nobody changes files behind the kernel's back
    Want(connection, FUSE_CAP_WRITEBACK_CACHE, false);
    Want(connection, FUSE_CAP_SPLICE_READ, false);
    Want(connection, FUSE_CAP_SPLICE_WRITE, false);
    Want(connection, FUSE_CAP_SPLICE_MOVE, false);
    Want(connection, FUSE_CAP_IOCTL_DIR, false);
    Want(connection, FUSE_CAP_FLOCK_LOCKS, false);  // locks are the kernel's own affair
    Want(connection, FUSE_CAP_POSIX_LOCKS, false);
#ifdef FUSE_CAP_HANDLE_KILLPRIV
    Want(connection, FUSE_CAP_HANDLE_KILLPRIV, false);
#endif
#ifdef FUSE_CAP_HANDLE_KILLPRIV_V2
    Want(connection, FUSE_CAP_HANDLE_KILLPRIV_V2, true);
#endif
    bool passthrough = false;
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
    if (may_pass_ && fuse_set_feature_flag(connection, FUSE_CAP_PASSTHROUGH)) {
      connection->max_backing_stack_depth = 1;  // our files may lie on any file system that is not stacked, and overlayfs may lie on us
      backing_.Begin(fuse_session_fd(session_));
      passthrough = true;
    }
#endif
    serving_.no_open = options_.no_open == Use::kOn || (options_.no_open == Use::kAuto && !passthrough);
    if (serving_.no_open) Want(connection, FUSE_CAP_ATOMIC_O_TRUNC, false);
  }

  SessionOptions options_;
  KernelBacking backing_;
  bool may_pass_ = false;
  std::unique_ptr<UnionFs> union_;
  Serving serving_;
  fuse_session* session_ = nullptr;
  bool mounted_ = false;
};

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::~Session() = default;

Result<std::unique_ptr<Session>> Session::Mount(const std::string& target, const SessionOptions& options, const Opener& open) {
  auto impl = std::make_unique<Impl>();
  SNAP_TRY_VOID(impl->Mount(target, options, open));
  return std::unique_ptr<Session>(new Session(std::move(impl)));
}

Result<void> Session::Serve() { return impl_->Serve(); }
void Session::Stop() { impl_->Stop(); }
Result<void> Session::WriteStats() const { return impl_->WriteStats(); }

std::string LibfuseVersion() { return fuse_pkgversion(); }

std::vector<SessionFeature> SessionFeatures(const SessionOptions& options) {
  std::vector<SessionFeature> features;
  const bool admin = IsFirstNamespaceAdmin();
  SessionFeature passthrough{"passthrough", false, ""};
  if (!kLibraryHasPassthrough) {
    passthrough.detail = "needs libfuse 3.17 or newer (tools/build-libfuse)";
  } else if (!admin) {
    passthrough.detail = "needs CAP_SYS_ADMIN of the first user namespace";
  } else if (options.passthrough == Use::kOff || options.no_open == Use::kOn) {
    passthrough.detail = "turned off by the options";
  } else {
    passthrough.active = true;
    passthrough.detail = "data of upper files does not pass through this process (Linux 6.9)";
  }
  features.push_back(passthrough);
  SessionFeature uring{"io_uring", false, ""};
  if (!kLibraryHasUring) {
    uring.detail = "needs libfuse 3.18 or newer (tools/build-libfuse)";
  } else if (!SystemEnablesUring()) {
    uring.detail = fmt::format("the administrator can enable it: echo 1 > {}", kUringParameter);
  } else if (options.io_uring == Use::kOff) {
    uring.detail = "turned off by the options";
  } else {
    uring.active = true;
    uring.detail = "requests travel through rings, one for each processor";
  }
  features.push_back(uring);
  const bool no_open = options.no_open == Use::kOn || (options.no_open == Use::kAuto && !passthrough.active);
  features.push_back({"no_open", no_open,
                      no_open ? "files are opened without asking this process"
                              : "off where passthrough works: the two exclude each other"});
  return features;
}

}  // namespace snap::fuse
