# SPDX-License-Identifier: Apache-2.0
# The dense kernels once more, with the AMX ones built on tiles in plain C (amx/emulation.h): what the linker finds here it does
# not look for in the library.
if(CMOCKA_FOUND AND CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(name test_kernel_dense_amx)
  add_executable(${name} ${CMAKE_CURRENT_LIST_DIR}/test_kernel_dense.c ${CMAKE_CURRENT_LIST_DIR}/amx/emulation.c)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE gamut PkgConfig::CMOCKA)
  target_compile_options(${name} PRIVATE ${GAMUT_TEST_FLAGS})
  target_link_options(${name} PRIVATE -Wl,--wrap=gm_cpu_detected)
  add_library(${name}_kernels OBJECT ${PROJECT_SOURCE_DIR}/src/kernel/x86/dense_bf16_amx.c
              ${PROJECT_SOURCE_DIR}/src/kernel/x86/dense_int8_amx.c ${PROJECT_SOURCE_DIR}/src/kernel/x86/dense_wgrad_bf16_amx.c)
  target_include_directories(${name}_kernels PRIVATE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
  target_compile_options(${name}_kernels PRIVATE -include ${CMAKE_CURRENT_LIST_DIR}/amx/emulation.h)
  target_sources(${name} PRIVATE $<TARGET_OBJECTS:${name}_kernels>)
  gamut_test(${name} ${name})
endif()
