// Sizes are compared with the image before they are used: a plain file's blocks and a chunked file's indexes
// all exist.
#include "fs/erofs_inode.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "fs/base/rel_path.h"
#include "fs/erofs_format.h"

namespace snap::erofs {
namespace {

constexpr size_t kIndexPiece = size_t{64} << 10U;

uint64_t BlockCount(const ErofsImage& image, uint64_t bytes) {
  return bytes == 0 ? 0 : ((bytes - 1) >> image.block_bits()) + 1;
}

/// Blocks that plain content has in front of an inline tail.
uint64_t PlainBlocks(const ErofsImage& image, const ErofsInode& inode) {
  const uint64_t blocks = BlockCount(image, inode.size);
  return inode.layout == kLayoutInline && blocks != 0 ? blocks - 1 : blocks;
}

void FillExtended(const InodeExtended& raw, ErofsInode& inode) {
  inode.uid = raw.uid;
  inode.gid = raw.gid;
  inode.links = raw.links;
  inode.mtime = {.tv_sec = static_cast<time_t>(uint64_t{raw.mtime}),
                 .tv_nsec = static_cast<long>(uint32_t{raw.mtime_ns})};
  inode.size = raw.size;
  inode.place = raw.place;
}

void FillCompact(const ErofsImage& image, const InodeCompact& raw, ErofsInode& inode) {
  inode.uid = raw.uid;
  inode.gid = raw.gid;
  inode.links = raw.links;
  const uint64_t seconds = static_cast<uint64_t>(image.epoch()) + raw.mtime;  // wraps like the kernel's
  inode.mtime = {.tv_sec = static_cast<time_t>(seconds), .tv_nsec = static_cast<long>(image.epoch_ns())};
  inode.size = raw.size;
  inode.place = raw.place;
}

Result<void> CheckContent(const ErofsImage& image, ErofsInode& inode) {
  if (inode.layout == kLayoutChunks) {
    if (inode.type != FileType::kRegular)
      return image.CorruptInode(inode.nid, "only a regular file may have chunks");
    if ((inode.place & ~(kChunkBitsMask | kChunkIndexes)) != 0) {
      return image.CorruptInode(inode.nid, "chunk format {:#x} is unknown", inode.place);
    }
    inode.chunk_bits = image.block_bits() + (inode.place & kChunkBitsMask);
    inode.body_offset =
        RoundUp(inode.body_offset, (inode.place & kChunkIndexes) != 0 ? sizeof(ChunkIndex) : sizeof(Le32));
    const uint64_t index_bytes = ChunkIndexBytes(inode);
    if (inode.body_offset > image.bytes() || index_bytes > image.bytes() - inode.body_offset) {
      return image.CorruptInode(inode.nid, "{} bytes of chunk indexes are beyond the image's end",
                                index_bytes);
    }
    return {};
  }
  if (inode.layout != kLayoutPlain && inode.layout != kLayoutInline) {
    return image.CorruptInode(inode.nid, "its data layout {} is unknown", inode.layout);
  }
  const uint64_t blocks = PlainBlocks(image, inode);
  if (blocks != 0 && (inode.place > image.blocks() || blocks > image.blocks() - inode.place)) {
    return image.CorruptInode(inode.nid, "{} blocks of data at block {} are beyond the image's end", blocks,
                              inode.place);
  }
  if (inode.layout == kLayoutInline && inode.size != 0) {
    const uint64_t tail = inode.size - (blocks << image.block_bits());
    const bool crosses =
        inode.body_offset >> image.block_bits() != (inode.body_offset + tail - 1) >> image.block_bits();
    if (crosses || inode.body_offset + tail > image.bytes()) {
      return image.CorruptInode(inode.nid, "its inline data crosses a block");
    }
    inode.tail_bytes = tail;
  }
  return {};
}

struct Chunk {
  bool hole = true;
  uint64_t block = 0;
  uint16_t device = 0;
};

Result<Chunk> DecodeChunk(const ErofsImage& image, const ErofsInode& inode, std::span<const std::byte> bytes,
                          uint64_t index) {
  Chunk chunk;
  if ((inode.place & kChunkIndexes) != 0) {
    const auto raw = Read<ChunkIndex>(bytes);
    if (raw.block == kNoBlock) return chunk;
    chunk = {false, raw.block, raw.device};
  } else {
    const auto raw = Read<Le32>(bytes);
    if (raw == kNoBlock) return chunk;
    chunk = {false, raw, 0};
  }
  const uint64_t start = index << inode.chunk_bits;
  const uint64_t blocks = BlockCount(image, std::min(inode.size - start, uint64_t{1} << inode.chunk_bits));
  const uint64_t limit = chunk.device <= image.device_count() ? image.BlocksOf(chunk.device) : 0;
  if (chunk.block > limit || blocks > limit - chunk.block) {
    return image.CorruptInode(inode.nid, "{} blocks at block {} are beyond the end of device {}", blocks,
                              chunk.block, chunk.device);
  }
  return chunk;
}

size_t IndexSize(const ErofsInode& inode) {
  return (inode.place & kChunkIndexes) != 0 ? sizeof(ChunkIndex) : sizeof(Le32);
}

}  // namespace

uint64_t ChunkIndexBytes(const ErofsInode& inode) {
  if (inode.chunk_bits == 0 || inode.size == 0) return 0;
  return (((inode.size - 1) >> inode.chunk_bits) + 1) * IndexSize(inode);
}

Result<ErofsInode> ReadInode(const ErofsImage& image, uint64_t nid) {
  if (nid >= image.nid_limit()) return image.CorruptInode(nid, "it is beyond the image's end");
  const uint64_t offset = image.meta_offset() + nid * kInodeSlot;
  std::vector<std::byte> scratch;
  SNAP_TRY(auto bytes, image.View(offset, sizeof(InodeCompact), scratch));
  const auto compact = Read<InodeCompact>(bytes);
  const uint16_t format = compact.format;
  if ((format & ~kFormatKnownBits) != 0) return image.CorruptInode(nid, "format {:#x} is unknown", format);

  ErofsInode inode;
  inode.nid = nid;
  const auto type = TypeOfMode(compact.mode);
  if (!type) return image.CorruptInode(nid, "mode {:o} is of no type of file", uint16_t{compact.mode});
  inode.type = *type;
  inode.permissions = compact.mode & 07777U;
  inode.layout = (format >> kFormatLayoutShift) & kFormatLayoutMask;
  size_t inode_bytes = sizeof(InodeCompact);
  if ((format & kFormatExtended) != 0) {
    SNAP_TRY(bytes, image.View(offset, sizeof(InodeExtended), scratch));
    FillExtended(Read<InodeExtended>(bytes), inode);
    inode_bytes = sizeof(InodeExtended);
  } else {
    FillCompact(image, compact, inode);
  }
  if (inode.mtime.tv_nsec >= 1'000'000'000)
    return image.CorruptInode(nid, "it was changed at {} ns", inode.mtime.tv_nsec);

  inode.xattr_offset = offset + inode_bytes;
  if (compact.xattr_count != 0) {
    inode.xattr_bytes = sizeof(XattrHeader) + (uint64_t{compact.xattr_count} - 1) * kXattrAlign;
  }
  inode.body_offset = inode.xattr_offset + inode.xattr_bytes;
  if (inode.body_offset > image.bytes())
    return image.CorruptInode(nid, "its xattrs are beyond the image's end");

  switch (inode.type) {
    case FileType::kRegular:
      if (inode.size > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return image.CorruptInode(nid, "it has {} bytes", inode.size);
      }
      break;
    case FileType::kDirectory:
      if (inode.size == 0) return image.CorruptInode(nid, "a directory is empty");
      break;
    case FileType::kSymlink:
      if (inode.size == 0 || inode.size >= RelPath::kMaxPath) {
        return image.CorruptInode(nid, "a symlink's target has {} bytes", inode.size);
      }
      break;
    case FileType::kCharDevice:
    case FileType::kBlockDevice:
      inode.device = DecodeDevice(inode.place);
      [[fallthrough]];
    case FileType::kFifo:
    case FileType::kSocket:
      inode.size = 0;
      return inode;
  }
  SNAP_TRY_VOID(CheckContent(image, inode));
  return inode;
}

Result<DirectoryBlock> ReadDirectoryBlock(const ErofsImage& image, const ErofsInode& inode, uint64_t index,
                                          std::vector<std::byte>& scratch) {
  const uint64_t offset = index << image.block_bits();
  const size_t size = std::min(image.block_bytes(), inode.size - offset);
  const bool in_blocks = index < PlainBlocks(image, inode);
  const uint64_t source = in_blocks ? (inode.place + index) << image.block_bits() : inode.body_offset;
  SNAP_TRY(const auto bytes, image.View(source, size, scratch));
  auto block = DirectoryBlock::Parse(bytes);
  if (!block.ok()) return image.CorruptInode(inode.nid, "{}", block.error().message());
  return block;
}

Result<std::string> ReadTarget(const ErofsImage& image, const ErofsInode& inode) {
  std::string target(inode.size, '\0');
  SNAP_TRY_VOID(ReadData(image, inode, 0, std::as_writable_bytes(std::span(target))));
  if (target.find('\0') != std::string::npos)
    return image.CorruptInode(inode.nid, "a symlink's target holds a NUL");
  return target;
}

Result<std::vector<LayerTree::Run>> ReadRuns(const ErofsImage& image, const ErofsInode& inode,
                                             size_t max_runs) {
  std::vector<LayerTree::Run> runs;
  if (inode.size == 0) return runs;
  if (inode.chunk_bits == 0) {
    const uint64_t bytes = std::min(inode.size, PlainBlocks(image, inode) << image.block_bits());
    if (bytes != 0) runs.push_back({0, bytes, inode.place, 0});
    return runs;
  }
  const size_t unit = IndexSize(inode);
  const uint64_t total = ChunkIndexBytes(inode);
  const uint64_t chunk_bytes = uint64_t{1} << inode.chunk_bits;
  std::vector<std::byte> scratch;
  for (uint64_t at = 0; at < total; at += kIndexPiece) {
    const size_t piece = std::min<uint64_t>(kIndexPiece, total - at);
    SNAP_TRY(const auto bytes, image.View(inode.body_offset + at, piece, scratch));
    for (size_t i = 0; i < piece; i += unit) {
      const uint64_t index = (at + i) / unit;
      SNAP_TRY(const Chunk chunk, DecodeChunk(image, inode, bytes.subspan(i), index));
      if (chunk.hole) continue;
      const uint64_t start = index << inode.chunk_bits;
      const uint64_t size = std::min(chunk_bytes, inode.size - start);
      if (!runs.empty()) {
        LayerTree::Run& last = runs.back();
        const bool continues = last.offset + last.size == start && last.device == chunk.device &&
                               last.block + (last.size >> image.block_bits()) == chunk.block;
        if (continues) {
          last.size += size;
          continue;
        }
      }
      if (runs.size() >= max_runs) {
        return MakeError(ErrorCode::kLimitExceeded, "EROFS image {}: inode {} has more than {} runs of data",
                         Quote(image.name()), inode.nid, max_runs);
      }
      runs.push_back({start, size, chunk.block, chunk.device});
    }
  }
  return runs;
}

Result<void> ReadData(const ErofsImage& image, const ErofsInode& inode, uint64_t offset,
                      std::span<std::byte> buffer) {
  std::vector<std::byte> scratch;
  while (!buffer.empty()) {
    uint64_t source = 0;
    uint64_t available = 0;
    bool hole = false;
    if (inode.chunk_bits == 0) {
      const uint64_t plain_bytes = std::min(inode.size, PlainBlocks(image, inode) << image.block_bits());
      const bool in_blocks = offset < plain_bytes;
      source = in_blocks ? (uint64_t{inode.place} << image.block_bits()) + offset
                         : inode.body_offset + (offset - plain_bytes);
      available = (in_blocks ? plain_bytes : inode.size) - offset;
    } else {
      const uint64_t index = offset >> inode.chunk_bits;
      const size_t unit = IndexSize(inode);
      SNAP_TRY(const auto bytes, image.View(inode.body_offset + index * unit, unit, scratch));
      SNAP_TRY(const Chunk chunk, DecodeChunk(image, inode, bytes, index));
      if (!chunk.hole && chunk.device != 0) {
        return MakeError(ErrorCode::kInvalidArgument, "EROFS image {}: data of inode {} is on device {}",
                         Quote(image.name()), inode.nid, chunk.device);
      }
      const uint64_t within = offset - (index << inode.chunk_bits);
      hole = chunk.hole;
      source = (chunk.block << image.block_bits()) + within;
      available = std::min((uint64_t{1} << inode.chunk_bits) - within, inode.size - offset);
    }
    const std::span<std::byte> part = buffer.first(std::min<uint64_t>(buffer.size(), available));
    if (hole) {
      std::fill(part.begin(), part.end(), std::byte{0});
    } else {
      SNAP_TRY_VOID(image.Copy(source, part));
    }
    buffer = buffer.subspan(part.size());
    offset += part.size();
  }
  return {};
}

}  // namespace snap::erofs
