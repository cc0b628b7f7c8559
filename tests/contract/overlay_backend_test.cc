// What only the overlayfs backend promises: that each way of mounting is the one asked for, that the retreat
// from one to the next works, and that probes tell the truth and leave nothing.
#include "overlay/overlay_backend.h"

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <thread>

#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"
#include "fs/base/sys_process.h"
#include "overlay/features.h"
#include "overlay/mount_options.h"
#include "overlay/scratch.h"
#include "tests/contract/union_backend_fixture.h"

namespace snap::overlay {
namespace {

class OverlayBackendTest : public UnionBackendTest {
 protected:
  /// The options overlayfs shows for a mount.
  std::string SuperOptions(Mount mount) {
    tree::MakeDir(scratch(), "target");
    EXPECT_TRUE(mount.AttachTo(*sys::OpenAt(scratch(), "target", O_PATH)).ok());
    const auto mounts = sys::ListMounts();
    EXPECT_TRUE(sys::Unmount((scratch_path() + "/target").c_str(), sys::kUnmountDetach).ok());
    EXPECT_TRUE(sys::UnlinkAt(scratch(), "target", AT_REMOVEDIR).ok());
    return mounts->back().super_options;
  }
  UniqueFd Dir(const std::string& name) {
    return *sys::OpenAt(scratch(), name.c_str(), O_PATH | O_DIRECTORY);
  }
  std::string CacheFile() { return tree::Read(scratch(), FeatureCache::kFileName); }
  CacheKey Key() { return {sys::KernelRelease(), *sys::BootId(), sys::EffectiveUid()}; }
};
INSTANTIATE_TEST_SUITE_P(Overlay, OverlayBackendTest,
                         testing::Values(BackendCase{"Auto", [] { return MakeOverlayBackend(); }}),
                         [](const auto& backend) { return backend.param.name; });

/// Runs `body` on a thread for which one system call fails, as on an older kernel or in a stricter sandbox.
/// With `second_argument` only calls with that one.
void RunWithoutCall(long call, std::optional<unsigned> second_argument, int error,
                    const std::function<void()>& body) {
  std::thread([&] {
    const auto number = static_cast<unsigned>(call);
    std::array<sock_filter, 6> filter{{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args) + sizeof(__u64)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, second_argument.value_or(0), 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    }};
    if (!second_argument) filter[3] = BPF_STMT(BPF_LD | BPF_IMM, 0);  // falls through to the refusal
    const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
    ASSERT_EQ(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ASSERT_EQ(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
    body();
  }).join();
}

TEST_P(OverlayBackendTest, EachMethodMountsInItsOwnWay) {
  (void)AddLayerNamed("lower");
  const struct {
    MountMethod method;
    std::string shows;
  } cases[] = {
      {MountMethod::kFds, "lowerdir+=" + scratch_path() + "/lower"},
      {MountMethod::kStrings, "lowerdir+=/proc/self/fd/"},
      {MountMethod::kLegacy, "lowerdir=0,"},
  };
  for (const auto& c : cases) {
    const auto chosen = MakeOverlayBackend({.method = c.method});
    auto mount = chosen->MountStacked(WritableStack(), {});
    ASSERT_TRUE(mount.ok()) << mount.error().message();
    const std::string options = SuperOptions(std::move(*mount));
    EXPECT_NE(options.find(c.shows), std::string::npos) << options;
  }
}

TEST_P(OverlayBackendTest, TheKernelIsToldEveryOptionWhoseDefaultVaries) {
  (void)AddLayer();
  (void)AddLayer();
  // The kernel shows an option only when it differs from the machine's default; redirect_dir it shows always
  // here, since "off" means "follow" on most machines.
  const std::string plain = SuperOptions(MountOf(WritableStack()));
  EXPECT_NE(plain.find("redirect_dir=on"), std::string::npos) << plain;
  EXPECT_NE(plain.find("metacopy=on"), std::string::npos) << plain;
  const std::string lowers = SuperOptions(MountOf(ReadOnlyStack()));
  EXPECT_NE(lowers.find("redirect_dir=nofollow"), std::string::npos) << lowers;
  const std::string special =
      SuperOptions(MountOf(WritableStack(), {.volatile_upper = true, .user_xattr = true}));
  EXPECT_NE(special.find("volatile"), std::string::npos) << special;
  EXPECT_NE(special.find("userxattr"), std::string::npos) << special;
}

TEST_P(OverlayBackendTest, ARedirectInALayerIsNotFollowed) {
  const FdRef bottom = AddLayer();
  tree::MakeDir(bottom, "secret");
  tree::Write(bottom, "secret/file", "x");
  const FdRef top = AddLayer();
  tree::MakeDir(bottom, "dir");
  tree::MakeDir(top, "dir");
  ASSERT_TRUE(sys::SetXattrAt(top, "dir", "trusted.overlay.redirect", AsBytes("/secret")).ok());
  const Mount mount = MountOf(ReadOnlyStack());
  EXPECT_FALSE(sys::StatAt(mount.root(), "dir/file").ok());
}

TEST_P(OverlayBackendTest, EscapedNamesMeanThemselvesToTheKernel) {
  const std::string names[] = {"plain",  "a:b",    "a,b",       "back\\slash", "\\",
                               "\\:\\,", "tail\\", "new\nline", "=",           " "};
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    const std::string lower = "l" + name, upper_name = "u" + name, work_name = "w" + name;
    for (const std::string& dir : {lower, upper_name, work_name}) tree::MakeDir(scratch(), dir);
    tree::MakeDir(scratch(), "target");
    tree::Write(scratch(), tree::Join(lower, "lower"), "x");
    const std::string target = tree::Join(scratch_path(), "target");
    LayerPaths paths{{tree::Join(scratch_path(), lower)},
                     "",
                     tree::Join(scratch_path(), upper_name),
                     tree::Join(scratch_path(), work_name)};
    const UniqueFd upper_dir = Dir(upper_name);
    if (name != "plain") paths.lowers_top_first.push_back(tree::Join(scratch_path(), "lplain"));
    const auto data = FormatMountData(paths, {});
    ASSERT_TRUE(data.ok());
    const auto mounted = sys::Mount("overlay", target.c_str(), "overlay", 0, data->c_str());
    ASSERT_TRUE(mounted.ok()) << *data << ": " << mounted.error().Message();
    EXPECT_EQ(tree::Read(scratch(), "target/lower"), "x");
    tree::Write(scratch(), "target/written", "y");
    ASSERT_TRUE(sys::Unmount(target.c_str(), 0).ok());
    EXPECT_EQ(tree::Read(upper_dir, "written"), "y");
    ASSERT_TRUE(sys::UnlinkAt(scratch(), "target", AT_REMOVEDIR).ok());
  }
}

TEST_P(OverlayBackendTest, LayersMayBeInADetachedMountWhereTheProbeSaysSo) {
  const Result<FeatureSet> features = ProbeFeatures();
  ASSERT_TRUE(features.ok());
  const UniqueFd detached = *NewScratch();
  tree::MakeDir(detached, "layer");
  tree::Write(detached, "layer/file", "x");
  const UniqueFd layer = *sys::OpenAt(detached, "layer", O_PATH);
  (void)AddLayer();
  MountStack stack = ReadOnlyStack();
  stack.lowers_top_first.push_back(layer);
  const auto mount = backend().MountStacked(stack, {});
  ASSERT_EQ(mount.ok(), (*features)[Feature::kDetachedLayers].available);
  if (mount.ok()) {
    EXPECT_EQ(tree::Read(mount->root(), "file"), "x");
  }
}

// --- choosing
// ----------------------------------------------------------------------------------------------------

TEST_P(OverlayBackendTest, WithoutLayersByDescriptorTheirNamesAreUsed) {
  tree::Write(AddLayer(), "file", "x");
  const MountStack stack = WritableStack();
  RunWithoutCall(SYS_fsconfig, FSCONFIG_SET_FD, EINVAL, [&] {
    const auto fallen_back = MakeOverlayBackend();
    auto mount = fallen_back->MountStacked(stack, {});
    ASSERT_TRUE(mount.ok()) << mount.error().message();
    EXPECT_NE(SuperOptions(std::move(*mount)).find("/proc/self/fd/"), std::string::npos);

    const auto forced = MakeOverlayBackend({.method = MountMethod::kFds});
    const auto refused = forced->MountStacked(stack, {});
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), ErrorCode::kUnsupported) << refused.error().message();
    EXPECT_NE(refused.error().message().find("lowerdir+ by descriptor"), std::string::npos);
  });
}

