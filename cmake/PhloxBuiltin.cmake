# The demonstration model of models/demo/hf, embedded by src/api/builtin.S.
# Sets PHLOX_HAS_BUILTIN and PHLOX_BUILTIN_SOURCE (empty without the model).

set(directory ${PROJECT_SOURCE_DIR}/models/demo/hf)
file(GLOB builtin_files CONFIGURE_DEPENDS ${directory}/*.json ${directory}/*.safetensors
  ${directory}/*.jinja)

set(PHLOX_HAS_BUILTIN ON)
foreach(name config.json model.safetensors tokenizer.json)
  if(NOT ${directory}/${name} IN_LIST builtin_files)
    set(PHLOX_HAS_BUILTIN OFF)
    set(missing ${name})
  endif()
endforeach()
if(PHLOX_BUILTIN STREQUAL AUTO)
  if(NOT PHLOX_HAS_BUILTIN)
    message(STATUS "models/demo/hf has no ${missing}: building without the built-in model")
  endif()
elseif(NOT PHLOX_BUILTIN)
  set(PHLOX_HAS_BUILTIN OFF)
elseif(NOT PHLOX_HAS_BUILTIN)
  message(FATAL_ERROR "PHLOX_BUILTIN is ON, but ${directory} has no ${missing}")
endif()

set(PHLOX_BUILTIN_SOURCE "")
if(PHLOX_HAS_BUILTIN)
  set(PHLOX_BUILTIN_SOURCE ${PROJECT_SOURCE_DIR}/src/api/builtin.S)
  set(definitions "")
  foreach(file IN LISTS builtin_files)
    get_filename_component(name ${file} NAME)
    string(MAKE_C_IDENTIFIER ${name} name)
    list(APPEND definitions PX_HAS_${name})
  endforeach()
  set_source_files_properties(${PHLOX_BUILTIN_SOURCE} PROPERTIES
    OBJECT_DEPENDS "${builtin_files};${directory}/../known.bin" INCLUDE_DIRECTORIES ${directory}
    COMPILE_DEFINITIONS "${definitions}")
endif()
