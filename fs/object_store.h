// ObjectStore: objects/ of a store, the bytes of large files, one copy of each whatever the number of layers.
//   objects/xx/<id>   mode 0444, root, never changed, found through the redirects of packed layers
// Invariant: what is visible in objects/ is whole, and its id was made from its bytes. An object that somebody still needs has
// another link: an import holds one to every object that it made or found (see ObjectStage), so that a name in objects/ may be
// removed at any time by whoever finds no references in the database; the import gives it back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fs/io_engine.h"
#include "fs/object_id.h"
#include "fs/xxhash.h"

namespace snap {

/// The bytes of a file as an object's hash takes them: zeros need not be there. XXH3 over every 64 KiB piece without the
/// zeros at its end, each after its number (little endian, 64 bits) and not at all when nothing is left, so that a file has one
/// id however its holes are stored.
/// Threads: one at a time.
class ObjectHasher {
 public:
  static constexpr size_t kPieceBytes = size_t{64} << 10U;
  /// `secret` must outlive this.
  explicit ObjectHasher(const Xxh3Hasher::Secret& secret) : hasher_(secret) {}
  /// Ascending, without overlap; what is left out is zeros.
  void Update(uint64_t offset, std::span<const std::byte> bytes);
  /// The hash of what was given since construction or the last call.
  Xxh128 Finish();

 private:
  Xxh3Hasher hasher_;
  uint64_t piece_ = UINT64_MAX;  // number of the piece that is being hashed
  uint64_t fed_ = 0;             // bytes of it that were
};

/// Threads: safe; other processes too.
class ObjectStore {
 public:
  /// `directory`: objects/ itself. `secret` as in store.json.
  ObjectStore(UniqueFd directory, std::string_view secret);
  FdRef directory() const { return directory_; }
  const Xxh3Hasher::Secret& secret() const { return secret_; }

  /// For reading. Errors: kNotFound.
  Result<UniqueFd> Open(const ObjectId& id) const;
  Result<bool> Exists(const ObjectId& id) const;
  /// Calls for every entry; `id` is nullopt for a name that is no object's. Cost O(objects).
  using Visitor = std::function<Result<void>(const std::optional<ObjectId>& id, const std::string& path)>;
  Result<void> ForEach(const Visitor& visit) const;
  /// Reads it all and compares with the id. kCorrupt says what is wrong; kNotFound. `bytes_read`, if given, is increased.
  Result<void> Verify(const ObjectId& id, uint64_t* bytes_read = nullptr) const;
  /// Allocated bytes of all objects. Cost O(objects).
  Result<uint64_t> AllocatedBytes(uint64_t* count) const;
  /// Flushes the directories that hold these names.
  Result<void> SyncNames(std::span<const ObjectId> ids) const;
  /// Gives `file` in `from` the object's name. False when the name is taken.
  Result<bool> Link(FdRef from, const char* file, const ObjectId& id) const;
  /// The same in place of what has the name.
  Result<void> LinkOver(FdRef from, const char* file, const ObjectId& id) const;

 private:
  UniqueFd directory_;
  Xxh3Hasher::Secret secret_;
};

/// The objects of one import: made or found, and kept by a link in a directory of the import's until they are referenced.
/// Threads: safe; several ObjectWriters use one.
class ObjectStage {
 public:
  /// `pins`: an empty directory on the store's file system that goes with the import.
  ObjectStage(const ObjectStore& store, FdRef pins) : store_(store), pins_(pins) {}
  const ObjectStore& store() const { return store_; }

  /// Gives every object its name in objects/ where it does not have it. Durability: none, except with `sync` for names that had
  /// gone meanwhile. May be called again. Errors: kBusy when other bytes have taken an id (try again).
  Result<void> Publish(bool sync);
  std::vector<ObjectId> Ids() const;

 private:
  friend class ObjectWriter;
  struct Pin {
    std::string name;  // in pins_
  };
  std::string NewName();
  Result<bool> PublishOne(const ObjectId& id, const Pin& pin);
  /// Finds the object that has these bytes, here or in the store, and pins it. `same` compares an open candidate. One in the
  /// store that is not what its id says is damaged: its id is free.
  using Same = std::function<Result<bool>(FdRef candidate)>;
  Result<std::optional<ObjectId>> FindSame(const Xxh128& hash, uint64_t size, const Same& same, ObjectId& free_id);
  /// False when a thread has just added an object of this id.
  bool Add(const ObjectId& id, std::string name);
  /// The objects of `size` bytes, more than ObjectWriter::kHeldBytes, here and in the store; some may go meanwhile. Lists objects/ once.
  Result<std::vector<ObjectId>> LargeOfSize(uint64_t size);
  /// Links an object under a new name in pins_, for as long as it is compared; nullopt when it has gone.
  Result<std::optional<std::string>> PinForReading(const ObjectId& id);

  const ObjectStore& store_;
  const FdRef pins_;
  mutable std::mutex mutex_;
  std::map<ObjectId, Pin> objects_;  // guarded by mutex_
  std::set<ObjectId> damaged_;       // in the store: ours take their place; guarded by mutex_
  std::optional<std::multimap<uint64_t, ObjectId>> large_;  // the store's by size; guarded by mutex_
  uint64_t next_name_ = 0;           // guarded by mutex_
};

/// Writes one object after another, and not what is there already: a file of up to kHeldBytes is held in memory until its hash
/// is known; a longer one that begins like an object of its size is only compared with that, and written when it departs from it.
/// Threads: one at a time; one writer per layer.
class ObjectWriter {
 public:
  static constexpr size_t kHeldBytes = size_t{4} << 20U;
  ObjectWriter(ObjectStage& stage, std::unique_ptr<IoEngine> engine);
  ~ObjectWriter();
  /// Begin, Write in ascending order without overlap, End. What is not written is a hole.
  Result<void> Begin(uint64_t size);
  Result<void> Write(uint64_t offset, std::span<const std::byte> data);
  Result<ObjectId> End();
  /// Bytes that were there already.
  uint64_t shared_bytes() const { return shared_bytes_; }

 private:
  /// Where the bytes of the current file are.
  enum class Place {
    kHeld,     // held_
    kWritten,  // file_name_, by file_
    kLike,     // nowhere: so far they are like_'s
  };
  Result<void> Hold(uint64_t offset, std::span<const std::byte> data);
  Result<void> Spill();
  Result<void> Complete();
  /// Whether the first `size` bytes of the candidate are what is held; adds to `compared` how many were looked at.
  Result<bool> SameAsHeld(FdRef candidate, uint64_t size, size_t* compared = nullptr);
  Result<bool> SameAsFile(FdRef candidate) const;
  Result<void> FindLike();
  bool StaysLike(uint64_t offset, std::span<const std::byte> data);
  Result<void> Depart();

  ObjectStage& stage_;
  std::unique_ptr<IoEngine> engine_;
  ObjectHasher hasher_;
  uint64_t size_ = 0;
  uint64_t end_ = 0;  // of the data so far
  Place place_ = Place::kHeld;
  struct Piece {
    uint64_t offset;
    size_t at, size;  // in held_
  };
  std::vector<std::byte> held_;
  std::vector<Piece> pieces_;
  std::vector<ObjectId> candidates_;  // of this size
  std::string file_name_;             // in the stage's pins: what was written, or like_
  IoEngine::FileId file_ = 0;
  struct Like {
    UniqueFd fd;
    Xxh128 hash;
  };
  std::optional<Like> like_;
  std::vector<std::byte> buffer_;  // for reading candidates
  uint64_t shared_bytes_ = 0;
};

}  // namespace snap
