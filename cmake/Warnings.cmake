# Strict from day one; errors in CI (NIGHTSHIFT_WERROR).
function(nightshift_warnings target)
  target_compile_options(${target} INTERFACE -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
    -Wundef -Wvla -Wwrite-strings -Wno-missing-field-initializers -Wno-unknown-pragmas)
  if(CMAKE_C_COMPILER_ID STREQUAL GNU)
    target_compile_options(${target} INTERFACE -Wno-format-truncation -Wno-stringop-truncation)
  endif()
  if(NIGHTSHIFT_WERROR)
    target_compile_options(${target} INTERFACE -Werror)
  endif()
endfunction()