// The cache tells the backend that this kernel is an old one.
TEST_P(OverlayBackendTest, ARefusalIsOnlyUnsupportedWhenAFeatureIsMissing) {
  (void)AddLayer();
  const UniqueFd proc = *sys::OpenAt(FdRef::Cwd(), "/proc/self", O_PATH | O_DIRECTORY);
  MountStack impossible = ReadOnlyStack();
  impossible.upper = MountStack::Upper{proc, proc};  // no file system to write to
  for (const bool old_kernel : {false, true}) {
    FeatureSet features;
    for (Probe& probe : features.probes) probe = old_kernel ? Probe{false, "old"} : Probe{true, ""};
    tree::Write(scratch(), FeatureCache::kFileName, FormatCache(features, Key()));
    for (const MountMethod method :
         {MountMethod::kAuto, MountMethod::kFds, MountMethod::kStrings, MountMethod::kLegacy}) {
      const auto with_cache =
          MakeOverlayBackend({.method = method, .feature_cache_directory = scratch_path()});
      const auto mount = with_cache->MountStacked(impossible, {});
      ASSERT_FALSE(mount.ok());
      const bool lacks = old_kernel && (method == MountMethod::kFds || method == MountMethod::kStrings);
      EXPECT_EQ(mount.error().code(), lacks ? ErrorCode::kUnsupported : ErrorCode::kInvalidArgument)
          << mount.error().message();
    }
  }
}

// --- probes
// ------------------------------------------------------------------------------------------------------

