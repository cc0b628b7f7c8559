// What a Database promises, asked of each implementation; and what holds when a daemon comes, goes and dies.
#include "snapshotter/database.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <random>
#include <thread>

#include "fs/base/sys_seqpacket.h"
#include "snapshotter/database_service.h"
#include "snapshotter/remote_database.h"
#include "snapshotter/store_database.h"
#include "snapshotter/store_lock.h"
#include "tests/support/temp_store.h"

namespace snap {
namespace {

using test::IsOk;
using test::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Rows = std::vector<std::pair<std::string, std::string>>;

/// A store's directory, its lock, and a database over it.
class Fixture {
 public:
  Fixture() : root(*sys::OpenAt(FdRef::Cwd(), dir.path().c_str(), O_RDONLY | O_DIRECTORY)) {}
  virtual ~Fixture() = default;
  virtual Database& db() = 0;
  TempDir dir;
  UniqueFd root;
};

class RocksFixture final : public Fixture {
 public:
  RocksFixture() : db_(OpenStoreDatabase(root, dir.path(), RocksDatabase::Access::kWrite).value()) {}
  Database& db() override { return *db_; }

 private:
  std::unique_ptr<RocksDatabase> db_;
};

class RemoteFixture final : public Fixture {
 public:
  RemoteFixture() : service(DatabaseService::Start(root, dir.path(), {}).value()) { Connect(); }
  void Connect() {
    lock = StoreLock::Acquire(root, StoreLock::Kind::kExclusive, {}).value();
    db_ = RemoteDatabase::Connect(root, lock->file()).value();
    SNAP_CHECK(db_ != nullptr);
  }
  void Disconnect() {
    db_.reset();
    lock.reset();
  }
  ~RemoteFixture() override { Disconnect(); }
  Database& db() override { return *db_; }
  std::unique_ptr<DatabaseService> service;
  std::optional<StoreLock> lock;

