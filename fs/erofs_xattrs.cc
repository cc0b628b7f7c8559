// A pair of e bytes that n inodes have costs n * e inline and e + 4 * n shared; whatever is less is done.
// Members of a set are sorted, so that neither the stream's order nor a LayerTree's numbers show in the
// image.
#include "fs/erofs_xattrs.h"

#include <algorithm>
#include <limits>

#include "fs/base/check.h"
#include "fs/base/quote.h"
#include "fs/erofs_format.h"

namespace snap {
namespace {

constexpr size_t kMaxNameBytes = 255;
constexpr size_t kMaxValueBytes = 65535;
constexpr size_t kMaxShared = 255;
constexpr uint64_t kMaxBodyBytes = sizeof(erofs::XattrHeader) + (uint64_t{0xFFFF} - 1) * erofs::kXattrAlign;

template <typename T>
void AppendStruct(std::string& out, const T& value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

}  // namespace

Result<ErofsXattrs::PairId> ErofsXattrs::AddPair(const Xattr& xattr) {
  const auto name = erofs::SplitXattrName(xattr.name);
  if (!name) {
    return MakeError(ErrorCode::kUnsupported, "xattr {} is in no namespace that EROFS has",
                     Quote(xattr.name));
  }
  if (name->rest.size() > kMaxNameBytes || xattr.value.size() > kMaxValueBytes) {
    return MakeError(ErrorCode::kLimitExceeded, "xattr {} of {} bytes is too large for EROFS",
                     Quote(xattr.name), xattr.value.size());
  }
  std::string entry;
  entry.reserve(
      erofs::RoundUp(sizeof(erofs::XattrEntry) + name->rest.size() + xattr.value.size(), erofs::kXattrAlign));
  AppendStruct(entry, erofs::XattrEntry{static_cast<uint8_t>(name->rest.size()), name->prefix,
                                        static_cast<uint16_t>(xattr.value.size())});
  entry += name->rest;
  entry += xattr.value;
  entry.resize(erofs::RoundUp(entry.size(), erofs::kXattrAlign));

  const auto [place, added] = pair_ids_.try_emplace(std::move(entry), static_cast<PairId>(pairs_.size()));
  if (added) {
    Pair pair;
    pair.entry = place->first;
    pair.filter_bit = erofs::XattrFilterBit(*name);
    pairs_.push_back(std::move(pair));
  }
  return place->second;
}

Result<ErofsXattrs::SetId> ErofsXattrs::AddSet(const std::vector<Xattr>& xattrs) {
  if (xattrs.empty()) return kEmpty;
  std::vector<Xattr> sorted = xattrs;
  std::sort(sorted.begin(), sorted.end(), [](const Xattr& a, const Xattr& b) { return a.name < b.name; });
  Members members;
  for (size_t i = 0; i < sorted.size(); ++i) {
    if (i != 0 && sorted[i].name == sorted[i - 1].name) {
      return MakeError(ErrorCode::kInvalidArgument, "two xattrs are called {}", Quote(sorted[i].name));
    }
    SNAP_TRY(const PairId pair, AddPair(sorted[i]));
    members.push_back(pair);
  }
  const auto [place, added] = set_ids_.try_emplace(std::move(members), static_cast<SetId>(bodies_.size()));
  if (added) {
    bodies_.emplace_back();
    uses_.push_back(0);
  }
  return place->second;
}

Result<void> ErofsXattrs::Settle() {
  std::vector<const Members*> sets(bodies_.size(), nullptr);
  for (const auto& [members, set] : set_ids_) sets[set] = &members;
  for (SetId set = 1; set < sets.size(); ++set) {
    for (const PairId pair : *sets[set]) pairs_[pair].uses += uses_[set];
  }
  for (Pair& pair : pairs_) {
    const uint64_t size = pair.entry.size();
    pair.shared = pair.uses * size > size + pair.uses * sizeof(erofs::Le32);
    if (!pair.shared) continue;
    pair.shared_id = static_cast<uint32_t>(shared_area_.size() / erofs::kXattrAlign);
    shared_area_ += pair.entry;
    if (shared_area_.size() / erofs::kXattrAlign > std::numeric_limits<uint32_t>::max()) {
      return MakeError(ErrorCode::kLimitExceeded, "shared xattrs are too large for EROFS");
    }
  }
  for (SetId set = 1; set < sets.size(); ++set) {
    SNAP_TRY(bodies_[set], Encode(*sets[set]));
  }
  return {};
}

Result<std::string> ErofsXattrs::Encode(const Members& members) const {
  erofs::XattrHeader header;
  uint32_t filter = std::numeric_limits<uint32_t>::max();
  std::string shared;
  std::string entries;
  for (const PairId id : members) {
    const Pair& pair = pairs_[id];
    filter &= ~pair.filter_bit;
    if (pair.shared && header.shared < kMaxShared) {
      AppendStruct(shared, erofs::Le32(pair.shared_id));
      ++header.shared;
    } else {
      entries += pair.entry;
    }
  }
  header.name_filter = filter;
  std::string body;
  AppendStruct(body, header);
  body += shared;
  body += entries;
  if (body.size() > kMaxBodyBytes) {
    return MakeError(ErrorCode::kLimitExceeded, "{} xattrs of one file take {} bytes, EROFS has room for {}",
                     members.size(), body.size(), kMaxBodyBytes);
  }
  return body;
}

uint16_t ErofsXattrs::Count(SetId set) const {
  if (set == kEmpty) return 0;
  SNAP_CHECK(bodies_[set].size() > sizeof(erofs::XattrHeader));
  return static_cast<uint16_t>(1 + (bodies_[set].size() - sizeof(erofs::XattrHeader)) / erofs::kXattrAlign);
}

}  // namespace snap
