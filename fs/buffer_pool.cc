// A stack of idle buffers.
#include "fs/buffer_pool.h"

#include "fs/base/check.h"

namespace snap {

BufferPool::BufferPool(size_t buffer_bytes, size_t max_idle)
    : buffer_bytes_(buffer_bytes), max_idle_(max_idle) {
  SNAP_CHECK(buffer_bytes != 0);
  idle_.Lock()->reserve(max_idle);  // so that Return, which destructors call, does not allocate
}

BufferPool::Buffer BufferPool::Take() {
  {
    auto idle = idle_.Lock();
    if (!idle->empty()) {
      Buffer buffer = std::move(idle->back());
      idle->pop_back();
      return buffer;
    }
  }
  return Buffer(static_cast<std::byte*>(::operator new[](buffer_bytes_, std::align_val_t(kAlignment))));
}

void BufferPool::Return(Buffer buffer) {
  auto idle = idle_.Lock();
  if (idle->size() < max_idle_) idle->push_back(std::move(buffer));
}

size_t BufferPool::idle() { return idle_.Lock()->size(); }

}  // namespace snap
