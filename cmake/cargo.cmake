# The libraries by cargo: one archive of all functions, and what is cut from it. Defines `rust_target`.
find_program(SURPRISAL_CARGO cargo HINTS ENV CARGO_HOME "$ENV{HOME}/.cargo" PATH_SUFFIXES bin NO_CMAKE_FIND_ROOT_PATH)
file(STRINGS Cargo.toml rust_version REGEX "^rust-version = " LIMIT_COUNT 1)
string(REGEX MATCH "[0-9.]+" rust_version "${rust_version}")
set(remedy "Install Rust from https://rustup.rs or your distribution, or set SURPRISAL_CARGO to its cargo, or set SURPRISAL_PREBUILT to a folder of "
  "built libraries (docs/embedding/packaging.md)")
string(CONCAT remedy ${remedy})
if(NOT SURPRISAL_CARGO)
  message(FATAL_ERROR "surprisal needs cargo of Rust ${rust_version} or later to build, and there is none. ${remedy}")
endif()
execute_process(COMMAND "${SURPRISAL_CARGO}" -vV WORKING_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" OUTPUT_VARIABLE cargo_version RESULT_VARIABLE error)
if(error OR NOT cargo_version MATCHES "\nhost: ([^\n]+)")
  message(FATAL_ERROR "surprisal: ${SURPRISAL_CARGO} does not work (${error}). ${remedy}")
endif()
surprisal_rust_target(rust_target ${CMAKE_MATCH_1})
string(REGEX MATCH "\nrelease: ([0-9.]+)" cargo_version "${cargo_version}")
if(CMAKE_MATCH_1 VERSION_LESS rust_version)
  message(FATAL_ERROR "surprisal needs Rust ${rust_version} or later, and ${SURPRISAL_CARGO} is of ${CMAKE_MATCH_1}. ${remedy}")
endif()

# cargo has no part in make's job server.
set(environment "${CMAKE_COMMAND}" -E env --unset=MAKEFLAGS)
string(TOUPPER "CARGO_TARGET_${rust_target}_LINKER" linker)
string(REPLACE - _ linker ${linker})
if(CMAKE_CROSSCOMPILING AND NOT MSVC)
  list(APPEND environment "${linker}=${CMAKE_C_COMPILER}")
endif()
set(crate_types staticlib)
set(rustc_flags "")
if(APPLE)
  if(CMAKE_OSX_DEPLOYMENT_TARGET)
    list(APPEND environment MACOSX_DEPLOYMENT_TARGET=${CMAKE_OSX_DEPLOYMENT_TARGET})
  endif()
  set(crate_types staticlib,cdylib)
  # Without std nothing else asks for libc, which has memcpy.
  set(rustc_flags -- -Clink-arg=-lc -Clink-arg=-Wl,-install_name,@rpath/${soname_surprisal})
endif()

# Copies of what cargo makes: cargo's own files may be of another build tree, and older than what this one made of them. Where nothing can be
# cut, both libraries are the archive of all functions.
set(cargo_dir "${SURPRISAL_CARGO_TARGET_DIR}/${rust_target}/capi")
set(from "${cargo_dir}/${CMAKE_STATIC_LIBRARY_PREFIX}surprisal_capi${CMAKE_STATIC_LIBRARY_SUFFIX}")
set(raw_archive "${CMAKE_CURRENT_BINARY_DIR}/surprisal-raw.a")
set(to "${raw_archive}")
if(NOT is_elf)
  list(APPEND from "${from}")
  set(to "${CMAKE_CURRENT_BINARY_DIR}/${static_surprisal}" "${CMAKE_CURRENT_BINARY_DIR}/${static_surprisal_tools}")
  if(shared_surprisal)
    list(APPEND from "${cargo_dir}/libsurprisal_capi${CMAKE_SHARED_LIBRARY_SUFFIX}")
    list(APPEND to "${CMAKE_CURRENT_BINARY_DIR}/${shared_surprisal}")
  endif()
endif()
set(copy_commands "")
foreach(file copy IN ZIP_LISTS from to)
  list(APPEND copy_commands COMMAND "${CMAKE_COMMAND}" -E copy_if_different "${file}" "${copy}")
endforeach()

# In the project of someone else only what is used is built.
set(all "")
if(SURPRISAL_INSTALL)
  set(all ALL)
endif()
# Always runs: cargo knows best what has changed. What links the library is linked again only if the copy has changed.
add_custom_target(surprisal-cargo ${all}
  COMMAND ${environment} "${SURPRISAL_CARGO}" rustc --locked --package surprisal-capi --lib --crate-type ${crate_types} --no-default-features
    --profile capi --target ${rust_target} --target-dir "${SURPRISAL_CARGO_TARGET_DIR}" ${SURPRISAL_CARGO_FLAGS} ${rustc_flags}
  ${copy_commands}
  BYPRODUCTS ${to}
  WORKING_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}"
  COMMENT "Building surprisal with cargo"
  USES_TERMINAL VERBATIM)

