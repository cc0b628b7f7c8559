// json_value PATH: reads one JSON document from standard input and prints what lies at PATH: keys and indexes
// divided by dots, "" for the whole, "#" for the number of elements. Strings are printed as they are, other
// values as JSON. Exit status 1 when there is no such value, 2 when the input is not one JSON document.
#include <cstdio>
#include <exception>
#include <iostream>
#include <iterator>
#include <string>

#include "fs/base/json.h"

namespace {

int Main(int argc, char** argv) {
  const std::string text{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  const snap::Result<snap::Json> document = snap::ParseJson(text, "standard input");
  if (!document.ok()) {
    fmt::print(stderr, "json_value: {}\n", document.error().message());
    return 2;
  }
  const snap::Json* value = &*document;
  std::string path = argc > 1 ? argv[1] : "";
  while (!path.empty()) {
    const size_t dot = path.find('.');
    const std::string key = path.substr(0, dot);
    path = dot == std::string::npos ? "" : path.substr(dot + 1);
    if (key == "#") {
      fmt::print("{}\n", value->size());
      return 0;
    }
    if (value->is_array() && key.find_first_not_of("0123456789") == std::string::npos &&
        std::stoul(key) < value->size()) {
      value = &(*value)[std::stoul(key)];
    } else if (value->is_object() && value->contains(key)) {
      value = &(*value)[key];
    } else {
      fmt::print(stderr, "json_value: no {} in {}\n", key, value->dump());
      return 1;
    }
  }
  fmt::print("{}\n", value->is_string() ? value->get<std::string>() : value->dump());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Main(argc, argv);
  } catch (const std::exception& exception) {
    fmt::print(stderr, "json_value: {}\n", exception.what());
    return 2;
  }
}
