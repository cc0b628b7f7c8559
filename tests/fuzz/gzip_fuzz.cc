#include "tests/fuzz/inflate_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  snap::FuzzAgreement(data, size, snap::Compression::kGzip);
  return 0;
}
