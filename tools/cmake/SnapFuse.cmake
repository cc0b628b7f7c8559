# libfuse3: what tools/build-libfuse made, if it did; else the distribution's, which lacks passthrough and io_uring.
option(SNAP_SYSTEM_LIBFUSE "Take the distribution's libfuse3 even where a newer one was built" OFF)
set(SNAP_LIBFUSE_PREFIX "${PROJECT_SOURCE_DIR}/build/libfuse" CACHE PATH "Where tools/build-libfuse put libfuse3")
if(NOT SNAP_SYSTEM_LIBFUSE AND EXISTS "${SNAP_LIBFUSE_PREFIX}/.complete")
  pkg_check_modules(NUMA REQUIRED IMPORTED_TARGET numa)
  add_library(snap_libfuse INTERFACE)
  target_include_directories(snap_libfuse SYSTEM INTERFACE "${SNAP_LIBFUSE_PREFIX}/include/fuse3")
  target_link_libraries(snap_libfuse INTERFACE "${SNAP_LIBFUSE_PREFIX}/lib/libfuse3.a" PkgConfig::LIBURING PkgConfig::NUMA
                        Threads::Threads ${CMAKE_DL_LIBS})
else()
  pkg_check_modules(FUSE3 REQUIRED IMPORTED_TARGET fuse3>=3.14)
  add_library(snap_libfuse INTERFACE)
  target_link_libraries(snap_libfuse INTERFACE PkgConfig::FUSE3 Threads::Threads)
endif()
# The interface that both have; what is newer is asked for by FUSE_VERSION in fuse/session.cc.
target_compile_definitions(snap_libfuse INTERFACE FUSE_USE_VERSION=314)
