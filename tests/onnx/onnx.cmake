# SPDX-License-Identifier: Apache-2.0
# The published operator vectors of ONNX (Debian: libonnx-testdata) against our kernels. Needs protobuf-c and the schema.
find_program(PROTOC_C protoc-c)
find_path(ONNX_SCHEMA onnx/onnx.proto)
find_library(PROTOBUF_C protobuf-c)
if(CMOCKA_FOUND AND PROTOC_C AND ONNX_SCHEMA AND PROTOBUF_C)
  set(dir ${CMAKE_BINARY_DIR}/onnx)
  add_custom_command(OUTPUT ${dir}/onnx.pb-c.c ${dir}/onnx.pb-c.h
    COMMAND ${CMAKE_COMMAND} -E make_directory ${dir}
    COMMAND ${PROTOC_C} --proto_path=${ONNX_SCHEMA}/onnx --c_out=${dir} ${ONNX_SCHEMA}/onnx/onnx.proto
    VERBATIM)
  add_executable(onnx_vectors ${CMAKE_SOURCE_DIR}/tests/onnx/vectors.c ${CMAKE_SOURCE_DIR}/tests/onnx/values.c
    ${CMAKE_SOURCE_DIR}/tests/onnx/operators.c ${dir}/onnx.pb-c.c)
  target_include_directories(onnx_vectors PRIVATE ${dir} ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(onnx_vectors PRIVATE gamut PkgConfig::CMOCKA ${PROTOBUF_C})
  target_compile_options(onnx_vectors PRIVATE ${GAMUT_TEST_FLAGS})
  gamut_test(kernel_onnx_vectors onnx_vectors)
else()
  message(STATUS "left out: the ONNX operator vectors (need libcmocka-dev, protobuf-c-compiler, libprotobuf-c-dev, libonnx-dev)")
endif()
