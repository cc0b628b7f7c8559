#include "tools/snap/table.h"

#include <algorithm>

#include "fs/base/check.h"
#include "fs/base/quote.h"
#include "tools/snap/human.h"

namespace snap::cli {
namespace {
constexpr size_t kGap = 3;
}  // namespace

void Table::AddRow(std::vector<std::string> cells) {
  SNAP_CHECK(cells.size() == columns_.size());
  for (std::string& cell : cells) cell = EscapeUnprintable(cell);
  rows_.push_back(std::move(cells));
}

std::string Table::Render() const {
  std::vector<size_t> widths;
  widths.reserve(columns_.size());
  for (const Column& column : columns_) widths.push_back(DisplayWidth(column.title));
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], DisplayWidth(row[i]));
  }
  std::string out;
  const auto add_line = [&](const auto& cell_of) {
    for (size_t i = 0; i < columns_.size(); ++i) {
      const std::string& cell = cell_of(i);
      const size_t padding = widths[i] - DisplayWidth(cell);
      if (columns_[i].align == Align::kRight) out.append(padding, ' ');
      out += cell;
      if (columns_[i].align == Align::kLeft) out.append(padding, ' ');
      out.append(kGap, ' ');
    }
    out.erase(out.find_last_not_of(' ') + 1);
    out += '\n';
  };
  add_line([&](size_t i) -> const std::string& { return columns_[i].title; });
  for (const auto& row : rows_) add_line([&](size_t i) -> const std::string& { return row[i]; });
  return out;
}

std::string RenderFields(const std::vector<std::pair<std::string, std::string>>& fields) {
  size_t width = 0;
  for (const auto& [name, value] : fields) width = std::max(width, DisplayWidth(name));
  std::string out;
  for (const auto& [name, value] : fields) {
    out += name;
    out += ':';
    out.append(width - DisplayWidth(name) + kGap - 1, ' ');
    out += EscapeUnprintable(value);
    out.erase(out.find_last_not_of(' ') + 1);
    out += '\n';
  }
  return out;
}

}  // namespace snap::cli
