# SPDX-License-Identifier: Apache-2.0
# The oracle against a solver of 0/1 programs.
find_library(GLPK_LIBRARY glpk)
find_path(GLPK_INCLUDE glpk.h)
if(CMOCKA_FOUND AND GLPK_LIBRARY AND GLPK_INCLUDE)
  add_executable(oracle_glpk ${CMAKE_SOURCE_DIR}/tests/sched/oracle_glpk.c)
  target_include_directories(oracle_glpk PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/tests)
  target_include_directories(oracle_glpk SYSTEM PRIVATE ${GLPK_INCLUDE})
  target_link_libraries(oracle_glpk PRIVATE gamut PkgConfig::CMOCKA ${GLPK_LIBRARY})
  target_compile_options(oracle_glpk PRIVATE ${GAMUT_TEST_FLAGS})
  gamut_test(sched_oracle_glpk oracle_glpk)
else()
  message(STATUS "left out: the oracle against GLPK (needs libcmocka-dev, libglpk-dev)")
endif()
