# SPDX-License-Identifier: Apache-2.0
# ONNX messages, made from the published schema: a library of its own (gamut-onnx), because its symbols are not ours.
# Without protobuf-c the exporter is left out (src/port/onnx_absent.c takes its place).
find_program(PROTOC_C protoc-c)
find_path(ONNX_SCHEMA onnx/onnx.proto)
find_library(PROTOBUF_C protobuf-c)
if(PROTOC_C AND ONNX_SCHEMA AND PROTOBUF_C)
  set(dir ${CMAKE_BINARY_DIR}/onnx)
  add_custom_command(OUTPUT ${dir}/onnx.pb-c.c ${dir}/onnx.pb-c.h
    COMMAND ${CMAKE_COMMAND} -E make_directory ${dir}
    COMMAND ${PROTOC_C} --proto_path=${ONNX_SCHEMA}/onnx --c_out=${dir} ${ONNX_SCHEMA}/onnx/onnx.proto
    VERBATIM)
  add_library(gamut-onnx STATIC ${dir}/onnx.pb-c.c ${dir}/onnx.pb-c.h)
  target_include_directories(gamut-onnx SYSTEM PUBLIC ${dir})
  target_link_libraries(gamut-onnx PUBLIC ${PROTOBUF_C})
  list(FILTER GAMUT_SOURCES EXCLUDE REGEX "/src/port/onnx_absent\\.c$")
else()
  message(STATUS "left out: export to ONNX (needs protobuf-c-compiler, libprotobuf-c-dev, libonnx-dev)")
  list(FILTER GAMUT_SOURCES EXCLUDE REGEX "/src/port/onnx_(message|operators|export)\\.c$")
endif()
