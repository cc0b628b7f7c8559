#include "snapshotter/grpc/diff_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <optional>

#include "fs/compress.h"
#include "tests/support/fake_content.h"
#include "tests/support/grpc_fixture.h"

namespace snap {
namespace {

namespace wire = containerd::services::diff::v1;
using grpc::StatusCode;
using test::FakeContent;
using test::ServedSnapshots;

constexpr const char* kTar = "application/vnd.oci.image.layer.v1.tar";

std::string Compressed(const std::string& plain, Compression compression) {
  const auto source = MakeMemorySource(std::as_bytes(std::span(plain)));
  const auto compressor = MakeCompressor(*source, compression);
  auto bytes = ReadToEnd(*compressor, size_t{64} << 20U, "sample");
  EXPECT_TRUE(bytes.ok());
  return *std::move(bytes);
}

std::string Inflated(const std::string& stored, Compression compression) {
  const auto source = MakeMemorySource(std::as_bytes(std::span(stored)));
  const auto inflater = MakeInflater(*source, compression, InflateLimits(), "sample");
  auto bytes = ReadToEnd(*inflater, size_t{64} << 20U, "sample");
  EXPECT_TRUE(bytes.ok()) << bytes.error().message();
  return bytes.ok() ? *std::move(bytes) : "";
}

std::string Sample(size_t size) {
  std::string out(size, '\0');
  uint32_t seed = 1;
  for (char& c : out) {
    seed = seed * 1664525U + 1013904223U;
    c = static_cast<char>(seed >> 29U);
  }
  return out;
}

class DiffServiceTest : public testing::Test {
 protected:
  void Serve(std::chrono::milliseconds timeout = std::chrono::seconds(30)) {
    ServerOptions options;
    options.diff.content_roots = {dir_.path() + "/nosuch", dir_.path() + "/content"};
    options.diff.containerd_address = dir_.path() + "/containerd.sock";
    options.diff.make_tar = [this](Snapshots&, const std::string& key, ByteSink& sink) -> Result<void> {
      asked_for_ = key;
      return make_tar_(sink);
    };
    served_.emplace(std::move(options), timeout);
    stub_ = served_->Diff();
  }
  void StartContainerd() { content_.emplace(dir_.path() + "/containerd.sock"); }
  /// Puts bytes where containerd has them on disk.
  std::string AddLocal(const std::string& bytes) {
    const Digest digest = Digest::Of(bytes);
    for (const char* path : {"content", "content/blobs", "content/blobs/sha256"}) {
      (void)sys::MkdirAt(dir_.fd(), path, 0755);  // there already, from the second on
    }
    const std::string path = "content/blobs/sha256/" + digest.Hex();
    auto file = sys::OpenAt(dir_.fd(), path.c_str(), O_CREAT | O_WRONLY, 0644);
    EXPECT_TRUE(file.ok() && sys::WriteAll(*file, bytes).ok());
    return digest.ToString();
  }

  static void SetMounts(google::protobuf::RepeatedPtrField<containerd::types::Mount>& mounts,
                        const std::string& key) {
    containerd::types::Mount& mount = *mounts.Add();
    mount.set_type("bind");
    mount.set_source(key);
  }
  wire::ApplyRequest ApplyRequest(const std::string& digest, size_t size, const std::string& media_type) {
    served_->snapshots.Put({"new", "", SnapshotKind::kActive, 0, 0, {}});
    wire::ApplyRequest request;
    request.mutable_diff()->set_digest(digest);
    request.mutable_diff()->set_size(static_cast<int64_t>(size));
    request.mutable_diff()->set_media_type(media_type);
    SetMounts(*request.mutable_mounts(), "/fake/new");
    return request;
  }
  grpc::Status Apply(const wire::ApplyRequest& request) {
    grpc::ClientContext context;
    context.AddMetadata("containerd-namespace", "k8s.io");
    context.AddMetadata("containerd-lease", "lease-7");
    wire::ApplyResponse response;
    const grpc::Status status = stub_->Apply(&context, request, &response);
    applied_ = response.applied();
    return status;
  }
  grpc::Status Diff(const wire::DiffRequest& request, const std::string& lease = "lease-8") {
    grpc::ClientContext context;
    context.AddMetadata("containerd-namespace", "default");
    if (!lease.empty()) context.AddMetadata("containerd-lease", lease);
    wire::DiffResponse response;
    const grpc::Status status = stub_->Diff(&context, request, &response);
    diff_ = response.diff();
    return status;
  }
  /// base <- active "work"; a view of base beside it, as clients make one.
  void AddChain() {
    served_->snapshots.Put({"base", "", SnapshotKind::kCommitted, 0, 0, {}});
    served_->snapshots.Put({"work", "base", SnapshotKind::kActive, 0, 0, {}});
    served_->snapshots.Put({"base-view", "base", SnapshotKind::kView, 0, 0, {}});
    served_->snapshots.Put({"top", "base", SnapshotKind::kCommitted, 0, 0, {}});
    served_->snapshots.Put({"top-view", "top", SnapshotKind::kView, 0, 0, {}});
    served_->snapshots.Put({"empty-view", "", SnapshotKind::kView, 0, 0, {}});
  }
  static wire::DiffRequest DiffRequest(const std::string& left, const std::string& right) {
    wire::DiffRequest request;
    if (!left.empty()) SetMounts(*request.mutable_left(), left);
    SetMounts(*request.mutable_right(), right);
    return request;
  }