 private:
  std::unique_ptr<RemoteDatabase> db_;
};

class DatabaseContract : public ::testing::TestWithParam<bool> {
 protected:
  DatabaseContract() {
    if (GetParam()) {
      fixture_ = std::make_unique<RemoteFixture>();
    } else {
      fixture_ = std::make_unique<RocksFixture>();
    }
  }
  Database& db() { return fixture_->db(); }
  Rows All(std::string_view prefix, std::string_view from = {}, size_t most = SIZE_MAX) {
    Rows rows;
    EXPECT_TRUE(
        IsOk(db().Scan(prefix, from, [&](std::string_view key, std::string_view value) -> Result<bool> {
          rows.emplace_back(key, value);
          return rows.size() < most;
        })));
    return rows;
  }
  void Put(const std::string& key, std::string_view value) {
    DatabaseChanges changes;
    changes.Put(key, value);
    ASSERT_TRUE(IsOk(db().Write(changes, false)));
  }
  std::unique_ptr<Fixture> fixture_;
};

TEST_P(DatabaseContract, WhatWasPutIsThereUntilItIsDeleted) {
  const std::string bytes("\0\xff\n", 3);
  for (const bool sync : {false, true}) {
    DatabaseChanges changes;
    changes.Put("ka", bytes);
    changes.Put("kb", "");
    changes.Put("kc", "first");
    changes.Put("kc", "second");
    changes.Put("kd", "gone");
    changes.Delete("kd");
    changes.Delete("never");
    ASSERT_TRUE(IsOk(db().Write(changes, sync)));
    EXPECT_EQ(db().Get("ka").value(), bytes);
    EXPECT_EQ(db().Get("kb").value(), "");
    EXPECT_EQ(db().Get("kc").value(), "second");
    EXPECT_FALSE(db().Get("kd").value().has_value());
    EXPECT_FALSE(db().Get("k").value().has_value());
    DatabaseChanges removal;
    removal.Delete("ka");
    ASSERT_TRUE(IsOk(db().Write(removal, sync)));
    EXPECT_FALSE(db().Get("ka").value().has_value());
  }
  EXPECT_TRUE(IsOk(db().Write({}, true)));
}

TEST_P(DatabaseContract, ScansAreInOrderWithinThePrefixFromAKeyOnAndEndWhenAsked) {
  for (const char* key : {"ja", "k", "ka", "kab", "kb", "k\xff", "l"}) Put(key, std::string("v") + key);
  EXPECT_THAT(All("k"), ElementsAre(std::pair("k", "vk"), std::pair("ka", "vka"), std::pair("kab", "vkab"),
                                    std::pair("kb", "vkb"), std::pair("k\xff", "vk\xff")));
  EXPECT_THAT(All("k", "kab"),
              ElementsAre(std::pair("kab", "vkab"), std::pair("kb", "vkb"), std::pair("k\xff", "vk\xff")));
  EXPECT_THAT(All("k", "kaa", 1), ElementsAre(std::pair("kab", "vkab")));
  EXPECT_THAT(All("k", "a", 1), ElementsAre(std::pair("k", "vk")));
  EXPECT_THAT(All("k", "z"), ElementsAre());
  EXPECT_THAT(All("nothing"), ElementsAre());
}

TEST_P(DatabaseContract, AVisitorMayCallBackAndItsErrorIsTheScans) {
  for (int i = 0; i < 200; ++i) Put("k" + std::to_string(i), std::string(1000, 'x'));
  size_t seen = 0;
  ASSERT_TRUE(IsOk(db().Scan("k", {}, [&](std::string_view key, std::string_view value) -> Result<bool> {
    SNAP_TRY(const std::optional<std::string> same, db().Get(key));
    EXPECT_EQ(same, value);
    ++seen;
    return true;
  })));
  EXPECT_EQ(seen, 200U);
  const auto failed = db().Scan("k", {}, [](std::string_view, std::string_view) -> Result<bool> {
    return Error(ErrorCode::kCancelled, "enough");
  });
  EXPECT_EQ(failed.error().code(), ErrorCode::kCancelled);
}

TEST_P(DatabaseContract, KeysValuesAndBatchesOfAnySizeComeBack) {
  for (const size_t size :
       {size_t{1} << 10U, (size_t{48} << 10U) - 20, size_t{48} << 10U, (size_t{64} << 10U) - 8,
        (size_t{64} << 10U) - 1, size_t{64} << 10U, size_t{3} << 20U}) {
    std::string value(size, 'v');
    value.back() = 'e';
    Put("k" + std::to_string(size), value);
    EXPECT_EQ(db().Get("k" + std::to_string(size)).value(), value) << size;
  }
  EXPECT_EQ(All("k").size(), 7U);
  DatabaseChanges changes;
  for (int i = 0; i < 50'000; ++i) changes.Put("many" + std::to_string(i), std::to_string(i));
  ASSERT_TRUE(IsOk(db().Write(changes, true)));
  EXPECT_EQ(All("many").size(), 50'000U);
}

TEST_P(DatabaseContract, RandomOperationsGiveWhatAMapGives) {
  std::mt19937 random(7);
  std::map<std::string, std::string> model;
  const auto key = [&] {
    return "k" + std::string(random() % 4, static_cast<char>(random() % 3 + 0xfd)) +
           std::to_string(random() % 50);
  };
  for (int round = 0; round < 300; ++round) {
    DatabaseChanges changes;
    for (auto count = random() % 8; count > 0; --count) {
      const std::string name = key();
      if (random() % 3 == 0) {
        changes.Delete(name);
        model.erase(name);
      } else {
        const std::string value(random() % 3000, static_cast<char>(random()));
        changes.Put(name, value);
        model.insert_or_assign(name, value);
      }
    }
    ASSERT_TRUE(IsOk(db().Write(changes, false)));
    if (round % 10 != 0) continue;
    const std::string from = key();
    ASSERT_EQ(All("k", from), Rows(model.lower_bound(from), model.end()));
  }
  EXPECT_EQ(All("k"), Rows(model.begin(), model.end()));
}

INSTANTIATE_TEST_SUITE_P(Of, DatabaseContract, ::testing::Bool(),
                         [](const auto& test) { return std::string(test.param ? "Remote" : "Rocks"); });

TEST(RemoteDatabase, OnlyTheHolderOfTheLockMayWrite) {
  RemoteFixture fixture;
  DatabaseChanges changes;
  changes.Put("k", "v");
  // A client that believes to hold what another one holds.
  const UniqueFd stranger = sys::OpenAt(fixture.root, "lock", O_RDWR).value();
  {
    const auto liar = RemoteDatabase::Connect(fixture.root, stranger).value();
    EXPECT_EQ(liar->Write(changes, true).error().code(), ErrorCode::kBusy);
  }
  {
    const auto other_file = RemoteDatabase::Connect(fixture.root, fixture.root).value();
    EXPECT_EQ(other_file->Write(changes, true).error().code(), ErrorCode::kBusy);
  }
  EXPECT_FALSE(fixture.db().Get("k").value().has_value());
  EXPECT_TRUE(IsOk(fixture.db().Write(changes, true)));
}

TEST(RemoteDatabase, TheLockIsFreeAsSoonAsItsHolderLetsGo) {
  RemoteFixture fixture;
  DatabaseChanges changes;
  changes.Put("k", "v");
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(IsOk(fixture.db().Write(changes, false)));
    fixture.Disconnect();
    // Without any patience: no copy of the lock is left in the daemon.
    ASSERT_TRUE(
        IsOk(StoreLock::Acquire(fixture.root, StoreLock::Kind::kExclusive, {}, std::chrono::milliseconds(0))))
        << i;
    fixture.Connect();
  }
}

TEST(DatabaseService, TheDatabaseIsServedOrClosedForWhoHoldsTheLock) {
  RemoteFixture fixture;
  DatabaseChanges changes;
  changes.Put("k", "v");
  ASSERT_TRUE(IsOk(fixture.db().Write(changes, true)));
  const std::shared_ptr<Database> own = fixture.service->database();
  EXPECT_EQ(own->Get("k").value(), "v");

  // Stopping waits for our transaction.
  std::thread stopping([&] { fixture.service->Stop(); });
  EXPECT_EQ(fixture.db().Get("k").value(), "v");
  fixture.Disconnect();
  stopping.join();

  EXPECT_EQ(own->Get("k").error().code(), ErrorCode::kUnavailable);
  EXPECT_EQ(RemoteDatabase::Connect(fixture.root, fixture.root).value(), nullptr);
  EXPECT_FALSE(std::filesystem::exists(fixture.dir.path() + "/control"));
  EXPECT_EQ(OpenStoreDatabase(fixture.root, fixture.dir.path(), RocksDatabase::Access::kWrite)
                .value()
                ->Get("k")
                .value(),
            "v");
  EXPECT_TRUE(IsOk(DatabaseService::Start(fixture.root, fixture.dir.path(), {})));
}

TEST(DatabaseService, AnImpatientStopEndsTransactionsLikeADeathDoes) {
  TempDir dir;
  const UniqueFd root = sys::OpenAt(FdRef::Cwd(), dir.path().c_str(), O_RDONLY | O_DIRECTORY).value();
  DatabaseService::Options options;
  options.stop_patience = std::chrono::milliseconds(1);
  const auto service = DatabaseService::Start(root, dir.path(), std::move(options)).value();
  const auto lock = StoreLock::Acquire(root, StoreLock::Kind::kExclusive, {}).value();
  const auto db = RemoteDatabase::Connect(root, lock.file()).value();
  ASSERT_TRUE(IsOk(db->Get("k")));
  service->Stop();
  EXPECT_EQ(db->Get("k").error().code(), ErrorCode::kUnavailable);
  EXPECT_EQ(RemoteDatabase::Connect(root, lock.file()).value(), nullptr);
}

TEST(DatabaseService, ThereIsOneForAStore) {
  RemoteFixture fixture;
  fixture.Disconnect();
  const auto second = DatabaseService::Start(fixture.root, fixture.dir.path(), {});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code(), ErrorCode::kBusy);
  fixture.Connect();
  EXPECT_TRUE(IsOk(fixture.db().Get("k")));
}

TEST(DatabaseService, LongPathsAndStaleSocketsAreNoHindrance) {
  TempDir dir;
  std::string path = dir.path();
  for (int i = 0; i < 4; ++i) path += "/" + std::string(100, 'd');
  std::filesystem::create_directories(path);
  const UniqueFd root = sys::OpenAt(FdRef::Cwd(), path.c_str(), O_RDONLY | O_DIRECTORY).value();
  // What a killed daemon leaves: the name of a socket that nobody has.
  { const UniqueFd gone = sys::ListenPackets(root, "control", 0600, 1).value(); }
  ASSERT_TRUE(std::filesystem::is_socket(path + "/control"));
  EXPECT_EQ(RemoteDatabase::Connect(root, root).value(), nullptr);
  const auto service = DatabaseService::Start(root, path, {});
  ASSERT_TRUE(IsOk(service));
  EXPECT_NE(RemoteDatabase::Connect(root, root).value(), nullptr);
}

TEST(StoreLock, GivesUpAtItsDeadline) {
  TempDir dir;
  const UniqueFd root = sys::OpenAt(FdRef::Cwd(), dir.path().c_str(), O_RDONLY | O_DIRECTORY).value();
  const auto held = StoreLock::Acquire(root, StoreLock::Kind::kExclusive, {}).value();
  bool told = false;
  const auto second = StoreLock::Acquire(
      root, StoreLock::Kind::kShared, [&](auto) { told = true; }, std::chrono::milliseconds(20));
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code(), ErrorCode::kUnavailable);
  EXPECT_THAT(second.error().message(), HasSubstr(std::to_string(::getpid())));
  EXPECT_TRUE(told);
}

}  // namespace
}  // namespace snap
