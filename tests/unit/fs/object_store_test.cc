#include "fs/object_store.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <random>
#include <thread>

#include "fs/base/sys_file.h"
#include "fs/file_ranges.h"
#include "tests/support/temp_dir.h"

namespace snap {
namespace {

using test::TempDir;

std::string RandomText(size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

class ObjectStoreTest : public testing::Test {
 protected:
  ObjectStoreTest() : store_(temp_.MakeDir("objects"), "secret"), pins_(temp_.MakeDir("pins")) { stage_.emplace(store_, pins_); }

  ObjectId Put(std::string_view text, ObjectStage& stage) {
    ObjectWriter writer(stage, *MakeIoEngine(IoEngineKind::kPlain));
    EXPECT_TRUE(writer.Begin(text.size()).ok());
    EXPECT_TRUE(writer.Write(0, std::as_bytes(std::span(text))).ok());
    const Result<ObjectId> id = writer.End();
    EXPECT_TRUE(id.ok()) << id.error().message();
    return id.ok() ? *id : ObjectId{};
  }
  ObjectId Put(std::string_view text) { return Put(text, *stage_); }
  bool Remove(const ObjectId& id) {
    const SysResult<void> removed = sys::UnlinkAt(store_.directory(), id.Path().c_str());
    return removed.ok() || removed.error() == ENOENT;
  }
  std::string Read(const ObjectId& id) {
    const Result<UniqueFd> file = store_.Open(id);
    return file.ok() ? *sys::ReadAll(*file, size_t{1} << 26U) : "unreadable";
  }
  size_t Count() {
    size_t count = 0;
    EXPECT_TRUE(store_.ForEach([&](const auto& id, const std::string& path) -> Result<void> {
      EXPECT_TRUE(id.has_value()) << path;
      ++count;
      return {};
    }).ok());
    return count;
  }

  TempDir temp_;
  ObjectStore store_;
  UniqueFd pins_;
  std::optional<UniqueFd> pins_again_;
  std::optional<ObjectStage> stage_;
};

TEST_F(ObjectStoreTest, ObjectsAppearWhenPublishedAndAreReadOnly) {
  const std::string text = RandomText(100'000, 1);
  const ObjectId id = Put(text);
  EXPECT_FALSE(*store_.Exists(id));
  ASSERT_TRUE(stage_->Publish(false).ok());
  EXPECT_EQ(Read(id), text);
  const struct stat stat = *sys::FStat(*store_.Open(id));
  EXPECT_EQ(stat.st_mode & 07777U, 0444U);
  EXPECT_TRUE(store_.Verify(id).ok());
}

TEST_F(ObjectStoreTest, EqualFilesAreStoredOnceWhateverTheirSize) {
  for (const size_t size : {size_t{70'000}, ObjectWriter::kHeldBytes, ObjectWriter::kHeldBytes + 1}) {
    const std::string text = RandomText(size, 2);
    const ObjectId id = Put(text);
    EXPECT_EQ(Put(text), id);
    ASSERT_TRUE(stage_->Publish(false).ok());
    const UniqueFd other_pins = temp_.MakeDir(("pins" + std::to_string(size)).c_str());
    ObjectStage other(store_, other_pins);
    EXPECT_EQ(Put(text, other), id);
    ASSERT_TRUE(other.Publish(false).ok());
    EXPECT_NE(Put(RandomText(size, 3), other), id);
  }
  EXPECT_EQ(Count(), 3U);
}

TEST_F(ObjectStoreTest, HolesDoNotChangeTheId) {
  // Zeros at every kind of place: a whole piece, the ends of pieces, the end of the file.
  std::string text = RandomText(300'000, 4);
  for (const auto& [begin, size] : {std::pair<size_t, size_t>{60'000, 90'000}, {200'000, 1}, {280'000, 20'000}}) {
    std::fill_n(text.begin() + static_cast<ptrdiff_t>(begin), size, '\0');
  }
  const ObjectId dense = Put(text);
  ObjectWriter writer(*stage_, *MakeIoEngine(IoEngineKind::kPlain));
  ASSERT_TRUE(writer.Begin(text.size()).ok());
  const auto bytes = std::as_bytes(std::span(text));
  ASSERT_TRUE(writer.Write(0, bytes.first(60'000)).ok());
  ASSERT_TRUE(writer.Write(150'000, bytes.subspan(150'000, 130'000)).ok());
  EXPECT_EQ(*writer.End(), dense);
  ASSERT_TRUE(stage_->Publish(false).ok());
  EXPECT_TRUE(store_.Verify(dense).ok());
}

TEST_F(ObjectStoreTest, SparseFilesStaySparse) {
  constexpr uint64_t kSize = uint64_t{1} << 40U;
  ObjectWriter writer(*stage_, *MakeIoEngine(IoEngineKind::kPlain));
  ASSERT_TRUE(writer.Begin(kSize).ok());
  const std::string text = RandomText(5000, 5);
  ASSERT_TRUE(writer.Write(kSize - 5000, std::as_bytes(std::span(text))).ok());
  const Result<ObjectId> id = writer.End();
  ASSERT_TRUE(id.ok()) << id.error().message();
  ASSERT_TRUE(stage_->Publish(false).ok());
  EXPECT_LT((*sys::FStat(*store_.Open(*id))).st_blocks, 100);
  EXPECT_TRUE(store_.Verify(*id).ok());
}

TEST_F(ObjectStoreTest, AFileThatDepartsFromTheObjectItBeganLikeIsStoredWhole) {
  constexpr size_t kHeld = ObjectWriter::kHeldBytes;
  const std::string text = RandomText(3 * kHeld, 8);
  const ObjectId first = Put(text);
  ASSERT_TRUE(stage_->Publish(false).ok());
  // Before, at and after the end of what is held, at the very end; and zeros where the object has none.
  for (const size_t at : {size_t{0}, kHeld - 1, kHeld, kHeld + 1, 2 * kHeld + 12345, text.size() - 1}) {
    std::string other = text;
    other[at] = static_cast<char>(other[at] ^ 1);
    const ObjectId id = Put(other);
    EXPECT_NE(id, first) << at;
    ASSERT_TRUE(stage_->Publish(false).ok());
    EXPECT_TRUE(Read(id) == other) << at;
    EXPECT_TRUE(store_.Verify(id).ok()) << at;
  }
  for (const size_t hole : {kHeld + 5000, text.size() - 4096}) {
    ObjectWriter writer(*stage_, *MakeIoEngine(IoEngineKind::kPlain));
    ASSERT_TRUE(writer.Begin(text.size()).ok());
    const auto bytes = std::as_bytes(std::span(text));
    for (size_t at = 0; at < hole; at += 1000) {
      ASSERT_TRUE(writer.Write(at, bytes.subspan(at, std::min<size_t>(1000, hole - at))).ok());
    }
    if (hole + 4096 < text.size()) {
      ASSERT_TRUE(writer.Write(hole + 4096, bytes.subspan(hole + 4096)).ok());
    }
    const ObjectId id = *writer.End();
    EXPECT_EQ(writer.shared_bytes(), 0U);
    ASSERT_TRUE(stage_->Publish(false).ok());
    std::string other = text;
    std::fill_n(other.begin() + static_cast<ptrdiff_t>(hole), 4096, '\0');
    EXPECT_TRUE(Read(id) == other) << hole;
    EXPECT_TRUE(store_.Verify(id).ok()) << hole;
  }
}

TEST_F(ObjectStoreTest, ALargeFileThatIsThereIsOnlyCompared) {
  std::string text = RandomText(2 * ObjectWriter::kHeldBytes, 9);
  std::fill_n(text.begin() + ObjectWriter::kHeldBytes + 100'000, 300'000, '\0');
  const ObjectId id = Put(text);
  ASSERT_TRUE(stage_->Publish(false).ok());
  const UniqueFd pins = temp_.MakeDir("others");
  ObjectStage other(store_, pins);
  ObjectWriter writer(other, *MakeIoEngine(IoEngineKind::kPlain));
  ASSERT_TRUE(writer.Begin(text.size()).ok());
  const auto bytes = std::as_bytes(std::span(text));
  const size_t hole = ObjectWriter::kHeldBytes + 100'000;
  ASSERT_TRUE(writer.Write(0, bytes.first(hole)).ok());
  ASSERT_TRUE(writer.Write(hole + 300'000, bytes.subspan(hole + 300'000)).ok());
  for (const sys::DirEntry& entry : *sys::ListDir(pins)) {
    EXPECT_EQ(sys::StatAt(pins, entry.name.c_str())->st_ino, sys::FStat(*store_.Open(id))->st_ino) << "bytes were written";
  }
  EXPECT_EQ(*writer.End(), id);
  EXPECT_EQ(writer.shared_bytes(), text.size());
  ASSERT_TRUE(other.Publish(false).ok());
  EXPECT_EQ(sys::ListDir(pins)->size(), 1U);  // the pin that keeps it
}

TEST_F(ObjectStoreTest, ADamagedObjectIsReplacedByTheNextImportOfItsBytes) {
  for (const bool cut : {false, true}) {
    const std::string text = RandomText(70'000, cut ? 6 : 7);
    const ObjectId id = Put(text);
    ASSERT_TRUE(stage_->Publish(false).ok());
    const std::string path = id.Path();
    ASSERT_TRUE(sys::FChmodAt(store_.directory(), path.c_str(), 0644).ok());
    const UniqueFd file = *sys::OpenAt(store_.directory(), path.c_str(), O_WRONLY);
    ASSERT_TRUE(cut ? sys::Truncate(file, 0).ok() : sys::PWriteAll(file, std::as_bytes(std::span("other")), 1000).ok());
    EXPECT_EQ(store_.Verify(id).error().code(), ErrorCode::kCorrupt);
    const UniqueFd other_pins = temp_.MakeDir(cut ? "cut" : "changed");
    ObjectStage other(store_, other_pins);
    EXPECT_EQ(Put(text, other), id);
    ASSERT_TRUE(other.Publish(false).ok());
    EXPECT_EQ(Read(id), text);
    EXPECT_TRUE(store_.Verify(id).ok());
    stage_.emplace(store_, pins_again_.emplace(temp_.MakeDir(cut ? "pins3" : "pins2")));
  }
}

TEST_F(ObjectStoreTest, AnObjectRemovedByOthersComesBackWithTheNextPublish) {
  const ObjectId id = Put(RandomText(70'000, 7));
  ASSERT_TRUE(stage_->Publish(false).ok());
  ASSERT_TRUE(Remove(id));
  EXPECT_FALSE(*store_.Exists(id));
  ASSERT_TRUE(stage_->Publish(true).ok());
  EXPECT_TRUE(store_.Verify(id).ok());
}

TEST_F(ObjectStoreTest, EveryChangedBitIsFound) {
  const ObjectId id = Put(RandomText(200'000, 8));
  ASSERT_TRUE(stage_->Publish(false).ok());
  const std::string path = id.Path();
  ASSERT_TRUE(sys::FChmodAt(store_.directory(), path.c_str(), 0644).ok());
  const UniqueFd file = *sys::OpenAt(store_.directory(), path.c_str(), O_RDWR);
  std::mt19937 random(9);
  for (int i = 0; i < 200; ++i) {
    const uint64_t at = random() % id.size;
    std::byte byte;
    ASSERT_TRUE(ReadExactly(file, at, std::span(&byte, 1)).ok());
    const std::byte changed = byte ^ static_cast<std::byte>(1U << (random() % 8));
    ASSERT_TRUE(sys::PWriteAll(file, std::span(&changed, 1), at).ok());
    EXPECT_EQ(store_.Verify(id).error().code(), ErrorCode::kCorrupt) << at;
    ASSERT_TRUE(sys::PWriteAll(file, std::span(&byte, 1), at).ok());
  }
  EXPECT_TRUE(store_.Verify(id).ok());
}

TEST_F(ObjectStoreTest, ManyImportsOfTheSameFilesAgree) {
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const UniqueFd pins = temp_.MakeDir(("thread" + std::to_string(t)).c_str());
      for (unsigned round = 0; round < 20; ++round) {
        ObjectStage stage(store_, pins);
        std::vector<ObjectId> ids;
        for (unsigned i = 0; i < 5; ++i) ids.push_back(Put(RandomText(66'000 + i, i), stage));
        EXPECT_TRUE(stage.Publish(false).ok());
        for (const ObjectId& id : ids) {
          EXPECT_EQ(id.variant, 0U);
          // As a removal of some image would; whoever still needs it publishes again.
          if (round % 3 == t % 3) {
            EXPECT_TRUE(Remove(id));
          }
        }
        EXPECT_TRUE(stage.Publish(false).ok());
        const UniqueFd list = *sys::OpenAt(pins, ".", O_RDONLY | O_DIRECTORY);
        const std::vector<sys::DirEntry> left = *sys::ListDir(list);
        for (const sys::DirEntry& pin : left) {
          EXPECT_TRUE(sys::UnlinkAt(pins, pin.name.c_str()).ok());
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(FileRanges, SameDataSeesHolesAsZeros) {
  TempDir temp;
  std::mt19937 random(11);
  for (int round = 0; round < 60; ++round) {
    const uint64_t size = random() % 400'000 + 1;
    std::string text(size, '\0');
    for (int i = 0; i < 3; ++i) {
      const uint64_t begin = random() % size;
      std::fill_n(text.begin() + static_cast<ptrdiff_t>(begin), std::min<uint64_t>(size - begin, random() % 100'000), 'x');
    }
    const UniqueFd dense = *sys::OpenAt(temp.fd(), "dense", O_RDWR | O_CREAT | O_TRUNC, 0600);
    const UniqueFd sparse = *sys::OpenAt(temp.fd(), "sparse", O_RDWR | O_CREAT | O_TRUNC, 0600);
    ASSERT_TRUE(sys::PWriteAll(dense, std::as_bytes(std::span(text)), 0).ok());
    ASSERT_TRUE(sys::Truncate(sparse, size).ok());
    for (uint64_t at = 0; at < size; at += 4096) {
      const std::string_view piece = std::string_view(text).substr(at, 4096);
      if (piece.find('x') == std::string_view::npos) continue;
      ASSERT_TRUE(sys::PWriteAll(sparse, std::as_bytes(std::span(piece)), at).ok());
    }
    EXPECT_TRUE(*SameData(dense, sparse, size));
    const uint64_t at = random() % size;
    const char other = text[at] == 'x' ? '\0' : 'x';
    ASSERT_TRUE(sys::PWriteAll(sparse, std::as_bytes(std::span(&other, 1)), at).ok());
    EXPECT_FALSE(*SameData(dense, sparse, size));
  }
}

}  // namespace
}  // namespace snap
