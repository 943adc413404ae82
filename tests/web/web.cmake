# SPDX-License-Identifier: Apache-2.0
# What the browser tests need: a program that prints a page of the library.
add_executable(print_page ${PROJECT_SOURCE_DIR}/tests/web/print_page.c)
target_link_libraries(print_page PRIVATE gamut)
target_compile_options(print_page PRIVATE ${GAMUT_TEST_FLAGS})
foreach(name IN ITEMS test_report_page test_dashboard_page)
  if(TEST ${name})
    set_property(TEST ${name} APPEND PROPERTY ENVIRONMENT PRINT_PAGE=$<TARGET_FILE:print_page>)
  endif()
endforeach()
