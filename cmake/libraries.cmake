# SPDX-License-Identifier: Apache-2.0
# Libraries, by their Debian packages. What the demo needs is required; what only one module needs
# leaves that module out, with one line that says so.
find_package(PkgConfig REQUIRED)
set(GAMUT_LIBRARIES m)

macro(gamut_require variable module package)
  pkg_check_modules(${variable} QUIET IMPORTED_TARGET ${module})
  if(NOT ${variable}_FOUND)
    message(FATAL_ERROR "${module} is missing: install ${package}, or let `./run setup` do it")
  endif()
  list(APPEND GAMUT_LIBRARIES PkgConfig::${variable})
endmacro()

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
list(APPEND GAMUT_LIBRARIES Threads::Threads)
gamut_require(ZLIB_PC zlib zlib1g-dev)
gamut_require(XXHASH libxxhash libxxhash-dev)
gamut_require(JANSSON jansson libjansson-dev)
gamut_require(CYAML libcyaml "libcyaml-dev libyaml-dev")
gamut_require(ZSTD libzstd libzstd-dev)
gamut_require(MICROHTTPD libmicrohttpd libmicrohttpd-dev)
gamut_require(SQLITE sqlite3 libsqlite3-dev)

# Without a decoder, GAMUT_ABSENT names its part of the sources, whose *_absent.c is built instead.
set(GAMUT_ABSENT "")
foreach(format IN ITEMS png jpeg)
  pkg_check_modules(LIB_${format} QUIET IMPORTED_TARGET lib${format})
  if(LIB_${format}_FOUND)
    list(APPEND GAMUT_LIBRARIES PkgConfig::LIB_${format})
  else()
    list(APPEND GAMUT_ABSENT ${format})
    message(STATUS "left out: ${format} pictures (needs lib${format}-dev)")
  endif()
endforeach()
