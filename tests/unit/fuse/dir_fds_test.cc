#include "fuse/dir_fds.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <deque>
#include <random>
#include <thread>
#include <vector>

#include "fs/base/sys_file.h"
#include "tests/support/temp_dir.h"

namespace snap::fuse {
namespace {

size_t OpenDescriptors() { return sys::ListDir(*sys::OpenAt(FdRef::Cwd(), "/proc/self/fd", O_RDONLY))->size(); }

SysResult<UniqueFd> OpenRoot() { return sys::OpenAt(FdRef::Cwd(), "/", O_PATH | O_DIRECTORY); }

TEST(DirFds, OpensOnceAndGivesTheSameDescriptorAgain) {
  DirFds fds(16);
  DirFds::Slot slot(fds);
  int opened = 0;
  const auto open = [&] {
    ++opened;
    return OpenRoot();
  };
  const DirFds::Pin first = *fds.Get(slot, open);
  EXPECT_EQ(first, *fds.Get(slot, open));
  EXPECT_EQ(1, opened);
  EXPECT_EQ(1U, fds.open_count());
}

TEST(DirFds, AFailureToOpenIsHandedOnAndLeavesTheSlotClosed) {
  DirFds fds(16);
  DirFds::Slot slot(fds);
  EXPECT_EQ(Errno(EACCES), fds.Get(slot, [] { return Errno(EACCES); }).error());
  EXPECT_EQ(0U, fds.open_count());
  EXPECT_TRUE(fds.Get(slot, OpenRoot).ok());
}

TEST(DirFds, DropClosesButAPinStaysOpen) {
  DirFds fds(16);
  DirFds::Slot slot(fds);
  const size_t before = OpenDescriptors();
  DirFds::Pin pin = *fds.Get(slot, OpenRoot);
  EXPECT_EQ(before + 1, OpenDescriptors());
  fds.Drop(slot);
  EXPECT_EQ(0U, fds.open_count());
  EXPECT_TRUE(sys::FStat(*pin).ok());
  pin.reset();
  EXPECT_EQ(before, OpenDescriptors());
  EXPECT_TRUE(fds.Get(slot, OpenRoot).ok());
}

TEST(DirFds, TenThousandDirectoriesNeedNoMoreDescriptorsThanTheCapacity) {
  DirFds fds(16);
  std::deque<DirFds::Slot> slots;
  const size_t before = OpenDescriptors();
  for (int i = 0; i < 10000; ++i) {
    slots.emplace_back(fds);
    ASSERT_TRUE(fds.Get(slots.back(), OpenRoot).ok());
    ASSERT_LE(fds.open_count(), 16U);
  }
  EXPECT_EQ(before + 16, OpenDescriptors());
  int opened = 0;
  for (DirFds::Slot& slot : slots) {
    ASSERT_TRUE(fds.Get(slot, [&] {
      ++opened;
      return OpenRoot();
    }).ok());
  }
  EXPECT_GE(opened, 10000 - 16);  // those that were evicted, again
  slots.clear();
  EXPECT_EQ(0U, fds.open_count());
  EXPECT_EQ(before, OpenDescriptors());
}

TEST(DirFds, WhatIsUsedAllTheTimeStaysOpen) {
  DirFds fds(16);
  DirFds::Slot favourite(fds);
  std::deque<DirFds::Slot> others;
  int opened = 0;
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(fds.Get(favourite, [&] {
      ++opened;
      return OpenRoot();
    }).ok());
    others.emplace_back(fds);
    ASSERT_TRUE(fds.Get(others.back(), OpenRoot).ok());
  }
  EXPECT_EQ(1, opened);
}

TEST(DirFds, OpeningMayAskForTheParent) {
  const test::TempDir dir;
  DirFds fds(16);
  constexpr size_t kDepth = 40;  // more than the capacity
  std::deque<DirFds::Slot> slots;
  for (size_t i = 0; i < kDepth; ++i) slots.emplace_back(fds);
  std::string path;
  for (size_t i = 0; i < kDepth; ++i) {
    path += i == 0 ? "d" : "/d";
    ASSERT_TRUE(sys::MkdirAt(dir.fd(), path.c_str(), 0755).ok());
  }
  const std::function<SysResult<DirFds::Pin>(size_t)> get = [&](size_t depth) {
    return fds.Get(slots[depth], [&, depth]() -> SysResult<UniqueFd> {
      if (depth == 0) return sys::OpenAt(dir.fd(), "d", O_PATH | O_DIRECTORY);
      SNAP_TRY(const DirFds::Pin parent, get(depth - 1));
      return sys::OpenAt(*parent, "d", O_PATH | O_DIRECTORY);
    });
  };
  const DirFds::Pin deepest = *get(kDepth - 1);
  EXPECT_EQ(sys::StatAt(dir.fd(), path.c_str())->st_ino, sys::FStat(*deepest)->st_ino);
  EXPECT_LE(fds.open_count(), 16U);
  EXPECT_EQ(sys::StatAt(dir.fd(), "d")->st_ino, sys::FStat(**get(0))->st_ino);
}

TEST(DirFds, ManyThreadsShareAFewDescriptors) {
  const test::TempDir dir;
  constexpr size_t kSlots = 10000, kThreads = 8, kDirs = 10;
  std::vector<ino_t> inodes;
  for (size_t i = 0; i < kDirs; ++i) {
    const std::string name = std::to_string(i);
    ASSERT_TRUE(sys::MkdirAt(dir.fd(), name.c_str(), 0755).ok());
    inodes.push_back(sys::StatAt(dir.fd(), name.c_str())->st_ino);
  }
  DirFds fds(16);
  std::deque<DirFds::Slot> slots;
  for (size_t i = 0; i < kSlots; ++i) slots.emplace_back(fds);
  const size_t before = OpenDescriptors();
  std::atomic<size_t> wrong{0};
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      for (int i = 0; i < 20000; ++i) {
        // Some are used by all, most by hardly anybody.
        const size_t at = random() % (i % 2 == 0 ? 20 : kSlots);
        if (i % 17 == 0) fds.Drop(slots[at]);
        const auto pin = fds.Get(slots[at], [&] {
          return sys::OpenAt(dir.fd(), std::to_string(at % kDirs).c_str(), O_PATH | O_DIRECTORY);
        });
        if (!pin.ok() || sys::FStat(**pin)->st_ino != inodes[at % kDirs]) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(0U, wrong);
  // While all were busy at once there may have been more; the next one puts that right.
  ASSERT_TRUE(fds.Get(slots[0], OpenRoot).ok());
  fds.Drop(slots[1]);
  ASSERT_TRUE(fds.Get(slots[1], OpenRoot).ok());
  EXPECT_LE(fds.open_count(), 16U);
  EXPECT_EQ(before + fds.open_count(), OpenDescriptors());
}

TEST(DirFds, DirectoriesMayGoWhileOthersAreBeingOpened) {
  DirFds fds(16);
  std::atomic<size_t> failed{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int round = 0; round < 500; ++round) {
        std::deque<DirFds::Slot> slots;  // listed when they are destroyed, while the others evict
        for (int i = 0; i < 30; ++i) {
          slots.emplace_back(fds);
          if (!fds.Get(slots.back(), OpenRoot).ok()) ++failed;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(0U, failed);
  EXPECT_EQ(0U, fds.open_count());
}

}  // namespace
}  // namespace snap::fuse
