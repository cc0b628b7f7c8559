# Compiler settings that every target of the project shares: link `snap_compile` PRIVATE.
add_library(snap_compile INTERFACE)
target_include_directories(snap_compile INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR}/generated)
target_compile_definitions(snap_compile INTERFACE _GNU_SOURCE _FILE_OFFSET_BITS=64)
target_compile_options(snap_compile INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor
  -Wold-style-cast -Woverloaded-virtual -Wnull-dereference -Wimplicit-fallthrough
  -fno-omit-frame-pointer -fstack-protector-strong)
if(SNAP_WERROR)
  target_compile_options(snap_compile INTERFACE -Werror)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 reports null dereferences and uninitialised optionals inside inlined std::variant code that
  # cannot happen; clang's and tidy's checks cover the real ones.
  target_compile_options(snap_compile INTERFACE -Wno-null-dereference -Wno-maybe-uninitialized)
endif()
if(SNAP_SANITIZE)
  add_compile_options(-fsanitize=${SNAP_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${SNAP_SANITIZE})
elseif(CMAKE_BUILD_TYPE MATCHES "Rel")
  target_compile_definitions(snap_compile INTERFACE _FORTIFY_SOURCE=2)
endif()
if(SNAP_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# snap_library(NAME SOURCES... ): a static library of one folder with the project's settings.
function(snap_library name)
  add_library(${name} STATIC ${ARGN})
  target_link_libraries(${name} PRIVATE snap_compile)
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR})
endfunction()
