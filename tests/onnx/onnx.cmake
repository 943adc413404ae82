# SPDX-License-Identifier: Apache-2.0
# The published operator vectors of ONNX (Debian: libonnx-testdata) against our kernels. Needs protobuf-c and the schema.
if(CMOCKA_FOUND AND TARGET gamut-onnx)
  add_executable(onnx_vectors ${CMAKE_SOURCE_DIR}/tests/onnx/vectors.c ${CMAKE_SOURCE_DIR}/tests/onnx/values.c
    ${CMAKE_SOURCE_DIR}/tests/onnx/operators.c)
  target_include_directories(onnx_vectors PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(onnx_vectors PRIVATE gamut gamut-onnx PkgConfig::CMOCKA)
  target_compile_options(onnx_vectors PRIVATE ${GAMUT_TEST_FLAGS})
  gamut_test(kernel_onnx_vectors onnx_vectors)
else()
  message(STATUS "left out: the ONNX operator vectors (need libcmocka-dev, protobuf-c-compiler, libprotobuf-c-dev, libonnx-dev)")
endif()
