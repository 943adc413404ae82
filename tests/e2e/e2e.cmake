# SPDX-License-Identifier: Apache-2.0
# What the tests of the command need besides the command: a program that writes tiny data sets, and the parts of src/cli/
# that are tested on their own.
set(GAMUT_CLI_PARTS
  ${PROJECT_SOURCE_DIR}/src/cli/args.c
  ${PROJECT_SOURCE_DIR}/src/cli/print.c
  ${PROJECT_SOURCE_DIR}/src/cli/recipe.c
  ${PROJECT_SOURCE_DIR}/src/cli/recipe_settings.c
  ${PROJECT_SOURCE_DIR}/src/cli/recipe_values.c)
foreach(name IN ITEMS test_recipe fuzz_recipe)
  if(TARGET ${name})
    target_sources(${name} PRIVATE ${GAMUT_CLI_PARTS})
  endif()
endforeach()

if(TARGET test_bounds)
  target_sources(test_bounds PRIVATE ${PROJECT_SOURCE_DIR}/src/cli/run_store.c ${PROJECT_SOURCE_DIR}/src/cli/yardstick.c)
endif()

if(BUILD_TESTING AND TARGET gamut-cli AND NOT "png" IN_LIST GAMUT_ABSENT)
  add_executable(make_data ${PROJECT_SOURCE_DIR}/tests/e2e/make_data.c)
  target_link_libraries(make_data PRIVATE gamut)
  target_compile_options(make_data PRIVATE ${GAMUT_TEST_FLAGS})
  foreach(file IN LISTS GAMUT_SCRIPTS)
    get_filename_component(name ${file} NAME_WE)
    set_property(TEST ${name} APPEND PROPERTY ENVIRONMENT MAKE_DATA=$<TARGET_FILE:make_data>)
  endforeach()
endif()

# The programs of examples/ are built, so that they keep working.
if(BUILD_TESTING)
  add_executable(example_embed ${PROJECT_SOURCE_DIR}/examples/embed.c)
  target_link_libraries(example_embed PRIVATE gamut)
  target_compile_options(example_embed PRIVATE ${GAMUT_TEST_FLAGS})
endif()
