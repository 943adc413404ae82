# SPDX-License-Identifier: Apache-2.0
# Compiler flags.
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
include(CheckPIESupported)
check_pie_supported(LANGUAGES C)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_C_FLAGS_RELEASE "-O2 -g1 -DNDEBUG")
set(CMAKE_C_FLAGS_DEBUG "-O1 -g")

# Sanitizers change what the compiler knows of a value's range, and with it these warnings: the plain
# builds give them, the sanitized ones run the tests.
set(GAMUT_WARNINGS -Wall -Wextra)
if(NOT GAMUT_SANITIZE)
  list(APPEND GAMUT_WARNINGS -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes -Wvla)
  if(GAMUT_WERROR)
    list(APPEND GAMUT_WARNINGS -Werror)
  endif()
endif()

# Tests, benchmarks, examples.
set(GAMUT_TEST_FLAGS -Wall -Wextra)
if(GAMUT_SANITIZE)
  list(APPEND GAMUT_TEST_FLAGS -DGAMUT_SANITIZED) # many times slower: tests take fewer cases of the same kinds
elseif(GAMUT_WERROR)
  list(APPEND GAMUT_TEST_FLAGS -Werror)
endif()

# Never let the compiler fuse or reorder float operations behind our back: results are part of the contract.
add_compile_options(-ffp-contract=off -fno-math-errno)
# The library may be linked into a shared one; its own calls still need no indirection.
add_compile_options(-fno-semantic-interposition)

set(GAMUT_KERNEL_FLAGS $<$<CONFIG:Release>:-O3>)
if(GAMUT_SANITIZE)
  add_compile_options(-fsanitize=${GAMUT_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${GAMUT_SANITIZE})
  if(CMAKE_C_COMPILER_ID STREQUAL "GNU" AND GAMUT_SANITIZE MATCHES "undefined")
    # GCC 12 takes `(a ? table1 : table2)[i][j]` for a load beyond the table; address finds real ones.
    add_compile_options(-fno-sanitize=object-size)
  endif()
else()
  # Hardening: bounds checks in the C library, stack canaries and probes, branch targets, read-only
  # relocations. A canary in an inner kernel costs time and guards nothing: kernels read no input.
  add_compile_options($<$<CONFIG:Release>:-D_FORTIFY_SOURCE=3>)
  add_compile_options(-fstack-protector-strong -fstack-clash-protection)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    add_compile_options(-fcf-protection)
  endif()
  add_link_options(-Wl,-z,relro,-z,now)
  list(APPEND GAMUT_KERNEL_FLAGS -fno-stack-protector)
endif()
if(GAMUT_FUZZER)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
