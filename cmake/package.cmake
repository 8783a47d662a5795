# The CMake package, in the build tree for find_package in the same project, and in an installed tree with pkg-config's files and the headers.
include(CMakePackageConfigHelpers)
write_basic_package_version_file(surprisalConfigVersion.cmake COMPATIBILITY SameMinorVersion)
set(library_dir "${CMAKE_INSTALL_LIBDIR}")
set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/surprisal")
set(package_arguments PATH_VARS library_dir CMAKE_INSTALL_INCLUDEDIR NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)

# Of this one only the components matter: the targets are here.
configure_package_config_file(cmake/surprisalConfig.cmake.in surprisalConfig.cmake
  INSTALL_DESTINATION . INSTALL_PREFIX "${CMAKE_CURRENT_BINARY_DIR}" ${package_arguments})
configure_file(cmake/surprisalTargets.cmake surprisalTargets.cmake COPYONLY)
if(NOT PROJECT_IS_TOP_LEVEL AND NOT surprisal_DIR)
  set(surprisal_DIR "${CMAKE_CURRENT_BINARY_DIR}" CACHE PATH "Where find_package finds surprisal" FORCE)
endif()

if(NOT SURPRISAL_INSTALL)
  return()
endif()
configure_package_config_file(cmake/surprisalConfig.cmake.in installed/surprisalConfig.cmake
  INSTALL_DESTINATION "${package_dir}" ${package_arguments})
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/installed/surprisalConfig.cmake" "${CMAKE_CURRENT_BINARY_DIR}/surprisalConfigVersion.cmake"
  cmake/surprisalTargets.cmake DESTINATION "${package_dir}")

# Relative, so that the installed tree can be moved.
set(pc_dir "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig")
cmake_path(RELATIVE_PATH CMAKE_INSTALL_PREFIX BASE_DIRECTORY "${pc_dir}" OUTPUT_VARIABLE pc_to_prefix)
cmake_path(RELATIVE_PATH CMAKE_INSTALL_FULL_INCLUDEDIR BASE_DIRECTORY "${pc_dir}" OUTPUT_VARIABLE pc_to_include)
set(about_surprisal "The loss layer of language-model fine-tuning")
set(about_surprisal_tools "surprisal's double-precision reference, gradient check and parameter-space helpers")
set(about_surprisal_gpu "${about_surprisal}, on any GPU")
foreach(library IN LISTS libraries)
  # A linker that finds both kinds takes the shared one, so the static one has a file of its own.
  set(pc_names ${library})
  if(static_${library})
    list(APPEND pc_names ${library}-static)
    install(FILES "${CMAKE_CURRENT_BINARY_DIR}/${static_${library}}" DESTINATION "${CMAKE_INSTALL_LIBDIR}")
  endif()
  foreach(pc_name IN LISTS pc_names)
    set(pc_libs "-L\${libdir} -l${library}")
    if(pc_name MATCHES "-static$")
      set(pc_libs "\${libdir}/${static_${library}}")
    endif()
    set(pc_about "${about_${library}}")
    configure_file(cmake/surprisal.pc.in ${pc_name}.pc @ONLY)
    install(FILES "${CMAKE_CURRENT_BINARY_DIR}/${pc_name}.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
  endforeach()

  if(shared_${library})
    install(PROGRAMS "${CMAKE_CURRENT_BINARY_DIR}/${shared_${library}}" DESTINATION "${CMAKE_INSTALL_LIBDIR}")
    install(FILES "${CMAKE_CURRENT_BINARY_DIR}/${soname_${library}}"
      "${CMAKE_CURRENT_BINARY_DIR}/lib${library}${CMAKE_SHARED_LIBRARY_SUFFIX}" DESTINATION "${CMAKE_INSTALL_LIBDIR}")
  endif()
endforeach()

install(FILES include/surprisal.h include/surprisal.hpp include/surprisal_tools.h TYPE INCLUDE)
if(SURPRISAL_GPU)
  install(FILES include/surprisal_gpu.h TYPE INCLUDE)
endif()
install(FILES LICENSE-APACHE LICENSE-MIT TYPE DOC)

# `cmake --build build --target package`: what SURPRISAL_PREBUILT takes, once unpacked.
if(PROJECT_IS_TOP_LEVEL)
  set(CPACK_GENERATOR TGZ)
  set(CPACK_PACKAGE_FILE_NAME surprisal-${PROJECT_VERSION}-${rust_target})
  set(CPACK_PACKAGE_CHECKSUM SHA256)
  set(CPACK_VERBATIM_VARIABLES ON)
  include(CPack)
endif()
