#include "snapshotter/grpc/snapshots_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>

#include "tests/support/grpc_fixture.h"

namespace snap {
namespace {

namespace wire = containerd::services::snapshots::v1;
using grpc::StatusCode;
using Stub = wire::Snapshots::Stub;
using test::ServedSnapshots;

class SnapshotsServiceTest : public testing::Test {
 protected:
  grpc::Status Prepare(const std::string& key, const std::string& parent = "", const Labels& labels = {}) {
    wire::PrepareSnapshotRequest request;
    request.set_snapshotter("any name");
    request.set_key(key);
    request.set_parent(parent);
    for (const auto& [name, value] : labels) (*request.mutable_labels())[name] = value;
    grpc::ClientContext context;
    prepared_.Clear();
    return stub_->Prepare(&context, request, &prepared_);
  }
  grpc::Status Commit(const std::string& name, const std::string& key, const std::string& parent = "") {
    wire::CommitSnapshotRequest request;
    request.set_name(name);
    request.set_key(key);
    request.set_parent(parent);
    grpc::ClientContext context;
    google::protobuf::Empty empty;
    return stub_->Commit(&context, request, &empty);
  }
  grpc::Status Remove(const std::string& key) {
    wire::RemoveSnapshotRequest request;
    request.set_key(key);
    grpc::ClientContext context;
    google::protobuf::Empty empty;
    return stub_->Remove(&context, request, &empty);
  }
  grpc::Status Stat(const std::string& key) {
    wire::StatSnapshotRequest request;
    request.set_key(key);
    grpc::ClientContext context;
    wire::StatSnapshotResponse response;
    const grpc::Status status = stub_->Stat(&context, request, &response);
    info_ = response.info();
    return status;
  }
  grpc::Status Update(const std::string& name, const Labels& labels, const std::vector<std::string>& paths) {
    wire::UpdateSnapshotRequest request;
    request.mutable_info()->set_name(name);
    for (const auto& [key, value] : labels) (*request.mutable_info()->mutable_labels())[key] = value;
    for (const std::string& path : paths) request.mutable_update_mask()->add_paths(path);
    grpc::ClientContext context;
    wire::UpdateSnapshotResponse response;
    const grpc::Status status = stub_->Update(&context, request, &response);
    info_ = response.info();
    return status;
  }
  struct Listed {
    std::vector<int> batches;
    std::vector<std::string> names;
    grpc::Status status;
  };
  Listed List(const std::vector<std::string>& filters) {
    wire::ListSnapshotsRequest request;
    for (const std::string& filter : filters) request.add_filters(filter);
    grpc::ClientContext context;
    const auto reader = stub_->List(&context, request);
    wire::ListSnapshotsResponse response;
    Listed listed;
    while (reader->Read(&response)) {
      listed.batches.push_back(response.info_size());
      for (const wire::Info& info : response.info()) listed.names.push_back(info.name());
    }
    listed.status = reader->Finish();
    return listed;
  }
  Labels InfoLabels() const { return {info_.labels().begin(), info_.labels().end()}; }

