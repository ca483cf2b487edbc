# phlox_flags carries what every C file of the project is compiled with;
# phlox_kernel_flags() gives the files of src/kernels theirs.

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
string(REPLACE "-O3" "-O2" CMAKE_C_FLAGS_RELEASE "${CMAKE_C_FLAGS_RELEASE}")

add_library(phlox_flags INTERFACE)

set(c_flags
  -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
  -Wwrite-strings
  # A product and a sum are rounded twice unless a kernel fuses them on purpose.
  -ffp-contract=off)
if(PHLOX_WERROR)
  list(APPEND c_flags -Werror)
endif()

set(link_flags "")
if(PHLOX_SANITIZE)
  list(APPEND c_flags -fsanitize=${PHLOX_SANITIZE} -fno-sanitize-recover=all
    -fno-omit-frame-pointer -g)
  list(APPEND link_flags -fsanitize=${PHLOX_SANITIZE})
endif()
if(PHLOX_FUZZ)
  if(NOT CMAKE_C_COMPILER_ID MATCHES Clang)
    message(FATAL_ERROR "PHLOX_FUZZ needs Clang (libFuzzer): use the preset fuzz or asan")
  endif()
  list(APPEND c_flags -fsanitize=fuzzer-no-link)
endif()

target_compile_options(phlox_flags INTERFACE "$<$<COMPILE_LANGUAGE:C>:${c_flags}>")
target_compile_definitions(phlox_flags INTERFACE _POSIX_C_SOURCE=200809L)
target_link_options(phlox_flags INTERFACE ${link_flags})

# One instruction set per file: the name of a file in src/kernels/x86 and arm decides its flags.
set(PHLOX_X86_avx2 -mavx2 -mfma -mf16c)
set(PHLOX_X86_avxvnni ${PHLOX_X86_avx2} -mavxvnni)
set(PHLOX_X86_avx512 ${PHLOX_X86_avx2} -mavx512f -mavx512bw -mavx512vl -mavx512dq)
set(PHLOX_X86_avx512vnni ${PHLOX_X86_avx512} -mavx512vnni)
set(PHLOX_X86_avx512bf16 ${PHLOX_X86_avx512} -mavx512bf16)
# Before it allocates registers GCC moves loads so far up that the tiles spill.
set(PHLOX_ARM_neon -march=armv8-a $<$<C_COMPILER_ID:GNU>:-fno-schedule-insns>)
set(PHLOX_ARM_dotprod ${PHLOX_ARM_neon} -march=armv8.2-a+dotprod)
set(PHLOX_ARM_i8mm ${PHLOX_ARM_neon} -march=armv8.2-a+dotprod+i8mm)

function(phlox_kernel_flags)
  foreach(source IN LISTS ARGN)
    if(NOT source MATCHES "/src/kernels/")
      continue()
    endif()
    set(flags $<$<CONFIG:Release>:-O3>)
    if(source MATCHES "/kernels/(x86|arm)/([a-z0-9]+)[a-z0-9_]*\\.c$")
      string(TOUPPER ${CMAKE_MATCH_1} processor)
      set(known PHLOX_${processor}_${CMAKE_MATCH_2})
      if(NOT DEFINED ${known})
        message(FATAL_ERROR "cmake/PhloxFlags.cmake knows no flags for ${source}")
      endif()
      list(APPEND flags ${${known}})
    endif()
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${flags}")
  endforeach()
endfunction()