# Of the C compiler's flags only what chooses the target; sanitizers and the like are not for Rust's code.
string(REGEX MATCHALL "(-m32|-m64|--?target=[^ ]+|--sysroot=[^ ]+)" c_flags "${CMAKE_C_FLAGS}")
list(JOIN c_flags " " c_flags)
if(CMAKE_C_COMPILER_TARGET)
  string(APPEND c_flags " ${CMAKE_C_COMPILE_OPTIONS_TARGET}${CMAKE_C_COMPILER_TARGET}")
endif()
if(CMAKE_SYSROOT)
  string(APPEND c_flags " --sysroot=${CMAKE_SYSROOT}")
endif()

# surprisal_cut(LIBRARY): the target surprisal-cut-LIBRARY makes its files.
function(surprisal_cut library)
  set(files "${CMAKE_CURRENT_BINARY_DIR}/${static_${library}}")
  set(soname "")
  if(shared_${library})
    list(APPEND files "${CMAKE_CURRENT_BINARY_DIR}/${shared_${library}}")
    set(soname ${soname_${library}})
  endif()
  set(header "${CMAKE_CURRENT_SOURCE_DIR}/include/${library}.h")
  set(script "${CMAKE_CURRENT_SOURCE_DIR}/capi/cut.sh")
  add_custom_command(OUTPUT ${files}
    COMMAND "${CMAKE_COMMAND}" -E env "LD=${CMAKE_LINKER}" "OBJCOPY=${CMAKE_OBJCOPY}" "NM=${CMAKE_NM}" "AR=${CMAKE_AR}"
      "CC=${CMAKE_C_COMPILER}" "CFLAGS=${c_flags}" "LDFLAGS=${CMAKE_SHARED_LINKER_FLAGS}"
      sh "${script}" "${raw_archive}" "${header}" ${files} ${soname}
    DEPENDS surprisal-cargo "${raw_archive}" "${header}" "${script}"
    COMMENT "Cutting ${library} from cargo's archive"
    VERBATIM)
  add_custom_target(surprisal-cut-${library} ${all} DEPENDS ${files})
endfunction()

# Cargo's own shared library, which exports the functions of the headers and nothing else.
if(SURPRISAL_GPU)
  set(gpu_link_arg -Wl,-soname,${soname_surprisal_gpu})
  if(APPLE)
    set(gpu_link_arg -Wl,-install_name,@rpath/${soname_surprisal_gpu})
  endif()
  set(gpu_library "${CMAKE_CURRENT_BINARY_DIR}/${shared_surprisal_gpu}")
  add_custom_target(surprisal-cargo-gpu ${all}
    COMMAND ${environment} "${SURPRISAL_CARGO}" rustc --locked --package surprisal-capi --lib --crate-type cdylib --features gpu
      --release --target ${rust_target} --target-dir "${SURPRISAL_CARGO_TARGET_DIR}" ${SURPRISAL_CARGO_FLAGS} -- -Cstrip=symbols
      -Clink-arg=${gpu_link_arg}
    COMMAND "${CMAKE_COMMAND}" -E copy_if_different
      "${SURPRISAL_CARGO_TARGET_DIR}/${rust_target}/release/libsurprisal_capi${CMAKE_SHARED_LIBRARY_SUFFIX}" "${gpu_library}"
    BYPRODUCTS "${gpu_library}"
    WORKING_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}"
    COMMENT "Building surprisal for GPUs with cargo"
    USES_TERMINAL VERBATIM)
endif()

foreach(library IN LISTS libraries)
  set(maker surprisal-cargo)
  if(library STREQUAL surprisal_gpu)
    set(maker surprisal-cargo-gpu)
  elseif(is_elf)
    surprisal_cut(${library})
    set(maker surprisal-cut-${library})
  endif()
  foreach(kind static shared)
    if(${kind}_${library})
      add_dependencies(surprisal::${prefix_${library}}${kind} ${maker})
    endif()
  endforeach()
endforeach()