  ServedSnapshots served_;
  std::unique_ptr<Stub> stub_ = served_.Snapshots();
  wire::PrepareSnapshotResponse prepared_;
  wire::Info info_;
};

TEST_F(SnapshotsServiceTest, PrepareGivesTheMountsAndStatTheExactTimes) {
  ASSERT_TRUE(Prepare("a", "", {{"l", "v"}, {"none", ""}}).ok());
  ASSERT_EQ(prepared_.mounts_size(), 1);
  EXPECT_EQ(prepared_.mounts(0).type(), "bind");
  EXPECT_EQ(prepared_.mounts(0).source(), "/fake/a");
  EXPECT_THAT(prepared_.mounts(0).options(), testing::ElementsAre("rbind", "rw"));
  ASSERT_TRUE(Stat("a").ok());
  EXPECT_EQ(info_.kind(), wire::ACTIVE);
  EXPECT_EQ(info_.created_at().seconds(), 1'763'712'345);
  EXPECT_EQ(info_.created_at().nanos(), 123'456'789);
  EXPECT_EQ(info_.updated_at().nanos(), 123'456'789);
  EXPECT_EQ(InfoLabels(), (Labels{{"l", "v"}}));
}

TEST_F(SnapshotsServiceTest, TimesBefore1970HavePositiveNanoseconds) {
  served_.snapshots.Put({"old", "", SnapshotKind::kCommitted, -1, -1'000'000'000, {}});
  ASSERT_TRUE(Stat("old").ok());
  EXPECT_EQ(info_.kind(), wire::COMMITTED);
  EXPECT_EQ(info_.created_at().seconds(), -1);
  EXPECT_EQ(info_.created_at().nanos(), 999'999'999);
  EXPECT_EQ(info_.updated_at().seconds(), -1);
  EXPECT_EQ(info_.updated_at().nanos(), 0);
}

TEST_F(SnapshotsServiceTest, CommitPassesTheParentOn) {
  ASSERT_TRUE(Prepare("a").ok());
  ASSERT_TRUE(Commit("base", "a").ok());
  ASSERT_TRUE(Prepare("b").ok());
  ASSERT_TRUE(Commit("top", "b", "base").ok());
  ASSERT_TRUE(Stat("top").ok());
  EXPECT_EQ(info_.parent(), "base");
  EXPECT_EQ(info_.kind(), wire::COMMITTED);
}

TEST_F(SnapshotsServiceTest, StatesGiveTheCodesThatContainerdExpects) {
  ASSERT_TRUE(Prepare("a").ok());
  EXPECT_EQ(Prepare("a").error_code(), StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(Prepare("b", "nosuch").error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(Prepare("b", "a").error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Stat("nosuch").error_code(), StatusCode::NOT_FOUND);
  ASSERT_TRUE(Commit("base", "a").ok());
  EXPECT_EQ(Commit("again", "base").error_code(), StatusCode::FAILED_PRECONDITION);
  ASSERT_TRUE(Prepare("child", "base").ok());
  const grpc::Status removed = Remove("base");
  EXPECT_EQ(removed.error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(removed.error_message(), testing::HasSubstr("remove"));
  wire::MountsRequest mounts;
  mounts.set_key("base");
  wire::MountsResponse response;
  EXPECT_EQ(test::Call(*stub_, &Stub::Mounts, mounts, response).error_code(),
            StatusCode::FAILED_PRECONDITION);
}

TEST_F(SnapshotsServiceTest, EmptyNamesAreInvalid) {
  EXPECT_EQ(Prepare("").error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Commit("", "a").error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Commit("a", "").error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Remove("").error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Stat("").error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Update("", {}, {}).error_code(), StatusCode::INVALID_ARGUMENT);
  wire::ViewSnapshotResponse view;
  EXPECT_EQ(test::Call(*stub_, &Stub::View, wire::ViewSnapshotRequest(), view).error_code(),
            StatusCode::INVALID_ARGUMENT);
  wire::MountsResponse mounts;
  EXPECT_EQ(test::Call(*stub_, &Stub::Mounts, wire::MountsRequest(), mounts).error_code(),
            StatusCode::INVALID_ARGUMENT);
  wire::UsageResponse usage;
  EXPECT_EQ(test::Call(*stub_, &Stub::Usage, wire::UsageRequest(), usage).error_code(),
            StatusCode::INVALID_ARGUMENT);
}

TEST_F(SnapshotsServiceTest, LabelsMayHave4096BytesWithTheirKeys) {
  const std::string key = "containerd.io/snapshot/x";
  EXPECT_TRUE(Prepare("fits", "", {{key, std::string(4096 - key.size(), 'v')}}).ok());
  EXPECT_EQ(Prepare("long", "", {{key, std::string(4097 - key.size(), 'v')}}).error_code(),
            StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Stat("long").error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(Update("fits", {{key, std::string(4097 - key.size(), 'v')}}, {}).error_code(),
            StatusCode::INVALID_ARGUMENT);
}

TEST_F(SnapshotsServiceTest, UpdateChangesWhatTheMaskSays) {
  ASSERT_TRUE(Prepare("a", "", {{"l1", "1"}, {"l2", "2"}, {"l.3", "3"}}).ok());
  ASSERT_TRUE(
      Update("a", {{"l1", "new"}, {"l.3", "dots"}, {"other", "x"}}, {"labels.l1", "labels.l2", "labels.l.3"})
          .ok());
  EXPECT_EQ(InfoLabels(), (Labels{{"l1", "new"}, {"l.3", "dots"}}));
  ASSERT_TRUE(Update("a", {{"l1", ""}}, {"labels.l1"}).ok());
  EXPECT_EQ(InfoLabels(), (Labels{{"l.3", "dots"}}));
  ASSERT_TRUE(Update("a", {{"only", "this"}}, {"labels"}).ok());
  EXPECT_EQ(InfoLabels(), (Labels{{"only", "this"}}));
  ASSERT_TRUE(Update("a", {{"all", "new"}, {"gone", ""}}, {}).ok());
  EXPECT_EQ(InfoLabels(), (Labels{{"all", "new"}}));
}

TEST_F(SnapshotsServiceTest, UpdateRefusesWhatCannotChange) {
  ASSERT_TRUE(Prepare("a", "", {{"l", "v"}}).ok());
  for (const char* path : {"parent", "name", "kind", "label", "labels.", "labelsx", "created_at", ""}) {
    EXPECT_EQ(Update("a", {{"l", "new"}}, {"labels", path}).error_code(), StatusCode::INVALID_ARGUMENT)
        << path;
  }
  ASSERT_TRUE(Stat("a").ok());
  EXPECT_EQ(InfoLabels(), (Labels{{"l", "v"}}));
}

TEST_F(SnapshotsServiceTest, ListSendsBatchesOfAHundredInOrder) {
  for (int i = 0; i < 250; ++i)
    served_.snapshots.Put({fmt::format("s{:03}", i), "", SnapshotKind::kCommitted, 0, 0, {}});
  const Listed listed = List({});
  EXPECT_TRUE(listed.status.ok());
  EXPECT_EQ(listed.batches, (std::vector<int>{100, 100, 50}));
  ASSERT_EQ(listed.names.size(), 250U);
  EXPECT_TRUE(std::is_sorted(listed.names.begin(), listed.names.end()));
}

TEST_F(SnapshotsServiceTest, ListKeepsBatchesBelowTheMessageLimit) {
  Labels labels;
  for (int i = 0; i < 100; ++i) labels[fmt::format("l{}", i)] = std::string(4000, 'x');
  for (int i = 0; i < 60; ++i)
    served_.snapshots.Put({fmt::format("s{:03}", i), "", SnapshotKind::kCommitted, 0, 0, labels});
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(16 << 20);
  stub_ = wire::Snapshots::NewStub(
      grpc::CreateCustomChannel("unix:" + served_.path(), grpc::InsecureChannelCredentials(), arguments));
  const Listed listed = List({});
  EXPECT_TRUE(listed.status.ok()) << listed.status.error_message();
  EXPECT_EQ(listed.names.size(), 60U);
}

TEST_F(SnapshotsServiceTest, ListFiltersAndRefusesMalformedFilters) {
  for (int i = 0; i < 5; ++i)
    served_.snapshots.Put({fmt::format("c{}", i), "", SnapshotKind::kCommitted, 0, 0, {}});
  ASSERT_TRUE(Prepare("a", "c1").ok());
  EXPECT_EQ(List({"kind==active", "name==c4"}).names, (std::vector<std::string>{"a", "c4"}));
  EXPECT_EQ(List({"parent==c1"}).names, (std::vector<std::string>{"a"}));
  const Listed none = List({"parent==nosuch"});
  EXPECT_TRUE(none.status.ok());
  EXPECT_TRUE(none.batches.empty());
  EXPECT_EQ(List({"parent="}).status.error_code(), StatusCode::INVALID_ARGUMENT);
}

TEST_F(SnapshotsServiceTest, OtherCallsAreServedWhileAListIsNotRead) {
  for (int i = 0; i < 3000; ++i) {
    served_.snapshots.Put(
        {fmt::format("s{:04}", i), "", SnapshotKind::kCommitted, 0, 0, {{"l", std::string(3000, 'x')}}});
  }
  grpc::ClientContext context;
  const auto reader = stub_->List(&context, wire::ListSnapshotsRequest());
  wire::ListSnapshotsResponse response;
  ASSERT_TRUE(reader->Read(&response));  // the rest waits for us
  EXPECT_TRUE(Stat("s0001").ok());
  EXPECT_TRUE(Prepare("new").ok());
  context.TryCancel();
  while (reader->Read(&response)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), StatusCode::CANCELLED);
}

TEST_F(SnapshotsServiceTest, UsageAndCleanupAreAnswered) {
  ASSERT_TRUE(Prepare("a").ok());
  wire::UsageRequest request;
  request.set_key("a");
  wire::UsageResponse usage;
  ASSERT_TRUE(test::Call(*stub_, &Stub::Usage, request, usage).ok());
  EXPECT_EQ(usage.size(), int64_t{5} << 32);
  EXPECT_EQ(usage.inodes(), 7);
  google::protobuf::Empty empty;
  EXPECT_TRUE(test::Call(*stub_, &Stub::Cleanup, wire::CleanupRequest(), empty).ok());
}

TEST(SnapshotsServiceErrors, HaveTheirCodes) {
  ServedSnapshots served;
  ErrorCode wanted = ErrorCode::kIo;
  served.snapshots.on_call = [&](std::string_view) -> Result<void> { return Error(wanted, "as wanted"); };
  const auto stub = served.Snapshots();
  const std::pair<ErrorCode, StatusCode> kCodes[] = {
      {ErrorCode::kInvalidArgument, StatusCode::INVALID_ARGUMENT},
      {ErrorCode::kNotFound, StatusCode::NOT_FOUND},
      {ErrorCode::kExists, StatusCode::ALREADY_EXISTS},
      {ErrorCode::kPermission, StatusCode::PERMISSION_DENIED},
      {ErrorCode::kCorrupt, StatusCode::DATA_LOSS},
      {ErrorCode::kLimitExceeded, StatusCode::RESOURCE_EXHAUSTED},
      {ErrorCode::kNoSpace, StatusCode::RESOURCE_EXHAUSTED},
      {ErrorCode::kUnsupported, StatusCode::UNIMPLEMENTED},
      {ErrorCode::kBusy, StatusCode::FAILED_PRECONDITION},
      {ErrorCode::kUnavailable, StatusCode::UNAVAILABLE},
      {ErrorCode::kCancelled, StatusCode::CANCELLED},
      {ErrorCode::kIo, StatusCode::INTERNAL},
      {ErrorCode::kInternal, StatusCode::INTERNAL},
  };
  for (const auto& [error, code] : kCodes) {
    wanted = error;
    google::protobuf::Empty empty;
    const grpc::Status status = test::Call(*stub, &Stub::Cleanup, wire::CleanupRequest(), empty);
    EXPECT_EQ(status.error_code(), code);
    EXPECT_EQ(status.error_message(), "as wanted");
  }
}

TEST(SnapshotsServiceErrors, ExceptionsAreInternalAndLongMessagesArrive) {
  ServedSnapshots served;
  bool throws = true;
  served.snapshots.on_call = [&](std::string_view) -> Result<void> {
    if (throws) throw std::runtime_error("thrown");
    return Error(ErrorCode::kIo, std::string(100'000, 'x'));
  };
  const auto stub = served.Snapshots();
  google::protobuf::Empty empty;
  grpc::Status status = test::Call(*stub, &Stub::Cleanup, wire::CleanupRequest(), empty);
  EXPECT_EQ(status.error_code(), StatusCode::INTERNAL);
  EXPECT_EQ(status.error_message(), "thrown");
  throws = false;
  status = test::Call(*stub, &Stub::Cleanup, wire::CleanupRequest(), empty);
  EXPECT_EQ(status.error_code(), StatusCode::INTERNAL);
  EXPECT_EQ(status.error_message().size(), 2048U);
}

TEST(SnapshotsServiceCalls, ThatAreSlowHoldUpNoOthers) {
  constexpr int kSlow = 64;
  ServedSnapshots served;
  std::promise<void> release;
  const std::shared_future<void> released = release.get_future().share();
  std::atomic<int> waiting{0};
  std::promise<void> all_wait;
  served.snapshots.on_call = [&](std::string_view call) -> Result<void> {
    if (call != "Remove") return {};
    if (waiting.fetch_add(1) + 1 == kSlow) all_wait.set_value();
    released.wait();
    return {};
  };
  const auto stub = served.Snapshots();
  std::vector<std::thread> threads;
  for (int i = 0; i < kSlow; ++i) {
    threads.emplace_back([&] {
      wire::RemoveSnapshotRequest request;
      request.set_key("nosuch");
      google::protobuf::Empty empty;
      EXPECT_EQ(test::Call(*stub, &Stub::Remove, request, empty).error_code(), StatusCode::NOT_FOUND);
    });
  }
  all_wait.get_future().wait();  // they all run at the same time
  google::protobuf::Empty empty;
  EXPECT_TRUE(test::Call(*stub, &Stub::Cleanup, wire::CleanupRequest(), empty).ok());
  release.set_value();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace snap
