// objects/ as a directory of names. Everything that could go wrong between two processes is settled by the file system: a name
// appears by link(2), which never replaces, and its bytes live as long as anybody has a link.
#include "fs/object_store.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>

#include "fs/base/fault.h"
#include "fs/base/quote.h"
#include "fs/base/sys_file.h"
#include "fs/base/sys_process.h"
#include "fs/file_ranges.h"

namespace snap {
namespace {

constexpr mode_t kShardMode = 0700;
constexpr uint64_t kStatBlock = 512;  // the unit of st_blocks

std::string Shard(const ObjectId& id) { return id.Path().substr(0, 2); }

Result<UniqueFd> OpenShard(FdRef objects, const std::string& shard) {
  SNAP_TRY_SYS(UniqueFd fd, sys::OpenAt(objects, shard.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW), "open objects/{}", shard);
  return fd;
}

}  // namespace

ObjectStore::ObjectStore(UniqueFd directory, std::string_view secret) : directory_(std::move(directory)), secret_(secret) {}

Result<UniqueFd> ObjectStore::Open(const ObjectId& id) const {
  const std::string path = id.Path();
  SysResult<UniqueFd> file = sys::OpenBeneath(directory_, path.c_str(), O_RDONLY | O_NOFOLLOW);
  if (file.ok()) return std::move(file).value();
  return Error(file.error(), "open object " + Quote(path));
}

Result<bool> ObjectStore::Exists(const ObjectId& id) const {
  const std::string path = id.Path();
  const SysResult<struct stat> stat = sys::StatAt(directory_, path.c_str());
  if (stat.ok()) return true;
  if (stat.error() == ENOENT) return false;
  return Error(stat.error(), "look at object " + Quote(path));
}

Result<bool> ObjectStore::Link(FdRef from, const char* file, const ObjectId& id) const {
  const std::string path = id.Path();
  SysResult<void> linked = sys::LinkAt(from, file, directory_, path.c_str());
  if (!linked.ok() && linked.error() == ENOENT) {
    const std::string shard = path.substr(0, 2);
    const SysResult<void> made = sys::MkdirAt(directory_, shard.c_str(), kShardMode);
    if (!made.ok() && !(made.error() == EEXIST)) return Error(made.error(), "make objects/" + shard);
    linked = sys::LinkAt(from, file, directory_, path.c_str());
  }
  if (linked.ok()) return true;
  if (linked.error() == EEXIST) return false;
  return Error(linked.error(), "name object " + Quote(path));
}

Result<void> ObjectStore::LinkOver(FdRef from, const char* file, const ObjectId& id) const {
  const std::string path = id.Path();
  const std::string temporary = path.substr(0, 3) + ".new-" + sys::RandomHex128();
  SNAP_TRY_SYS_VOID(sys::LinkAt(from, file, directory_, temporary.c_str()), "replace object {}", Quote(path));
  SNAP_TRY_SYS_VOID(sys::RenameAt(directory_, temporary.c_str(), directory_, path.c_str()), "replace object {}", Quote(path));
  return {};
}

Result<void> ObjectStore::ForEach(const Visitor& visit) const {
  // A descriptor of our own: listing moves the position, and calls may come from several threads.
  SNAP_TRY_SYS(const UniqueFd objects, sys::OpenAt(directory_, ".", O_RDONLY | O_DIRECTORY), "open objects");
  SNAP_TRY_SYS(const std::vector<sys::DirEntry> shards, sys::ListDir(objects), "list objects");
  for (const sys::DirEntry& shard : shards) {
    const SysResult<UniqueFd> directory = sys::OpenAt(objects, shard.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!directory.ok()) {
      SNAP_TRY_VOID(visit(std::nullopt, shard.name));
      continue;
    }
    SNAP_TRY_SYS(const std::vector<sys::DirEntry> entries, sys::ListDir(*directory), "list objects/{}", shard.name);
    for (const sys::DirEntry& entry : entries) {
      const std::string path = shard.name + "/" + entry.name;
      const Result<ObjectId> id = ObjectId::ParsePath(path);
      SNAP_TRY_VOID(visit(id.ok() ? std::optional(*id) : std::nullopt, path));
    }
  }
  return {};
}

Result<void> ObjectStore::Verify(const ObjectId& id, uint64_t* bytes_read) const {
  SNAP_TRY(const UniqueFd file, Open(id));
  const auto corrupt = [&](std::string_view why) {
    return MakeError(ErrorCode::kCorrupt, "object {}: {}", Quote(id.Path()), why);
  };
  SNAP_TRY_SYS(const struct stat stat, sys::FStat(file), "look at object {}", Quote(id.Path()));
  if (!S_ISREG(stat.st_mode)) return corrupt("it is not a regular file");
  if (static_cast<uint64_t>(stat.st_size) != id.size) {
    return corrupt(fmt::format("it has {} bytes instead of {}", stat.st_size, id.size));
  }
  ObjectHasher hasher(secret_);
  SNAP_TRY_VOID(ForEachData(file, id.size, [&](uint64_t offset, std::span<const std::byte> bytes) -> Result<void> {
    hasher.Update(offset, bytes);
    if (bytes_read != nullptr) *bytes_read += bytes.size();
    return {};
  }));
  if (hasher.Finish() != id.hash) return corrupt("its bytes have changed");
  return {};
}

Result<uint64_t> ObjectStore::AllocatedBytes(uint64_t* count) const {
  uint64_t bytes = 0;
  SNAP_TRY_VOID(ForEach([&](const std::optional<ObjectId>&, const std::string& path) -> Result<void> {
    const SysResult<struct stat> stat = sys::StatAt(directory_, path.c_str());
    if (!stat.ok()) return {};  // removed meanwhile
    bytes += static_cast<uint64_t>(stat->st_blocks) * kStatBlock;
    if (count != nullptr) ++*count;
    return {};
  }));
  return bytes;
}

Result<void> ObjectStore::SyncNames(std::span<const ObjectId> ids) const {
  std::set<std::string> shards;
  for (const ObjectId& id : ids) shards.insert(Shard(id));
  for (const std::string& shard : shards) {
    SNAP_TRY(const UniqueFd directory, OpenShard(directory_, shard));
    SNAP_TRY_SYS_VOID(sys::Fsync(directory), "flush objects/{}", shard);
  }
  SNAP_TRY_SYS(const UniqueFd objects, sys::OpenAt(directory_, ".", O_RDONLY | O_DIRECTORY), "open objects");
  SNAP_TRY_SYS_VOID(sys::Fsync(objects), "flush objects");
  return {};
}

// --- hashing

void ObjectHasher::Update(uint64_t offset, std::span<const std::byte> bytes) {
  static constexpr std::array<std::byte, 4096> kZeros{};
  while (!bytes.empty()) {
    const uint64_t piece = offset / kPieceBytes;
    const uint64_t begin = offset % kPieceBytes;
    const std::span<const std::byte> part = bytes.first(std::min<uint64_t>(bytes.size(), kPieceBytes - begin));
    offset += part.size();
    bytes = bytes.subspan(part.size());
    if (piece != piece_) {
      piece_ = piece;
      fed_ = 0;
    }
    // Zeros at its end wait until something else follows in the same piece.
    size_t size = part.size();
    while (size > 0 && part[size - 1] == std::byte{0}) --size;
    if (size == 0) continue;
    if (fed_ == 0) {
      std::array<std::byte, 8> number;
      for (size_t i = 0; i < number.size(); ++i) number[i] = static_cast<std::byte>(piece >> (8 * i));
      hasher_.Update(number);
    }
    for (; fed_ < begin; fed_ += std::min<uint64_t>(begin - fed_, kZeros.size())) {
      hasher_.Update(std::span(kZeros).first(std::min<uint64_t>(begin - fed_, kZeros.size())));
    }
    hasher_.Update(part.first(size));
    fed_ = begin + size;
  }
}

Xxh128 ObjectHasher::Finish() {
  piece_ = UINT64_MAX;
  fed_ = 0;
  return hasher_.Finish();
}

// --- the objects of an import

std::string ObjectStage::NewName() {
  const std::lock_guard guard(mutex_);
  return std::to_string(next_name_++);
}

bool ObjectStage::Add(const ObjectId& id, std::string name) {
  const std::lock_guard guard(mutex_);
  return objects_.emplace(id, Pin{std::move(name)}).second;
}

std::vector<ObjectId> ObjectStage::Ids() const {
  const std::lock_guard guard(mutex_);
  std::vector<ObjectId> ids;
  for (const auto& [id, pin] : objects_) ids.push_back(id);
  return ids;
}

Result<std::vector<ObjectId>> ObjectStage::LargeOfSize(uint64_t size) {
  const std::lock_guard guard(mutex_);
  if (!large_) {
    std::multimap<uint64_t, ObjectId> large;
    SNAP_TRY_VOID(store_.ForEach([&](const std::optional<ObjectId>& id, const std::string&) -> Result<void> {
      if (id && id->size > ObjectWriter::kHeldBytes) large.emplace(id->size, *id);
      return {};
    }));
    large_ = std::move(large);
  }
  std::vector<ObjectId> found;
  const auto [begin, end] = large_->equal_range(size);
  for (auto it = begin; it != end; ++it) found.push_back(it->second);
  for (const auto& [id, pin] : objects_) {
    if (id.size == size && std::find(found.begin(), found.end(), id) == found.end()) found.push_back(id);
  }
  return found;
}

Result<std::optional<std::string>> ObjectStage::PinForReading(const ObjectId& id) {
  std::string name = NewName();
  std::string mine;
  {
    const std::lock_guard guard(mutex_);
    if (const auto found = objects_.find(id); found != objects_.end()) mine = found->second.name;
  }
  const std::string path = id.Path();
  const SysResult<void> pinned = mine.empty() ? sys::LinkAt(store_.directory(), path.c_str(), pins_, name.c_str())
                                              : sys::LinkAt(pins_, mine.c_str(), pins_, name.c_str());
  if (pinned.ok()) return std::optional(std::move(name));
  if (pinned.error() == ENOENT || pinned.error() == EMLINK) return std::optional<std::string>();
  return Error(pinned.error(), "pin object " + Quote(path));
}

Result<std::optional<ObjectId>> ObjectStage::FindSame(const Xxh128& hash, uint64_t size, const Same& same, ObjectId& free_id) {
  ObjectId id{.hash = hash, .size = size, .variant = 0};
  for (;; ++id.variant) {
    {
      const std::lock_guard guard(mutex_);
      if (const auto mine = objects_.find(id); mine != objects_.end()) {
        SNAP_TRY_SYS(const UniqueFd candidate, sys::OpenAt(pins_, mine->second.name.c_str(), O_RDONLY | O_NOFOLLOW),
                     "open object {}", Quote(id.Path()));
        SNAP_TRY(const bool equal, same(candidate));
        if (equal) return std::optional(id);
        continue;
      }
    }
    const std::string path = id.Path();
    const std::string name = NewName();
    const SysResult<void> pinned = sys::LinkAt(store_.directory(), path.c_str(), pins_, name.c_str());
    if (!pinned.ok()) {
      // The most links that a file can have: this layer gets a copy of its own.
      if (pinned.error() == EMLINK) continue;
      if (!(pinned.error() == ENOENT)) return Error(pinned.error(), "pin object " + Quote(path));
      free_id = id;
      return std::optional<ObjectId>();
    }
    SNAP_TRY_SYS(const UniqueFd candidate, sys::OpenAt(pins_, name.c_str(), O_RDONLY | O_NOFOLLOW), "open object {}",
                 Quote(path));
    const Result<bool> equal = same(candidate);
    if (equal.ok() && *equal) {
      if (Add(id, name)) return std::optional(id);
      --id.variant;  // another thread found or made one of this id: look at that
    }
    SNAP_TRY_SYS_VOID(sys::UnlinkAt(pins_, name.c_str()), "unpin object {}", Quote(path));
    if (equal.ok() && *equal) continue;
    // Other bytes of the same hash, or one that is not what it was (unflushed at a power cut, a bad block)?
    if (store_.Verify(id).ok()) continue;
    const std::lock_guard guard(mutex_);
    damaged_.insert(id);
    free_id = id;
    return std::optional<ObjectId>();
  }
}

/// False when the name was there already, for the same bytes.
Result<bool> ObjectStage::PublishOne(const ObjectId& id, const Pin& pin) {
  // Others come and go meanwhile; each attempt that does not settle it has met one of them.
  constexpr int kAttempts = 100;
  const std::string path = id.Path();
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    SNAP_TRY(const bool linked, store_.Link(pins_, pin.name.c_str(), id));
    if (linked) return true;
    SNAP_TRY_SYS(const UniqueFd own, sys::OpenAt(pins_, pin.name.c_str(), O_RDONLY | O_NOFOLLOW), "open object {}", Quote(path));
    const Result<UniqueFd> other = store_.Open(id);
    if (!other.ok() && other.error().code() == ErrorCode::kNotFound) continue;  // removed again
    if (!other.ok()) return other.error();
    SNAP_TRY_SYS(const struct stat mine, sys::FStat(own), "look at object {}", Quote(path));
    SNAP_TRY_SYS(const struct stat named, sys::FStat(*other), "look at object {}", Quote(path));
    if (named.st_ino == mine.st_ino && named.st_dev == mine.st_dev) return false;
    // Another import made the same object meanwhile, as far as its id tells.
    SNAP_TRY(const bool equal, SameData(own, *other, id.size));
    if (!equal) break;
    // Ours would be lost with the pins; theirs must not be lost with their removal.
    const std::string name = std::to_string(next_name_++);
    const SysResult<void> pinned = sys::LinkAt(store_.directory(), path.c_str(), pins_, name.c_str());
    if (!pinned.ok() && pinned.error() == ENOENT) continue;
    if (!pinned.ok()) return Error(pinned.error(), "pin object " + Quote(path));
    SNAP_TRY_SYS_VOID(sys::RenameAt(pins_, name.c_str(), pins_, pin.name.c_str()), "pin object {}", Quote(path));
    return false;
  }
  return MakeError(ErrorCode::kBusy, "name object {}: another import has just changed it", Quote(path));
}

Result<void> ObjectStage::Publish(bool sync) {
  const std::lock_guard guard(mutex_);
  std::vector<ObjectId> added;
  for (const auto& [id, pin] : objects_) {
    if (damaged_.erase(id) != 0) {
      SNAP_TRY_VOID(store_.LinkOver(pins_, pin.name.c_str(), id));
      added.push_back(id);
      continue;
    }
    SNAP_TRY(const bool linked, PublishOne(id, pin));
    if (linked) added.push_back(id);
  }
  SNAP_FAULT_POINT("objects.published");
  if (sync && !added.empty()) return store_.SyncNames(added);
  return {};
}

}  // namespace snap
