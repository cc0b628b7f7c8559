#include "fs/posix_acl.h"

#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>

#include <cstddef>
#include <cstdint>

namespace snap {
namespace {

template <typename T>
T Little(std::string_view bytes, size_t at) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) value = static_cast<T>(value | static_cast<T>(static_cast<T>(static_cast<uint8_t>(bytes[at + i])) << (8 * i)));
  return value;
}

}  // namespace

bool IsValidPosixAcl(std::string_view value) {
  constexpr size_t kHeader = 4;
  constexpr size_t kEntry = 8;
  if (value.size() < kHeader || (value.size() - kHeader) % kEntry != 0) return false;
  if (Little<uint32_t>(value, 0) != POSIX_ACL_XATTR_VERSION) return false;
  if (value.size() == kHeader) return true;  // no ACL at all
  // What may come next: each tag names a place in the order.
  enum class Next { kUserObj, kUsers, kGroups, kOther, kEnd } next = Next::kUserObj;
  bool needs_mask = false;
  for (size_t at = kHeader; at < value.size(); at += kEntry) {
    if ((Little<uint16_t>(value, at + 2) & ~(ACL_READ | ACL_WRITE | ACL_EXECUTE)) != 0) return false;
    switch (Little<uint16_t>(value, at)) {
      case ACL_USER_OBJ:
        if (next != Next::kUserObj) return false;
        next = Next::kUsers;
        break;
      case ACL_USER:
        if (next != Next::kUsers) return false;
        needs_mask = true;
        break;
      case ACL_GROUP_OBJ:
        if (next != Next::kUsers) return false;
        next = Next::kGroups;
        break;
      case ACL_GROUP:
        if (next != Next::kGroups) return false;
        needs_mask = true;
        break;
      case ACL_MASK:
        if (next != Next::kGroups) return false;
        next = Next::kOther;
        break;
      case ACL_OTHER:
        if (next != Next::kOther && (next != Next::kGroups || needs_mask)) return false;
        next = Next::kEnd;
        break;
      default:
        return false;
    }
  }
  return next == Next::kEnd;
}

}  // namespace snap
