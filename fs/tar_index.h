// The tar index of a layer: all bytes of its tar that are not stored elsewhere (headers, padding, data of
// entries that the layer does not keep), compressed, and where the others are; with it the exact tar of a
// DiffId can be written again. Format: docs/disk-layout.md, "tar.idx".
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "fs/base/result.h"
#include "fs/base/unique_fd.h"
#include "fs/byte_source.h"
#include "fs/object_id.h"

namespace snap {

/// Where a piece of a tar is stored.
struct TarContent {
  enum class Place : uint8_t { kImage, kObject } place = Place::kImage;
  uint32_t object = 0;  ///< kObject: number of the object in the index's list
  uint64_t offset = 0;  ///< bytes, in layer.erofs or in the object
  uint64_t size = 0;
};

/// Records a tar that passes by. Threads: one at a time.
class TarIndexWriter {
 public:
  /// `file`: a new, empty file; must outlive this.
  explicit TarIndexWriter(FdRef file);
  ~TarIndexWriter();
  /// The stream's next bytes. They must stay valid until the next call of Bytes or Finish has returned:
  /// Stored may say that some of them are elsewhere, the rest is kept here by that next call. An empty chunk
  /// only ends the one before: for a stream that reuses the memory as soon as it is asked for more. Errors:
  /// kNoSpace, kIo; after one only destruction is allowed. Cost: about 0.5 ms per 1000 headers of 512 bytes,
  /// which take about 20 bytes each.
  Result<void> Bytes(std::span<const std::byte> chunk);
  /// `bytes` is a part of the latest chunk, behind everything that was given to Stored before; `content.size`
  /// is its size. What continues the content before is one piece with it.
  Result<void> Stored(std::span<const std::byte> bytes, const TarContent& content);
  /// Everything was passed; `objects` is what TarContent::object counts. Call once, last. The file is a
  /// function of the bytes and what was said about them, whatever the chunks were. Durability: none. Errors:
  /// kNoSpace, kIo.
  Result<void> Finish(const std::vector<ObjectId>& objects);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// What the stored pieces are read through.
class TarContentReader {
 public:
  virtual ~TarContentReader() = default;
  /// Exactly `buffer.size()` bytes. Errors: kCorrupt when there are fewer.
  virtual Result<void> ReadImage(uint64_t offset, std::span<std::byte> buffer) = 0;
  virtual Result<void> ReadObject(const ObjectId& object, uint64_t offset, std::span<std::byte> buffer) = 0;
};

/// The tar again, as a source. `index` and `content` must outlive it. The index is checked as it is read:
/// kCorrupt before the last byte is handed out when anything in it was changed; whether it is the index of
/// the right tar, only the tar's digest says. Memory: O(1), about 1 MiB. Cost: memory speed for what the
/// index holds, a read of `content` for every piece that is elsewhere.
Result<std::unique_ptr<ByteSource>> MakeTarSource(FdRef index, TarContentReader& content, std::string name);
/// The list of objects of an index. Errors: kCorrupt, kUnsupported (made by a newer version). Cost: two small
/// reads; the rest of the index is not looked at.
Result<std::vector<ObjectId>> ReadTarIndexObjects(FdRef index, std::string_view name);
/// Compares every byte of the file with its checksums. Errors: kCorrupt, kUnsupported.
Result<void> CheckTarIndex(FdRef index, std::string_view name);

}  // namespace snap
