# SPDX-License-Identifier: Apache-2.0
# The program that makes tables and curves from the logs of experiments, and its test on made-up logs.
file(GLOB GAMUT_EXPERIMENT_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/experiments/*.c)
add_executable(summarise ${GAMUT_EXPERIMENT_SOURCES})
target_link_libraries(summarise PRIVATE gamut)
target_compile_options(summarise PRIVATE ${GAMUT_WARNINGS})

# A row of the restore protocol's table; noise in the weights of a training state.
foreach(name IN ITEMS checkpoint_table state_noise)
  add_executable(${name} ${PROJECT_SOURCE_DIR}/experiments/checkpoint/${name}.c)
  target_link_libraries(${name} PRIVATE gamut)
  target_compile_options(${name} PRIVATE ${GAMUT_WARNINGS})
endforeach()

if(BUILD_TESTING)
  add_test(NAME experiments COMMAND bash experiments/testdata/check $<TARGET_FILE:summarise>
           WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
endif()

# SuperServe's grid of workloads and policies, in virtual time.
add_executable(superserve_grid ${PROJECT_SOURCE_DIR}/experiments/superserve/superserve_grid.c)
target_link_libraries(superserve_grid PRIVATE gamut)
target_compile_options(superserve_grid PRIVATE ${GAMUT_WARNINGS})
