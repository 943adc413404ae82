# SPDX-License-Identifier: Apache-2.0
# Exports need the ONNX messages; make_subnets writes what bench/peers/onnx_check.py compares.
if(CMOCKA_FOUND AND TARGET gamut-onnx)
  add_executable(port_exports ${CMAKE_SOURCE_DIR}/tests/port/exports.c ${CMAKE_SOURCE_DIR}/tests/port/interpreter.c
    ${CMAKE_SOURCE_DIR}/tests/onnx/values.c)
  target_include_directories(port_exports PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(port_exports PRIVATE gamut gamut-onnx PkgConfig::CMOCKA)
  target_compile_options(port_exports PRIVATE ${GAMUT_TEST_FLAGS})
  gamut_test(port_exports port_exports)
endif()
add_executable(make_subnets ${CMAKE_SOURCE_DIR}/tests/port/make_subnets.c)
target_include_directories(make_subnets PRIVATE ${CMAKE_SOURCE_DIR}/tests)
target_link_libraries(make_subnets PRIVATE gamut)
target_compile_options(make_subnets PRIVATE ${GAMUT_TEST_FLAGS})