TEST_P(OverlayBackendTest, ProbesAgreeWithTheMountsThatNeedThem) {
  const Result<FeatureSet> probed = ProbeFeatures();
  ASSERT_TRUE(probed.ok()) << probed.error().message();
  (void)AddLayer();
  (void)AddLayer();
  const auto works = [&](MountMethod method, const MountOptions& options) {
    return MakeOverlayBackend({.method = method})->MountStacked(ReadOnlyStack(), options).ok();
  };
  const FeatureSet& set = *probed;
  EXPECT_EQ(set[Feature::kLowerByFd].available, works(MountMethod::kFds, {}));
  EXPECT_EQ(set[Feature::kLowerByName].available, works(MountMethod::kStrings, {}));
  EXPECT_EQ(set[Feature::kUserXattr].available, works(MountMethod::kLegacy, {.user_xattr = true}));
  EXPECT_EQ(set[Feature::kVolatile].available, [&] {
    return SuperOptions(MountOf(WritableStack(), {.volatile_upper = true})).find("volatile") !=
           std::string::npos;
  }());
  for (const Probe& probe : set.probes) EXPECT_EQ(probe.available, probe.detail.empty());
}

TEST_P(OverlayBackendTest, ProbesLeaveNothing) {
  (void)ProbeFeatures();
  const std::vector<std::string> mounts = MountLines();
  const size_t descriptors = OpenDescriptors();
  const size_t in_tmp = tree::Names(scratch(), ".").size();
  const std::string directory = *sys::ReadLinkAt(FdRef::Cwd(), "/proc/self/cwd");
  ASSERT_TRUE(ProbeFeatures().ok());
  EXPECT_EQ(MountLines(), mounts);
  EXPECT_EQ(OpenDescriptors(), descriptors);
  EXPECT_EQ(tree::Names(scratch(), ".").size(), in_tmp);
  EXPECT_EQ(*sys::ReadLinkAt(FdRef::Cwd(), "/proc/self/cwd"), directory);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "no child is left";
  EXPECT_EQ(errno, ECHILD);
}

TEST_P(OverlayBackendTest, TheCacheFileIsWrittenOnceAndBelieved) {
  const FeatureSet probed = FeatureCache(scratch_path()).Get();
  EXPECT_EQ(ParseCache(CacheFile(), Key()), probed);
  EXPECT_EQ(tree::Names(scratch()), std::set<std::string>{FeatureCache::kFileName})
      << "no temporary file is left";
  FeatureSet invented = probed;
  invented[Feature::kMetacopy] = {!probed[Feature::kMetacopy].available, "invented"};
  tree::Write(scratch(), FeatureCache::kFileName, FormatCache(invented, Key()));
  EXPECT_EQ(FeatureCache(scratch_path()).Get(), invented) << "the file was not read";
}

TEST_P(OverlayBackendTest, ADamagedOrForeignCacheFileIsProbedAgainAndReplaced) {
  const FeatureSet probed = FeatureCache(std::nullopt).Get();
  FeatureSet invented = probed;
  invented[Feature::kMetacopy] = {!probed[Feature::kMetacopy].available, "invented"};
  CacheKey other_boot = Key();
  other_boot.boot_id = "00000000-0000-0000-0000-000000000000";
  const std::string good = FormatCache(invented, Key());
  for (const std::string& text :
       {std::string(), std::string("{"), good.substr(0, good.size() / 2), good + "x",
        std::string(1 << 20U, ' '), FormatCache(invented, other_boot)}) {
    tree::Write(scratch(), FeatureCache::kFileName, text);
    EXPECT_EQ(FeatureCache(scratch_path()).Get(), probed);
    EXPECT_EQ(ParseCache(CacheFile(), Key()), probed);
  }
}

TEST_P(OverlayBackendTest, WithoutAUsableCacheDirectoryItProbes) {
  EXPECT_EQ(FeatureCache(scratch_path() + "/missing").Get(), FeatureCache(std::nullopt).Get());
}

TEST_P(OverlayBackendTest, AProcessThatMayNotMountSaysSoAndRemembersNothing) {
  RunWithoutCall(SYS_unshare, std::nullopt, EPERM, [&] {
    const auto probed = ProbeFeatures();
    ASSERT_FALSE(probed.ok());
    EXPECT_EQ(probed.error().code(), ErrorCode::kPermission);
    const FeatureSet set = FeatureCache(scratch_path()).Get();
    for (const Probe& probe : set.probes) {
      EXPECT_FALSE(probe.available);
      EXPECT_NE(probe.detail.find("private mount namespace"), std::string::npos) << probe.detail;
    }
  });
  EXPECT_TRUE(tree::Names(scratch()).empty());
}

TEST_P(OverlayBackendTest, EightThreadsGetTheSameFeatures) {
  FeatureCache cache(scratch_path());
  std::vector<FeatureSet> sets(8);
  std::vector<std::thread> threads;
  threads.reserve(sets.size());
  for (FeatureSet& set : sets) threads.emplace_back([&cache, &set] { set = cache.Get(); });
  for (std::thread& thread : threads) thread.join();
  for (const FeatureSet& set : sets) EXPECT_EQ(set, sets[0]);
}

}  // namespace
}  // namespace snap::overlay
