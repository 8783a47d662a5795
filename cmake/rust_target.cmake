# surprisal_rust_target(RESULT HOST): the Rust target triple of what the C compiler compiles for, HOST being that of cargo itself.
function(surprisal_rust_target result host)
  if(SURPRISAL_RUST_TARGET)
    set(${result} "${SURPRISAL_RUST_TARGET}" PARENT_SCOPE)
    return()
  endif()
  set(pointer_bits 32)
  if(NOT CMAKE_SIZEOF_VOID_P EQUAL 4)
    set(pointer_bits 64)
  endif()
  # The usual case, on whatever system. On Windows the host's triple may be that of the other C compiler.
  if(NOT CMAKE_CROSSCOMPILING AND NOT CMAKE_OSX_ARCHITECTURES AND NOT WIN32 AND (pointer_bits EQUAL 64 OR NOT host MATCHES "64"))
    set(${result} "${host}" PARENT_SCOPE)
    return()
  endif()

  set(processor "${CMAKE_SYSTEM_PROCESSOR}")
  if(APPLE AND CMAKE_OSX_ARCHITECTURES)
    set(processor "${CMAKE_OSX_ARCHITECTURES}")
  elseif(MSVC)
    set(processor "${CMAKE_C_COMPILER_ARCHITECTURE_ID}")
  endif()
  set(architectures
    "x86_64|amd64|x64" x86_64
    "i[3-6]86|x86" i686
    "aarch64|arm64|armv8.*" aarch64
    "armv7.*" armv7
    "riscv64" riscv64gc
    "ppc64le|powerpc64le" powerpc64le
    "s390x" s390x
    "loongarch64" loongarch64)
  string(TOLOWER "${processor}" name)
  set(arch "")
  while(architectures AND NOT arch)
    list(POP_FRONT architectures pattern rust_name)
    if(name MATCHES "^(${pattern})$")
      set(arch ${rust_name})
    endif()
  endwhile()
  if(arch STREQUAL x86_64 AND pointer_bits EQUAL 32)
    set(arch i686)
  endif()

  set(system "")
  if(CMAKE_SYSTEM_NAME STREQUAL Linux)
    # The C library, as the compiler's own triple names it.
    set(machine "${CMAKE_C_COMPILER_TARGET}")
    if(NOT machine)
      execute_process(COMMAND "${CMAKE_C_COMPILER}" -dumpmachine OUTPUT_VARIABLE machine ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
    endif()
    if(machine MATCHES "-((gnu|musl)(eabi|eabihf)?)$")
      set(system unknown-linux-${CMAKE_MATCH_1})
    endif()
  elseif(CMAKE_SYSTEM_NAME STREQUAL Android)
    set(system linux-android)
    if(arch STREQUAL armv7)
      set(system linux-androideabi)
    endif()
  elseif(CMAKE_SYSTEM_NAME STREQUAL Darwin)
    set(system apple-darwin)
  elseif(CMAKE_SYSTEM_NAME STREQUAL FreeBSD)
    set(system unknown-freebsd)
  elseif(MINGW AND arch STREQUAL aarch64)
    set(system pc-windows-gnullvm)
  elseif(MINGW)
    set(system pc-windows-gnu)
  elseif(CMAKE_SYSTEM_NAME STREQUAL Windows)
    set(system pc-windows-msvc)
  endif()

  if(NOT arch OR NOT system)
    message(FATAL_ERROR "surprisal: the Rust target for ${CMAKE_SYSTEM_NAME} on '${processor}' is not known here. Set SURPRISAL_RUST_TARGET "
      "to it: `rustc --print target-list` has all of them. (Of several CMAKE_OSX_ARCHITECTURES build each by itself, then join by lipo.)")
  endif()
  set(${result} ${arch}-${system} PARENT_SCOPE)
endfunction()
