# SPDX-License-Identifier: Apache-2.0
# The files of web/, and Chart.js, as arrays of one generated source of the library (src/web/assets.h).
file(GLOB GAMUT_WEB CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/web/*.html ${PROJECT_SOURCE_DIR}/web/*.css
     ${PROJECT_SOURCE_DIR}/web/*.js)
find_file(GAMUT_CHART_JS chart.min.js PATHS /usr/share/javascript/chart.js /usr/share/nodejs/chart.js/dist
          NO_DEFAULT_PATH DOC "Chart.js, minified")
if(NOT GAMUT_CHART_JS)
  message(FATAL_ERROR "Chart.js is missing: install libjs-chart.js, or let `./run setup` do it")
endif()
set(GAMUT_WEB_SOURCE ${PROJECT_BINARY_DIR}/generated/web_assets.c)
set(GAMUT_WEB_FILES ${GAMUT_WEB} chart.js=${GAMUT_CHART_JS})
add_custom_command(
  OUTPUT ${GAMUT_WEB_SOURCE}
  COMMAND ${CMAKE_COMMAND} -D OUTPUT=${GAMUT_WEB_SOURCE} -D "FILES=${GAMUT_WEB_FILES}"
          -P ${PROJECT_SOURCE_DIR}/cmake/embed.cmake
  DEPENDS ${GAMUT_WEB} ${GAMUT_CHART_JS} ${PROJECT_SOURCE_DIR}/cmake/embed.cmake
  COMMENT "Writing the pages into the library"
  VERBATIM)
list(APPEND GAMUT_SOURCES ${GAMUT_WEB_SOURCE})
