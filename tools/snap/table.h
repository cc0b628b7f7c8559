// Table: aligned columns without borders, as Docker prints listings.
// Invariant: a cell is one line of printable text: what layers and configurations wrote is escaped here and
// nowhere else, so no verb can forget it.
#pragma once

#include <string>
#include <vector>

namespace snap::cli {

class Table {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  /// As many cells as columns (checked).
  void AddRow(std::vector<std::string> cells);
  /// The title line, then the rows; three spaces between columns, none at the end of a line.
  std::string Render() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

/// "NAME:   value" lines with the values aligned; for single objects.
std::string RenderFields(const std::vector<std::pair<std::string, std::string>>& fields);

}  // namespace snap::cli
