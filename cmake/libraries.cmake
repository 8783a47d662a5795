# The libraries' names and targets. `surprisal` has the functions of surprisal.h, `surprisal_tools` those of surprisal_tools.h: for each
# LIBRARY there are static_LIBRARY, shared_LIBRARY (empty if there is none) and soname_LIBRARY.
include("${CMAKE_CURRENT_LIST_DIR}/surprisalTargets.cmake")

set(libraries surprisal surprisal_tools)
set(prefix_surprisal "")
set(prefix_surprisal_tools tools_)
# Below 1.0 a minor version may break the interface, so it is part of the soname.
set(soversion ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
get_property(has_shared GLOBAL PROPERTY TARGET_SUPPORTS_SHARED_LIBS)
# Libraries are cut from cargo's archive by tools for ELF; elsewhere they are cargo's own.
set(is_elf ON)
if(APPLE OR WIN32)
  set(is_elf OFF)
endif()

foreach(library IN LISTS libraries)
  set(static_${library} ${CMAKE_STATIC_LIBRARY_PREFIX}${library}${CMAKE_STATIC_LIBRARY_SUFFIX})
  # What is unset might be set in the project that uses this one.
  set(shared_${library} "")
  set(soname_${library} "")
  if(is_elf AND has_shared)
    set(shared_${library} lib${library}.so.${PROJECT_VERSION})
    set(soname_${library} lib${library}.so.${soversion})
  endif()
endforeach()
if(APPLE)
  # Cargo's, which has the tools too.
  set(shared_surprisal libsurprisal.${PROJECT_VERSION}.dylib)
  set(soname_surprisal libsurprisal.${soversion}.dylib)
endif()
if(BUILD_SHARED_LIBS AND NOT shared_surprisal)
  message(STATUS "surprisal: no shared library on ${CMAKE_SYSTEM_NAME}; surprisal::surprisal is the static one")
endif()

set(surprisal_scope GLOBAL)
foreach(library IN LISTS libraries)
  foreach(kind static shared)
    if(${kind}_${library})
      surprisal_import(${prefix_${library}}${kind} "${CMAKE_CURRENT_BINARY_DIR}/${${kind}_${library}}" "${soname_${library}}"
        "${CMAKE_CURRENT_SOURCE_DIR}/include")
    endif()
  endforeach()
  if(shared_${library})
    foreach(link ${soname_${library}} lib${library}${CMAKE_SHARED_LIBRARY_SUFFIX})
      file(CREATE_LINK ${shared_${library}} "${CMAKE_CURRENT_BINARY_DIR}/${link}" SYMBOLIC)
    endforeach()
  endif()
endforeach()
surprisal_choose("${BUILD_SHARED_LIBS}")
