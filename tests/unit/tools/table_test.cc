#include "tools/snap/table.h"

#include <gtest/gtest.h>

namespace snap::cli {
namespace {

TEST(Table, AlignsColumnsWithThreeSpacesAndNoTrailingOnes) {
  Table table({{"NAME"}, {"SIZE", Table::Align::kRight}, {"ID"}});
  table.AddRow({"a", "1kB", "x"});
  table.AddRow({"longer", "117MB", ""});
  EXPECT_EQ(table.Render(),
            "NAME      SIZE   ID\n"
            "a          1kB   x\n"
            "longer   117MB\n");
}

TEST(Table, WithoutRowsPrintsItsTitles) { EXPECT_EQ(Table({{"A"}, {"B"}}).Render(), "A   B\n"); }

TEST(Table, EscapesWhatATerminalActsOn) {
  Table table({{"COMMAND"}});
  table.AddRow({"a\x1b[31mb\nc"});
  EXPECT_EQ(table.Render(), "COMMAND\na\\x1b[31mb\\nc\n");
}

TEST(Table, CountsCharactersAndNotBytes) {
  Table table({{"A"}, {"B"}});
  table.AddRow({"é…", "1"});
  table.AddRow({"xyz", "2"});
  EXPECT_EQ(table.Render(), "A     B\né…    1\nxyz   2\n");
}

TEST(RenderFields, AlignsValues) {
  EXPECT_EQ(RenderFields({{"Store", "/x"}, {"Run directory", "/y\n"}, {"None", ""}}),
            "Store:          /x\nRun directory:  /y\\n\nNone:\n");
}

}  // namespace
}  // namespace snap::cli
