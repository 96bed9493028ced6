# librecurlm: csrc/capi/recurlm.h as a shared and a static library, found by find_package(recurlm) and pkg-config.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

file(STRINGS csrc/capi/recurlm.h version_line REGEX "define RECURLM_VERSION ")
string(REGEX REPLACE ".*\"(.*)\".*" "\\1" recurlm_version "${version_line}")
file(STRINGS csrc/capi/recurlm.h abi_line REGEX "define RECURLM_ABI ")
string(REGEX REPLACE ".* " "" recurlm_abi "${abi_line}")

file(GLOB api_sources CONFIGURE_DEPENDS csrc/capi/*.cc)
add_library(recurlm_api OBJECT ${api_sources})
recurlm_sources(recurlm_api)
target_compile_definitions(recurlm_api PRIVATE RECURLM_BUILDING)

foreach(kind shared static)
  string(TOUPPER ${kind} type)
  add_library(recurlm_${kind} ${type} $<TARGET_OBJECTS:recurlm_api> ${core_objects})
  set_target_properties(recurlm_${kind} PROPERTIES OUTPUT_NAME recurlm EXPORT_NAME ${kind} LINKER_LANGUAGE CXX
                        VERSION ${recurlm_version} SOVERSION ${recurlm_abi})
  target_include_directories(recurlm_${kind} INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  if(OpenMP_CXX_FOUND)
    target_link_libraries(recurlm_${kind} PRIVATE OpenMP::OpenMP_CXX)
  endif()
endforeach()
target_compile_definitions(recurlm_static INTERFACE RECURLM_STATIC)
if(NOT APPLE AND NOT WIN32)
  # Nothing but recurlm_* leaves the library, not even what the C++ runtime's templates were made into.
  target_link_options(recurlm_shared PRIVATE -Wl,--version-script=${CMAKE_SOURCE_DIR}/cmake/recurlm.map -Wl,--no-undefined)
endif()

install(TARGETS recurlm_shared recurlm_static EXPORT recurlm COMPONENT library)
install(FILES csrc/capi/recurlm.h TYPE INCLUDE COMPONENT library)
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/recurlm)
install(EXPORT recurlm FILE recurlmTargets.cmake NAMESPACE recurlm:: DESTINATION ${package} COMPONENT library)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/recurlmConfigVersion.cmake VERSION ${recurlm_version}
                                 COMPATIBILITY SameMinorVersion)
configure_file(cmake/recurlmConfig.cmake.in recurlmConfig.cmake @ONLY)
file(RELATIVE_PATH recurlm_prefix_from_pc /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)  # wherever it is installed to
configure_file(cmake/recurlm.pc.in recurlm.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/recurlmConfig.cmake ${CMAKE_BINARY_DIR}/recurlmConfigVersion.cmake DESTINATION ${package}
        COMPONENT library)
install(FILES ${CMAKE_BINARY_DIR}/recurlm.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT library)
