// The contract of IoEngine, run for every implementation; what they write is also compared with each other.
#include "fs/io_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <random>

#include "fs/base/sys_file.h"
#include "fs/base/sys_mount.h"
#include "fs/io_engine_uring_op.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tree_listing.h"

namespace snap {
namespace {

using test::DescribeFile;
using test::ListTree;
using test::TempDir;

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kMiB = 1024 * kKiB;

struct FileSpec {
  std::string name;
  Attributes attributes;
  uint64_t size;
  std::vector<DataExtent> extents;  // empty: everything is data
};

Attributes Plain(uint32_t permissions = 0644) {
  Attributes attributes;
  attributes.permissions = permissions;
  attributes.mtime = {1'600'000'000, 123'456'789};
  return attributes;
}

Attributes Owned(uint32_t permissions, uint32_t uid, uint32_t gid) {
  Attributes attributes = Plain(permissions);
  attributes.uid = uid;
  attributes.gid = gid;
  return attributes;
}

std::vector<FileSpec> Specs() {
  std::vector<FileSpec> specs;
  for (const uint64_t size :
       {uint64_t{0}, uint64_t{1}, 4096 - uint64_t{1}, 64 * kKiB - 1, 64 * kKiB, 64 * kKiB + 1, 256 * kKiB - 1,
        256 * kKiB, 512 * kKiB, 512 * kKiB + 1, 5 * kMiB, 20 * kMiB + 7}) {
    specs.push_back({fmt::format("size-{}", size), Plain(), size, {}});
  }
  specs.push_back({"hole-start", Plain(), 3 * kMiB, {{2 * kMiB, kMiB}}});
  specs.push_back({"hole-middle", Plain(), 3 * kMiB, {{0, kMiB}, {2 * kMiB, kMiB}}});
  // Runs that end in the middle of whatever buffer an engine has.
  specs.push_back({"hole-odd", Plain(), 3 * kMiB, {{4 * kKiB, 700 * kKiB}, {2 * kMiB, 300 * kKiB}}});
  specs.push_back({"hole-end", Plain(), 3 * kMiB, {{0, kMiB}}});
  specs.push_back({"hole-end-small", Plain(), 64 * kKiB, {{0, 4096}}});
  specs.push_back({"only-hole", Plain(), 1ULL << 33U, {{1ULL << 32U, 4096}}});
  specs.push_back({"set-user-id", Owned(04755, 0, 0), 10, {}});
  specs.push_back({"set-ids-other-owner", Owned(06755, 1000, 50), kMiB, {}});
  specs.push_back({"sticky", Plain(01644), 3, {}});
  specs.push_back({"unreadable", Owned(0000, 7, 7), 700 * kKiB, {}});
  specs.push_back({"world-writable", Plain(0777), 3, {}});
  specs.push_back({"large-ids", Owned(0600, 4'000'000'000U, 4'000'000'001U), 3, {}});
  FileSpec xattrs{"xattrs", Owned(0755, 1000, 1000), kMiB, {}};
  xattrs.attributes.xattrs = {
      {"security.capability", std::string("\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20)},
      {"user.empty", ""},
      {"user.bytes", std::string("a\0\xff", 3)}};
  specs.push_back(xattrs);
  FileSpec old{"before-1970", Plain(), 5, {}};
  old.attributes.mtime = {-1, 999'999'999};
  specs.push_back(old);
  specs.push_back({std::string(255, 'n'), Plain(), 1, {}});
  specs.push_back({"not-utf8-\xff\xfe\n", Plain(), 1, {}});
  return specs;
}

/// Reproducible bytes without zero pages.
std::vector<std::byte> Pattern(uint64_t offset, size_t size) {
  std::mt19937_64 random(offset + 1);
  std::vector<std::byte> out(size);
  for (std::byte& b : out) b = static_cast<std::byte>(random() | 1U);
  return out;
}

std::vector<DataExtent> ExtentsOf(const FileSpec& spec) {
  if (!spec.extents.empty() || spec.size == 0) return spec.extents;
  return {{0, spec.size}};
}

Result<void> WriteSpec(IoEngine& engine, FdRef dir, const FileSpec& spec, size_t chunk) {
  SNAP_TRY(const IoEngine::FileId id, engine.Create(dir, spec.name, spec.attributes, spec.size));
  for (const DataExtent& extent : ExtentsOf(spec)) {
    std::vector<std::byte> data = Pattern(extent.offset, extent.size);
    for (size_t at = 0; at < data.size(); at += chunk) {
      const size_t size = std::min(chunk, data.size() - at);
      SNAP_TRY_VOID(engine.Write(id, extent.offset + at, std::span(data).subspan(at, size)));
      // "The bytes may be reused when the call returns."
      std::fill_n(data.begin() + static_cast<ptrdiff_t>(at), size, std::byte{0xEE});
    }
  }
  return engine.Close(id);
}

class IoEngineContract : public testing::TestWithParam<IoEngineKind> {
 protected:
  void SetUp() override {
    auto engine = MakeIoEngine(GetParam());
    if (!engine.ok() && engine.error().code() == ErrorCode::kUnsupported) {
      GTEST_SKIP() << "this kernel: " << engine.error().message();
    }
    ASSERT_TRUE(engine.ok()) << engine.error().message();
    engine_ = std::move(*engine);
  }
  void Expect(const Result<void>& result) { EXPECT_TRUE(result.ok()) << result.error().message(); }

  TempDir temp_;
  std::unique_ptr<IoEngine> engine_;
};

std::string EngineName(const testing::TestParamInfo<IoEngineKind>& info) {
  switch (info.param) {
    case IoEngineKind::kAuto:
      return "Auto";
    case IoEngineKind::kPlain:
      return "Plain";
    case IoEngineKind::kUring:
      return "Uring";
  }
  return "Unknown";
}
INSTANTIATE_TEST_SUITE_P(Engines, IoEngineContract,
                         testing::Values(IoEngineKind::kAuto, IoEngineKind::kPlain, IoEngineKind::kUring),
                         EngineName);

TEST_P(IoEngineContract, FilesHaveTheirBytesAndAttributes) {
  for (const FileSpec& spec : Specs()) Expect(WriteSpec(*engine_, temp_.fd(), spec, 100'000));
  Expect(engine_->Drain());
  for (const FileSpec& spec : Specs()) {
    SCOPED_TRACE(spec.name);
    const auto found = sys::StatAt(temp_.fd(), spec.name.c_str());
    ASSERT_TRUE(found.ok());
    EXPECT_EQ(found->st_mode, S_IFREG | spec.attributes.permissions);
    EXPECT_EQ(found->st_uid, spec.attributes.uid);
    EXPECT_EQ(found->st_gid, spec.attributes.gid);
    EXPECT_EQ(found->st_mtim.tv_sec, spec.attributes.mtime.tv_sec);
    EXPECT_EQ(found->st_mtim.tv_nsec, spec.attributes.mtime.tv_nsec);
    ASSERT_EQ(static_cast<uint64_t>(found->st_size), spec.size);
    for (const Xattr& xattr : spec.attributes.xattrs) {
      EXPECT_EQ(*sys::GetXattrAt(temp_.fd(), spec.name.c_str(), xattr.name.c_str()), xattr.value)
          << xattr.name;
    }
    const UniqueFd file = *sys::OpenAt(temp_.fd(), spec.name.c_str(), O_RDONLY);
    for (const DataExtent& extent : ExtentsOf(spec)) {
      std::vector<std::byte> data(extent.size);
      size_t at = 0;
      while (at < data.size()) {
        const size_t got = *sys::PRead(file, std::span(data).subspan(at), extent.offset + at);
        ASSERT_GT(got, 0U);
        at += got;
      }
      EXPECT_TRUE(data == Pattern(extent.offset, extent.size)) << "data at " << extent.offset;
    }
  }
}

TEST_P(IoEngineContract, WhatIsNotWrittenIsAHole) {
  const std::pair<const char*, const char*> cases[] = {
      {"hole-start", "2097152+1048576"}, {"hole-middle", "0+1048576 2097152+1048576"},
      {"hole-end", "0+1048576"},         {"hole-end-small", "0+4096"},
      {"only-hole", "4294967296+4096"},
  };
  for (const FileSpec& spec : Specs()) {
    if (!spec.extents.empty()) Expect(WriteSpec(*engine_, temp_.fd(), spec, 100'000));
  }
  Expect(engine_->Drain());
  for (const auto& [name, extents] : cases) {
    const UniqueFd file = *sys::OpenAt(temp_.fd(), name, O_RDONLY);
    EXPECT_EQ(test::DataExtents(file), extents) << name;
  }
}

TEST_P(IoEngineContract, TreeIsTheSameWhateverTheEngineAndTheChunks) {
  const UniqueFd expected = temp_.MakeDir("expected");
  auto oracle = *MakeIoEngine(IoEngineKind::kPlain);
  for (const FileSpec& spec : Specs()) Expect(WriteSpec(*oracle, expected, spec, 1U << 30U));
  Expect(oracle->Drain());
  const auto expected_tree = [&] {
    auto tree = ListTree(expected);
    tree.erase(".");  // its time is not the engine's
    return tree;
  }();
  for (const size_t chunk : {size_t{4095}, size_t{65536}, size_t{512 * kKiB}, size_t{3 * kMiB}}) {
    const UniqueFd dir = temp_.MakeDir(fmt::format("chunk-{}", chunk).c_str());
    for (const FileSpec& spec : Specs()) Expect(WriteSpec(*engine_, dir, spec, chunk));
    Expect(engine_->Drain());
    auto tree = ListTree(dir);
    tree.erase(".");
    EXPECT_EQ(tree, expected_tree) << "chunk " << chunk;
  }
}

TEST_P(IoEngineContract, UmaskDoesNotShow) {
  const mode_t before = ::umask(0077);
  const FileSpec specs[] = {{"first", Plain(0644), 3, {}},
                            {"second", Plain(0777), kMiB, {}},
                            {"third", Plain(0600), 3, {}},
                            {"fourth", Owned(04755, 5, 5), 3, {}}};
  for (const FileSpec& spec : specs) Expect(WriteSpec(*engine_, temp_.fd(), spec, kMiB));
  Expect(engine_->Drain());
  (void)::umask(before);
  for (const FileSpec& spec : specs) {
    EXPECT_EQ(sys::StatAt(temp_.fd(), spec.name.c_str())->st_mode & 07777, spec.attributes.permissions)
        << spec.name;
  }
}

TEST_P(IoEngineContract, ManyOpenFilesTakeWritesInTurns) {
  constexpr int kFiles = 40;  // more than there are buffers
  constexpr uint64_t kSize = kMiB + 17;
  const std::vector<std::byte> data = Pattern(3, kSize);
  std::vector<IoEngine::FileId> ids;
  ids.reserve(kFiles);
  for (int i = 0; i < kFiles; ++i)
    ids.push_back(*engine_->Create(temp_.fd(), fmt::format("f{}", i), Plain(), kSize));
  constexpr size_t kStep = 60'000;
  for (size_t at = 0; at < kSize; at += kStep) {
    for (const IoEngine::FileId id : ids) {
      Expect(engine_->Write(id, at, std::span(data).subspan(at, std::min<size_t>(kStep, kSize - at))));
    }
  }
  for (const IoEngine::FileId id : ids) Expect(engine_->Close(id));
  Expect(engine_->Drain());
  const std::string first = DescribeFile(temp_.fd(), "f0");
  EXPECT_THAT(first, testing::HasSubstr(Digest::Of(data).Hex()));
  for (int i = 0; i < kFiles; ++i) EXPECT_EQ(DescribeFile(temp_.fd(), fmt::format("f{}", i).c_str()), first);
}

TEST_P(IoEngineContract, ManyFilesInFlightLeaveNoDescriptorOpen) {
  const auto open_files = [] {
    return sys::ListDir(*sys::OpenAt(FdRef::Cwd(), "/proc/self/fd", O_RDONLY))->size();
  };
  const size_t before = open_files();
  for (int i = 0; i < 500; ++i) {
    Expect(WriteSpec(*engine_, temp_.fd(),
                     {fmt::format("f{}", i), Plain(), i % 2 == 0 ? 300 * kKiB : 100, {}}, kMiB));
    EXPECT_LT(open_files(), before + 100);
  }
  Expect(engine_->Drain());
  EXPECT_EQ(open_files(), before);
  EXPECT_EQ(ListTree(temp_.fd()).size(), 501U);
}

TEST_P(IoEngineContract, NameIsReservedByCreate) {
  const FileSpec spec{"name", Plain(), kMiB, {}};
  const auto id = engine_->Create(temp_.fd(), spec.name, spec.attributes, spec.size);
  ASSERT_TRUE(id.ok());
  const auto again = engine_->Create(temp_.fd(), spec.name, spec.attributes, spec.size);
  ASSERT_FALSE(again.ok());
  EXPECT_EQ(again.error().code(), ErrorCode::kExists);
  Expect(engine_->Close(*id));
  Expect(engine_->Drain());
}

TEST_P(IoEngineContract, ExistingNamesOfAnyTypeAreNotTouched) {
  ASSERT_TRUE(sys::SymlinkAt("target", temp_.fd(), "dangling").ok());
  ASSERT_TRUE(sys::MkdirAt(temp_.fd(), "dir", 0755).ok());
  for (const char* name : {"dangling", "dir"}) {
    const auto id = engine_->Create(temp_.fd(), name, Plain(), 1);
    ASSERT_FALSE(id.ok()) << name;
    EXPECT_EQ(id.error().code(), ErrorCode::kExists) << name;
  }
  EXPECT_EQ(sys::StatAt(temp_.fd(), "target").error(), ENOENT);
}

TEST_P(IoEngineContract, TooLongNamesAreRefused) {
  const auto id = engine_->Create(temp_.fd(), std::string(256, 'x'), Plain(), 1);
  ASSERT_FALSE(id.ok());
  EXPECT_EQ(id.error().code(), ErrorCode::kInvalidArgument);
}

TEST_P(IoEngineContract, WritesOutsideTheFileAreRefused) {
  struct Case {
    const char* what;
    uint64_t first, second;
    size_t second_bytes;
  };
  const Case cases[] = {{"past the end", 0, 100, 1},
                        {"across the end", 0, 99, 2},
                        {"backwards", 10, 5, 1},
                        {"overlapping", 10, 19, 1},
                        {"wrapping", 0, UINT64_MAX, 2}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    auto engine = *MakeIoEngine(GetParam());
    const auto id = engine->Create(temp_.fd(), c.what, Plain(), 100);
    ASSERT_TRUE(id.ok());
    Expect(engine->Write(*id, c.first, Pattern(0, 10)));
    const auto written = engine->Write(*id, c.second, Pattern(0, c.second_bytes));
    ASSERT_FALSE(written.ok());
    EXPECT_EQ(written.error().code(), ErrorCode::kInvalidArgument);
  }
}

UniqueFd SmallTmpfs(const char* size) {
  const UniqueFd context = *sys::FsOpen("tmpfs");
  EXPECT_TRUE(sys::FsConfigString(context, "size", size).ok());
  EXPECT_TRUE(sys::FsConfigCreate(context).ok());
  return *sys::FsMount(context, 0);
}

TEST_P(IoEngineContract, FullFileSystemIsReportedAtTheLatestByDrain) {
  const UniqueFd small = SmallTmpfs("3m");
  const FileSpec spec{"big", Plain(), 8 * kMiB + 1, {}};
  Result<void> result = WriteSpec(*engine_, small, spec, 100'000);
  if (result.ok()) result = engine_->Drain();
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code(), ErrorCode::kNoSpace);
  EXPECT_THAT(result.error().message(), testing::HasSubstr("big"));
}

TEST_P(IoEngineContract, FullFileSystemIsReportedForSmallFilesToo) {
  const UniqueFd small = SmallTmpfs("1m");
  Result<void> result;
  for (int i = 0; i < 400 && result.ok(); ++i) {
    result = WriteSpec(*engine_, small, {fmt::format("f{}", i), Plain(), 4096, {}}, kMiB);
  }
  if (result.ok()) result = engine_->Drain();
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code(), ErrorCode::kNoSpace);
}

TEST_P(IoEngineContract, EngineCanBeDroppedWithWritesInFlight) {
  const FileSpec spec{"big", Plain(), 20 * kMiB, {}};
  Expect(WriteSpec(*engine_, temp_.fd(), spec, kMiB));
  const auto open = engine_->Create(temp_.fd(), "open", Plain(), 4 * kMiB);
  ASSERT_TRUE(open.ok());
  Expect(engine_->Write(*open, 0, Pattern(0, 3 * kMiB)));
  engine_.reset();
}

TEST_P(IoEngineContract, RefusedXattrIsAnError) {
  FileSpec spec{"file", Plain(), kMiB, {}};
  spec.attributes.xattrs = {{"no-such-namespace.x", "y"}};
  Result<void> result = WriteSpec(*engine_, temp_.fd(), spec, kMiB);
  if (result.ok()) result = engine_->Drain();
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code(), ErrorCode::kUnsupported);
  EXPECT_THAT(result.error().message(), testing::HasSubstr("no-such-namespace.x"));
}

TEST_P(IoEngineContract, SyncFilesFlushesManyAndReportsTheBadOne) {
  std::vector<UniqueFd> owned;
  std::vector<FdRef> files;
  for (int i = 0; i < 150; ++i) {  // more than a ring holds
    Expect(WriteSpec(*engine_, temp_.fd(), {fmt::format("f{}", i), Plain(), 100, {}}, kMiB));
  }
  Expect(engine_->Drain());
  for (int i = 0; i < 150; ++i) {
    owned.push_back(*sys::OpenAt(temp_.fd(), fmt::format("f{}", i).c_str(), O_RDONLY));
    files.push_back(owned.back());
  }
  files.push_back(temp_.fd());  // directories too
  Expect(engine_->SyncFiles(files));
  Expect(engine_->SyncFiles({}));

  const sys::Pipe pipe = *sys::MakePipe();
  files.insert(files.begin() + 70, pipe.write_end.ref());  // fsync of a pipe is EINVAL
  const auto synced = engine_->SyncFiles(files);
  ASSERT_FALSE(synced.ok());
  EXPECT_EQ(synced.error().cause(), EINVAL);
  EXPECT_THAT(synced.error().message(), testing::HasSubstr("pipe"));
}

TEST(IoEngineKind, NamesAreParsed) {
  EXPECT_EQ(*ParseIoEngineKind("auto"), IoEngineKind::kAuto);
  EXPECT_EQ(*ParseIoEngineKind("plain"), IoEngineKind::kPlain);
  EXPECT_EQ(*ParseIoEngineKind("uring"), IoEngineKind::kUring);
  EXPECT_EQ(ParseIoEngineKind("aio").error().code(), ErrorCode::kInvalidArgument);
}

TEST(WriteOperation, EveryResultOfTheKernelLeadsToTheNextStep) {
  using io_engine_impl::WriteOperation;
  struct Case {
    const char* what;
    std::vector<int> results;
    uint64_t rest_offset;
    int error;
    WriteOperation::Phase end;
  };
  const Case cases[] = {
      {"whole", {100}, 1100, 0, WriteOperation::Phase::kDone},
      {"short", {1, 98, 1}, 1100, 0, WriteOperation::Phase::kDone},
      {"interrupted", {-EINTR, 60, -EAGAIN, 40}, 1100, 0, WriteOperation::Phase::kDone},
      {"disk full after a short write", {60, -ENOSPC}, 1060, ENOSPC, WriteOperation::Phase::kFailed},
      {"nothing written", {0}, 1000, EIO, WriteOperation::Phase::kFailed},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    std::vector<std::byte> buffer(100);
    WriteOperation operation{std::span(buffer)};
    operation.Begin(7, 1000);
    EXPECT_EQ(operation.Append(Pattern(0, 60)), 60U);
    EXPECT_EQ(operation.end_offset(), 1060U);
    EXPECT_EQ(operation.Append(Pattern(0, 60)), 40U);
    EXPECT_TRUE(operation.full());
    operation.Start();
    for (size_t i = 0; i < c.results.size(); ++i) {
      ASSERT_EQ(operation.phase(), WriteOperation::Phase::kWriting);
      const bool last = i + 1 == c.results.size();
      EXPECT_EQ(operation.Complete(c.results[i]),
                last ? WriteOperation::Next::kFinished : WriteOperation::Next::kSubmitRest);
    }
    EXPECT_EQ(operation.phase(), c.end);
    EXPECT_EQ(operation.rest_offset(), c.rest_offset);
    EXPECT_EQ(operation.error(), c.error);
    operation.Release();
    operation.Begin(8, 0);
    EXPECT_EQ(operation.end_offset(), 0U);
  }
}

}  // namespace
}  // namespace snap
