// The superblock's checksum of an EROFS image, put right: no mutation would hit it.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>

#include "fs/erofs_format.h"

namespace snap::test {

inline void RepairChecksum(std::span<std::byte> image) {
  constexpr size_t kSuper = erofs::kSuperOffset;
  if (image.size() < kSuper + sizeof(erofs::SuperBlock)) return;
  auto super = erofs::Read<erofs::SuperBlock>(image.subspan(kSuper));
  if (super.block_bits < erofs::kMinBlockBits || super.block_bits > erofs::kMaxBlockBits) return;
  super.magic = erofs::kMagic;
  super.feature_compat = super.feature_compat | erofs::kCompatChecksum;
  std::memcpy(image.data() + kSuper, &super, sizeof(super));
  const size_t summed = erofs::ChecksummedBytes(super.block_bits);
  if (kSuper + summed > image.size()) return;
  super.checksum = erofs::Checksum(image.subspan(kSuper, summed));
  std::memcpy(image.data() + kSuper, &super, sizeof(super));
}

}  // namespace snap::test
