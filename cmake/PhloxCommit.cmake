# generated/phlox_commit.h defines PHLOX_COMMIT, the commit the build was made from. It is made
# again when HEAD moves: git appends a line to logs/HEAD then.

set(PHLOX_COMMIT unknown)
find_program(GIT_EXECUTABLE git)
if(GIT_EXECUTABLE AND EXISTS ${PROJECT_SOURCE_DIR}/.git)
  execute_process(
    COMMAND ${GIT_EXECUTABLE} rev-parse --short=12 HEAD
    WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
    RESULT_VARIABLE failed OUTPUT_VARIABLE commit ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(NOT failed)
    set(PHLOX_COMMIT ${commit})
  endif()
  foreach(name logs/HEAD HEAD)
    execute_process(
      COMMAND ${GIT_EXECUTABLE} rev-parse --git-path ${name}
      WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
      OUTPUT_VARIABLE path ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
    get_filename_component(path "${path}" ABSOLUTE BASE_DIR ${PROJECT_SOURCE_DIR})
    if(EXISTS ${path} AND NOT IS_DIRECTORY ${path})
      set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${path})
    endif()
  endforeach()
endif()

configure_file(${CMAKE_CURRENT_LIST_DIR}/phlox_commit.h.in
  ${PROJECT_BINARY_DIR}/generated/phlox_commit.h @ONLY)