  /// ServedSnapshots with a timeout of the test's.
  struct Served : ServedSnapshots {
    Served(ServerOptions options, std::chrono::milliseconds timeout)
        : ServedSnapshots([&] {
            options.diff.message_timeout = timeout;
            return std::move(options);
          }()) {}
  };
  test::TempDir dir_;
  std::optional<FakeContent> content_;
  std::string tar_ = Sample(3'000'000);
  std::function<Result<void>(ByteSink&)> make_tar_ = [this](ByteSink& sink) -> Result<void> {
    for (size_t at = 0; at < tar_.size(); at += 512) {
      SNAP_TRY_VOID(
          sink.Write(std::as_bytes(std::span(tar_).subspan(at, std::min<size_t>(512, tar_.size() - at)))));
    }
    return {};
  };
  std::string asked_for_;
  std::optional<Served> served_;
  std::unique_ptr<wire::Diff::Stub> stub_;
  containerd::types::Descriptor applied_, diff_;
};

TEST_F(DiffServiceTest, AppliesBlobsFromDiskWhateverTheirMediaTypeSaysOfCompression) {
  Serve();
  const std::string plain = Sample(300'000);
  const struct {
    const char* media_type;
    Compression compression;
  } kCases[] = {
      {"application/vnd.oci.image.layer.v1.tar", Compression::kNone},
      {"application/vnd.oci.image.layer.v1.tar+gzip", Compression::kGzip},
      {"application/vnd.oci.image.layer.v1.tar+zstd", Compression::kZstd},
      {"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", Compression::kGzip},
      {"application/vnd.docker.image.rootfs.diff.tar.gzip", Compression::kGzip},
      {"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Compression::kGzip},
      {"application/vnd.docker.image.rootfs.diff.tar", Compression::kGzip},
      {"application/vnd.oci.image.layer.v1.tar+gzip", Compression::kZstd},
      {"application/vnd.oci.image.layer.v1.tar+gzip", Compression::kNone},
  };
  for (const auto& [media_type, compression] : kCases) {
    const std::string stored = Compressed(plain, compression);
    const grpc::Status status = Apply(ApplyRequest(AddLocal(stored), stored.size(), media_type));
    ASSERT_TRUE(status.ok()) << media_type << ": " << status.error_message();
    EXPECT_EQ(applied_.media_type(), kTar);
    EXPECT_EQ(applied_.digest(), Digest::Of(plain).ToString());
    EXPECT_EQ(applied_.size(), static_cast<int64_t>(plain.size()));
  }
}

TEST_F(DiffServiceTest, ReadsThroughContainerdInTheCallersName) {
  StartContainerd();
  Serve();
  const std::string plain = Sample(100'000);
  const std::string stored = Compressed(plain, Compression::kGzip);
  const grpc::Status status = Apply(
      ApplyRequest(content_->Add(stored), stored.size(), "application/vnd.oci.image.layer.v1.tar+gzip"));
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(applied_.digest(), Digest::Of(plain).ToString());
  EXPECT_THAT(content_->state.Lock()->headers, testing::Each("k8s.io/lease-7"));
}

TEST_F(DiffServiceTest, DoesNotFollowLinksNorTakeFilesOfAnotherSize) {
  StartContainerd();
  Serve();
  const std::string blob = Sample(5000);
  const std::string digest = AddLocal(blob);
  const std::string path = "content/blobs/sha256/" + Digest::Of(blob).Hex();
  ASSERT_TRUE(sys::RenameAt(dir_.fd(), path.c_str(), dir_.fd(), "elsewhere").ok());
  ASSERT_TRUE(sys::SymlinkAt("../../../elsewhere", dir_.fd(), path.c_str()).ok());
  EXPECT_EQ(Apply(ApplyRequest(digest, blob.size(), kTar)).error_code(), StatusCode::NOT_FOUND);
  ASSERT_TRUE(sys::UnlinkAt(dir_.fd(), path.c_str()).ok());
  {
    auto file = sys::OpenAt(dir_.fd(), path.c_str(), O_CREAT | O_WRONLY, 0644);
    ASSERT_TRUE(file.ok() && sys::WriteAll(*file, std::string_view(blob).substr(1)).ok());
  }
  EXPECT_EQ(Apply(ApplyRequest(digest, blob.size(), kTar)).error_code(), StatusCode::NOT_FOUND);
  content_->Add(blob);
  EXPECT_TRUE(Apply(ApplyRequest(digest, blob.size(), kTar)).ok());
}

TEST_F(DiffServiceTest, ForeignMountsAndMediaTypesAreForSomebodyElse) {
  Serve();
  const std::string blob = Sample(1000);
  wire::ApplyRequest request = ApplyRequest(AddLocal(blob), blob.size(), kTar);
  for (const char* media_type : {"application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "text/plain", "",
                                 "application/vnd.erofs.layer.v1"}) {
    request.mutable_diff()->set_media_type(media_type);
    EXPECT_EQ(Apply(request).error_code(), StatusCode::UNIMPLEMENTED) << media_type;
  }
  request.mutable_diff()->set_media_type(kTar);
  ASSERT_TRUE(Apply(request).ok());
  request.mutable_mounts(0)->set_source(
      "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs");
  EXPECT_EQ(Apply(request).error_code(), StatusCode::UNIMPLEMENTED);
  request.clear_mounts();
  EXPECT_EQ(Apply(request).error_code(), StatusCode::UNIMPLEMENTED);
}

TEST_F(DiffServiceTest, BadDescriptorsAreInvalid) {
  Serve();
  const std::string blob = Sample(1000);
  EXPECT_EQ(Apply(ApplyRequest("sha256:../../etc/passwd", 5, kTar)).error_code(),
            StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Apply(ApplyRequest("", 5, kTar)).error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Apply(ApplyRequest("sha512:" + std::string(128, '0'), 5, kTar)).error_code(),
            StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(Apply(ApplyRequest(AddLocal(blob), 0, kTar)).error_code(), StatusCode::INVALID_ARGUMENT);
}

TEST_F(DiffServiceTest, AnotherContentThanTheDigestsIsDataLoss) {
  StartContainerd();
  Serve();
  const std::string blob = Sample(5000);
  const std::string digest = Digest::Of(blob).ToString();
  content_->state.Lock()->blobs[digest].bytes = blob.substr(1) + "x";
  EXPECT_EQ(Apply(ApplyRequest(digest, blob.size(), kTar)).error_code(), StatusCode::DATA_LOSS);
  content_->state.Lock()->blobs[digest].bytes = blob.substr(1);
  EXPECT_EQ(Apply(ApplyRequest(digest, blob.size(), kTar)).error_code(), StatusCode::DATA_LOSS);
}

TEST_F(DiffServiceTest, WithoutContainerdABlobThatIsNotOnDiskIsUnavailable) {
  Serve();
  EXPECT_EQ(Apply(ApplyRequest(Digest::Of("x").ToString(), 1, kTar)).error_code(), StatusCode::UNAVAILABLE);
}

TEST_F(DiffServiceTest, ContainerdThatDoesNotAnswerIsUnavailable) {
  StartContainerd();
  content_->hangs = true;
  Serve(std::chrono::milliseconds(200));
  const std::string blob = Sample(5000);
  EXPECT_EQ(Apply(ApplyRequest(content_->Add(blob), blob.size(), kTar)).error_code(),
            StatusCode::UNAVAILABLE);
}

TEST_F(DiffServiceTest, CancelledCallsStopReading) {
  StartContainerd();
  content_->hangs = true;
  Serve();
  const std::string blob = Sample(5000);
  const wire::ApplyRequest request = ApplyRequest(content_->Add(blob), blob.size(), kTar);
  std::promise<void> reading;
  std::promise<ErrorCode> stopped;
  served_->snapshots.on_apply = [&](const Snapshots::Blob& opened) -> Result<Snapshots::Applied> {
    auto source = opened.open();
    reading.set_value();
    auto bytes = ReadToEnd(**source, size_t{1} << 20U, "blob");
    stopped.set_value(bytes.error().code());
    return std::move(bytes).error();
  };
  grpc::ClientContext context;
  wire::ApplyResponse response;
  auto call = std::async(std::launch::async, [&] { return stub_->Apply(&context, request, &response); });
  reading.get_future().wait();
  context.TryCancel();
  EXPECT_EQ(stopped.get_future().get(), ErrorCode::kCancelled);
  EXPECT_EQ(call.get().error_code(), StatusCode::CANCELLED);
}

TEST_F(DiffServiceTest, CancelledCallsStopReadingFromDisk) {
  Serve();
  const std::string blob = Sample(100'000);
  const wire::ApplyRequest request = ApplyRequest(AddLocal(blob), blob.size(), kTar);
  grpc::ClientContext context;
  std::promise<ErrorCode> stopped;
  served_->snapshots.on_apply = [&](const Snapshots::Blob& opened) -> Result<Snapshots::Applied> {
    auto source = opened.open();
    context.TryCancel();
    std::byte byte{};
    while (true) {  // until it is noticed; the blob ends after 100,000
      const auto size = (*source)->Read({&byte, 1});
      if (size.ok() && *size > 0) continue;
      stopped.set_value(size.ok() ? ErrorCode::kInternal : size.error().code());
      return Error(ErrorCode::kCancelled, "stopped");
    }
  };
  wire::ApplyResponse response;
  EXPECT_EQ(stub_->Apply(&context, request, &response).error_code(), StatusCode::CANCELLED);
  EXPECT_EQ(stopped.get_future().get(), ErrorCode::kCancelled);
}

TEST_F(DiffServiceTest, DiffUploadsWhatTheSnapshotAdds) {
  StartContainerd();
  Serve();
  AddChain();
  const struct {
    const char* media_type;
    const char* answer;
    Compression compression;
  } kCases[] = {
      {"", "application/vnd.oci.image.layer.v1.tar+gzip", Compression::kGzip},
      {"application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.oci.image.layer.v1.tar+gzip",
       Compression::kGzip},
      {"application/vnd.oci.image.layer.v1.tar+zstd", "application/vnd.oci.image.layer.v1.tar+zstd",
       Compression::kZstd},
      {kTar, kTar, Compression::kNone},
  };
  for (const auto& [media_type, answer, compression] : kCases) {
    content_->state.Lock()->blobs.clear();
    wire::DiffRequest request = DiffRequest("/fake/base-view", "/fake/work");
    request.set_media_type(media_type);
    request.set_ref("some-ref");
    (*request.mutable_labels())["mine"] = "yes";
    content_->state.Lock()->writes["some-ref"] = "left by a writer that was killed";
    const grpc::Status status = Diff(request);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(asked_for_, "work");
    EXPECT_EQ(diff_.media_type(), answer);
    auto state = content_->state.Lock();
    ASSERT_TRUE(state->blobs.contains(diff_.digest()));
    const FakeContent::Blob& blob = state->blobs.at(diff_.digest());
    EXPECT_EQ(diff_.size(), static_cast<int64_t>(blob.bytes.size()));
    EXPECT_EQ(Inflated(blob.bytes, compression), tar_);
    EXPECT_EQ(blob.labels,
              (std::map<std::string, std::string>{{"containerd.io/uncompressed", Digest::Of(tar_).ToString()},
                                                  {"mine", "yes"}}));
    EXPECT_TRUE(state->writes.empty());
    EXPECT_THAT(state->headers, testing::Each("default/lease-8"));
  }
}

TEST_F(DiffServiceTest, WithoutALeaseTheBlobIsHeldByOneThatEnds) {
  StartContainerd();
  Serve();
  AddChain();
  const grpc::Status status = Diff(DiffRequest("/fake/base-view", "/fake/work"), "");
  ASSERT_TRUE(status.ok()) << status.error_message();
  const auto taken = content_->leases.taken();
  ASSERT_EQ(taken.size(), 1U);
  EXPECT_TRUE(taken.front().second);
  EXPECT_THAT(content_->state.Lock()->headers, testing::Contains("default/" + taken.front().first));
}

TEST_F(DiffServiceTest, DiffOfABlobThatExistsLabelsIt) {
  StartContainerd();
  Serve();
  AddChain();
  wire::DiffRequest request = DiffRequest("/fake/base-view", "/fake/work");
  ASSERT_TRUE(Diff(request).ok());
  const std::string digest = diff_.digest();
  const int64_t size = diff_.size();
  content_->state.Lock()->blobs[digest].labels.clear();
  ASSERT_TRUE(Diff(request).ok());
  EXPECT_EQ(diff_.digest(), digest);
  EXPECT_EQ(diff_.size(), size);
  EXPECT_EQ(content_->state.Lock()->blobs[digest].labels["containerd.io/uncompressed"],
            Digest::Of(tar_).ToString());
}

TEST_F(DiffServiceTest, DiffKnowsTheRelationsThatClientsMake) {
  StartContainerd();
  Serve();
  AddChain();
  const struct {
    const char* left;
    const char* right;
    const char* key;  // nullptr: for somebody else
  } kCases[] = {
      {"/fake/base-view", "/fake/work", "work"},
      {"/fake/base-view", "/fake/top-view", "top"},
      {"", "/fake/base-view", "base"},
      {"/fake/empty-view", "/fake/base-view", "base"},
      {"/fake/top-view", "/fake/work", nullptr},
      {"/fake/top-view", "/fake/base-view", nullptr},
      {"", "/fake/work", nullptr},
      {"/fake/base-view", "/fake/base-view", nullptr},
      {"/fake/work", "/fake/top-view", nullptr},
      {"/elsewhere", "/fake/work", nullptr},
      {"/fake/base-view", "/elsewhere", nullptr},
      {"", "/fake/empty-view", nullptr},
  };
  for (const auto& [left, right, key] : kCases) {
    asked_for_.clear();
    const grpc::Status status = Diff(DiffRequest(left, right));
    EXPECT_EQ(status.error_code(), key == nullptr ? StatusCode::UNIMPLEMENTED : StatusCode::OK)
        << left << " " << right << " " << status.error_message();
    EXPECT_EQ(asked_for_, key == nullptr ? "" : key);
  }
}

TEST_F(DiffServiceTest, DiffLeavesToOthersWhatItCannotMake) {
  StartContainerd();
  Serve();
  AddChain();
  wire::DiffRequest request = DiffRequest("/fake/base-view", "/fake/work");
  request.set_media_type("application/vnd.docker.image.rootfs.diff.tar.gzip");
  EXPECT_EQ(Diff(request).error_code(), StatusCode::UNIMPLEMENTED);
  request.clear_media_type();
  request.mutable_source_date_epoch()->set_seconds(1);
  EXPECT_EQ(Diff(request).error_code(), StatusCode::UNIMPLEMENTED);
  EXPECT_TRUE(content_->state.Lock()->writes.empty());
}

TEST_F(DiffServiceTest, DiffThatFailsLeavesNothing) {
  StartContainerd();
  Serve();
  AddChain();
  make_tar_ = [this](ByteSink& sink) -> Result<void> {
    SNAP_TRY_VOID(sink.Write(std::as_bytes(std::span(tar_))));
    return Error(ErrorCode::kBusy, "a file changed");
  };
  const grpc::Status status = Diff(DiffRequest("/fake/base-view", "/fake/work"));
  EXPECT_EQ(status.error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(status.error_message(), "a file changed");
  auto state = content_->state.Lock();
  EXPECT_TRUE(state->writes.empty());
  EXPECT_TRUE(state->blobs.empty());
}

TEST_F(DiffServiceTest, CancelledDiffsStopAndLeaveNothing) {
  StartContainerd();
  Serve();
  AddChain();
  grpc::ClientContext context;
  std::promise<ErrorCode> stopped;
  make_tar_ = [&](ByteSink& sink) -> Result<void> {
    context.TryCancel();
    while (true) {
      Result<void> written = sink.Write(std::as_bytes(std::span(tar_)));
      if (written.ok()) continue;
      stopped.set_value(written.error().code());
      return written;
    }
  };
  wire::DiffResponse response;
  const wire::DiffRequest request = DiffRequest("/fake/base-view", "/fake/work");
  EXPECT_EQ(stub_->Diff(&context, request, &response).error_code(), StatusCode::CANCELLED);
  EXPECT_EQ(stopped.get_future().get(), ErrorCode::kCancelled);
  served_->server->Stop(std::chrono::hours(1));  // the call is over
  auto state = content_->state.Lock();
  EXPECT_TRUE(state->writes.empty());
  EXPECT_TRUE(state->blobs.empty());
}

}  // namespace
}  // namespace snap
