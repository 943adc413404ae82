# SPDX-License-Identifier: Apache-2.0
# Programs that look inside the checkpoint quantizer, whose parts have no public interface: its speed, and other ways to make
# checkpoints small beside it on real training states (experiments/checkpoint/README.md).
add_executable(quant_speed ${PROJECT_SOURCE_DIR}/tests/checkpoint/quant_speed.c ${PROJECT_SOURCE_DIR}/bench/measure.c)
add_executable(quant_compare ${PROJECT_SOURCE_DIR}/tests/checkpoint/quant_compare.c
               ${PROJECT_SOURCE_DIR}/tests/checkpoint/quant_baselines.c)
add_executable(quant_replay ${PROJECT_SOURCE_DIR}/tests/checkpoint/quant_replay.c)
foreach(name IN ITEMS run_store yardstick recipe recipe_settings recipe_values args)
  target_sources(quant_replay PRIVATE ${PROJECT_SOURCE_DIR}/src/cli/${name}.c)
endforeach()
target_include_directories(quant_speed PRIVATE ${PROJECT_SOURCE_DIR}/bench)
foreach(name IN ITEMS quant_speed quant_compare quant_replay)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(${name} PRIVATE gamut ${CMAKE_DL_LIBS})
  target_compile_options(${name} PRIVATE ${GAMUT_TEST_FLAGS})
endforeach()
