// Quote: untrusted bytes made safe to print. Names come from layers and may hold newlines or terminal escapes.
#pragma once

#include <string>
#include <string_view>

namespace snap {

/// `'name'` with control characters, quotes, backslashes and invalid UTF-8 as \n, \' or \xNN.
std::string Quote(std::string_view bytes);
/// The same escapes without the surrounding quotes, for table cells.
std::string EscapeUnprintable(std::string_view bytes);
/// True when the bytes are well-formed UTF-8 (no overlong forms, no surrogates).
bool IsUtf8(std::string_view bytes);

}  // namespace snap
